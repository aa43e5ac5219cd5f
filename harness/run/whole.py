"""Has this Python all that a lock names, its own or the machine's? `python -m harness.run.whole LOCK` tells."""

import sys
from importlib.metadata import distributions
from pathlib import Path

from harness.errors import Exit, TailraceError
from harness.run.pins import needed
from harness.run.preinstalled import acceptable, named, quarrelling


def unlike(lock: Path) -> list[str]:
    """What is used in another, acceptable version than is locked: `name has (locked: asked)`. Raises TailraceError for
    what is missing, not acceptable, or quarrels with the rest."""
    asked = needed([lock])
    found = named(distributions())
    if missing := [f"{pin.name}=={pin.version}" for pin in asked.values() if pin.name not in found]:
        raise TailraceError(f"{lock.name}: neither a wheel nor this machine has {', '.join(missing)}",
                            "pack again with what this machine has as --present")
    versions = {name: found[name].version for name in asked}
    if wrong := [f"{name} {has} where {asked[name].version} is locked" for name, has in versions.items()
                 if not acceptable(asked[name].version, has)]:
        raise TailraceError(f"{lock.name}: this machine has {', '.join(wrong)}", "pack those wheels, too")
    differ = {name for name, has in versions.items() if has != asked[name].version}
    if quarrel := quarrelling(versions, {name: found[name].requires or () for name in asked}, differ):
        raise TailraceError(f"{lock.name}: other packages do not go with this machine's {', '.join(sorted(quarrel))}",
                            "pack those wheels, too")
    return [f"{name} {versions[name]} (locked: {asked[name].version})" for name in sorted(differ)]


if __name__ == "__main__":
    try:
        told = unlike(Path(sys.argv[1]))
    except TailraceError as error:
        print(f"tailrace: {error}", file=sys.stderr)
        sys.exit(error.code)
    if told:
        print(f"of this machine are used: {', '.join(told)}")
    sys.exit(Exit.OK)
