"""Python environments made from hashed locks: built once, named by what is in them, never changed afterwards."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalog.discover import cache_folder
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.parcel.source import Source, source
from harness.run.content import hash_paths, made_once
from harness.run.mortal import mortal
from harness.run.pins import needed
from harness.run.preinstalled import Preinstalled, preinstalled, quarrels_within, satisfied, see, standing_in

_FACTS = "tailrace.json"
_LONGEST_MESSAGE = 240
_FROM_WHEELS = ("--no-index", "--only-binary", ":all:")


@dataclass(frozen=True)
class Environment:
    """`python` is its interpreter, `bytes` what its files take on disk (shared with uv's cache where that is near)."""

    python: Path
    folder: Path
    bytes: int


def environment(locks: Sequence[Path], say: Callable[[str], None] = lambda _: None,
                displaced: Sequence[str] = ()) -> Environment:
    """The environment that holds exactly what the locks list, for this Python; built when it is not in the cache.

    Locks are exact and hashed; a package in two of them must have one version, but for the `displaced` ones, which are
    taken from the last lock alone. Packages come from uv's cache where they are there, so that nothing needs the
    network twice, or from where `tailrace prepare` was told: then an acceptable version that the machine has may stand
    in for the locked one (`machine_packages` tells). Raises TailraceError when a package cannot be had.
    """
    locks, told = [lock.resolve() for lock in locks], source()
    machine = preinstalled(told.system) if told.system else None
    seen = [told.system, *map("==".join, machine.versions().items())] if machine else []
    folder = cache_folder() / "envs" / hash_paths(locks, sys.version, sys.platform, *sorted(displaced), *seen)

    def make(scratch: Path) -> None:
        where = f" from {told}" if told != Source() else ""
        say(f"building the environment of {', '.join(_short(lock) for lock in locks)}{where}")
        kept = _build(scratch, locks, displaced, told, machine)
        facts = {"bytes": _bytes_below(scratch), "locks": [_short(lock) for lock in locks], "python": sys.version,
                 "machine": _of_the_machine(machine, kept, locks, displaced, say) if machine else {}}
        (scratch / _FACTS).write_text(json.dumps(facts), "utf-8")

    made_once(folder, make, _intact)
    facts = json.loads((folder / _FACTS).read_text("utf-8"))
    return Environment(folder / "bin" / "python", folder, int(facts["bytes"]))


def machine_packages(folder: Path) -> dict[str, Any]:
    """Of the environment in `folder`, `stands_in`: name -> {"locked", "used"} of the machine's packages that are used
    for locked ones, and `computing`: name -> version of what else of the machine a model may be computed with. {} where
    it does not see the machine's packages."""
    try:
        return dict(json.loads((folder / _FACTS).read_text("utf-8")).get("machine") or {})
    except (OSError, ValueError):
        return {}


def _of_the_machine(machine: Preinstalled, kept: set[str], locks: Sequence[Path], displaced: Sequence[str],
                    say: Callable[[str], None]) -> dict[str, Any]:
    asked = needed(locks, displaced)
    instead = {name: {"locked": asked[name].version, "used": machine.found[name].version} for name in sorted(kept)}
    unlike = [f"{name} {each['used']} ({each['locked']} is locked)" for name, each in instead.items()
              if each["used"] != each["locked"]]
    if unlike:
        say(f"of this machine are used: {', '.join(unlike)}")
    return {"stands_in": instead, "computing": machine.computing()}


def environments(setup: Setup, workload: Workload, say: Callable[[str], None] = lambda _: None) -> list[Environment]:
    """One for each part of the setup: the one it runs in, then that of the setup behind it. Raises TailraceError."""
    return [environment([workload.lock, part.lock], say, part.displaces) for part in setup.parts]


def _intact(folder: Path) -> bool:
    # The interpreter is a link to the one that made it, which may have gone.
    return (folder / _FACTS).is_file() and (folder / "bin" / "python").exists()


def lacking_packages(requirements: Sequence[str]) -> list[str]:
    """Those of the requirements that neither uv's cache nor any index or wheel folder it is told of has for this
    Python, nor the machine's own packages where they may be used."""
    told = source()
    if told.system:
        has = preinstalled(told.system).versions()
        requirements = [each for each in requirements if not satisfied(each, has)]
    ask = ["pip", "install", "--quiet", "--dry-run", "--no-deps", "--reinstall", "--python", sys.executable]
    return [each for each in requirements if _uv(told, *ask, "--offline", each) and _uv(told, *ask, each)]


def without(lock: str, packages: Sequence[str]) -> str:
    """The lock's text without the entries of those packages: an entry is a line that begins in the first column, with
    the lines below it that do not."""
    names = "|".join(re.sub(r"[-_.]+", "[-_.]+", name) for name in packages)
    entry = rf"^(?:{names})(?![\w.-]|\[)[^\n]*\n(?:[ \t][^\n]*\n)*"
    return re.sub(entry, "", lock.rstrip("\n") + "\n", flags=re.MULTILINE | re.IGNORECASE) if packages else lock


def _build(folder: Path, locks: Sequence[Path], displaced: Sequence[str], told: Source,
           machine: Preinstalled | None) -> set[str]:
    """Names of the packages that the machine's own stand in for."""
    if said := _uv(told, "venv", "--quiet", "--relocatable", "--allow-existing", "--no-project", "--python",
                   sys.executable, str(folder)):
        raise TailraceError(f"no environment could be made: {said}", "check the Python that runs tailrace")
    kept = standing_in(needed(locks, displaced), machine.versions()) if machine else set()
    while True:
        _install(folder, locks, displaced, told, kept)
        replaced = quarrels_within(folder, machine, kept) if machine else set()
        if not replaced:
            break
        kept -= replaced
    if machine:
        see(folder, machine, kept)
    return kept


def _install(folder: Path, locks: Sequence[Path], displaced: Sequence[str], told: Source, kept: set[str]) -> None:
    files = []
    for number, lock in enumerate(locks):
        left_out = [*kept, *(displaced if lock != locks[-1] else ())]
        shortened = folder / f"{number}-{lock.name}" if left_out else lock
        if left_out:
            shortened.write_text(without(lock.read_text("utf-8"), left_out), "utf-8")
        files.append(str(shortened))
    sync = ["pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode",
            "--allow-empty-requirements", "--python", str(folder / "bin" / "python"), *files]
    # Offline first: exact versions that uv has kept need no index; asking it costs time and, without a network, all.
    if _uv(told, *sync, "--offline") and (said := _uv(told, *sync)):
        raise TailraceError(f"{', '.join(_short(lock) for lock in locks)}: {said}", _what_to_try(told))


def _what_to_try(told: Source) -> str:
    if told.wheels and told.offline:
        return f"bring the wheel that is missing into {told.wheels[0]} (`tailrace pack` downloads it)"
    return "check the network (or the wheels in PIP_FIND_LINKS) and that locks used together agree"


def _uv(told: Source, *arguments: str) -> str:
    """"" when uv did it, else its complaint in one line."""
    import uv  # noqa: PLC0415  the one place that needs it

    words = [uv.find_uv_bin(), *arguments, *(_FROM_WHEELS if _only_wheels(told) and arguments[0] == "pip" else ())]
    done = subprocess.run(mortal(words), env=_uv_variables(told), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else _one_line(done.stderr) or f"uv ended with {done.returncode}"


def _only_wheels(told: Source) -> bool:
    return told.offline and bool(told.wheels)


def _uv_variables(told: Source) -> dict[str, str]:
    """This process's variables, with pip's wheel folders told to uv, which does not look for them by itself, and with
    the folders and the silence that were asked for."""
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    if "PIP_FIND_LINKS" in variables:
        variables.setdefault("UV_FIND_LINKS", ",".join(variables["PIP_FIND_LINKS"].split()))
    if told.wheels:
        others = [] if told.offline else [variables["UV_FIND_LINKS"]] if "UV_FIND_LINKS" in variables else []
        variables["UV_FIND_LINKS"] = ",".join([*told.wheels, *others])
    return {**variables, "UV_OFFLINE": "1"} if told.offline else variables


def _one_line(complaint: str) -> str:
    """uv's boxed and wrapped message as one line, without hints and colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", complaint).split("hint:")[0]
    line = " ".join(text.replace("╰─▶", " ").replace("×", " ").replace("│", " ").split())
    line = line.removeprefix("error: ").rstrip(".")
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE].rsplit(" ", 1)[0] + " …"


def _short(lock: Path) -> str:
    return f"{lock.parent.name}/{lock.name}"


def _bytes_below(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
