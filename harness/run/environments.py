"""Python environments made from hashed locks: built once, named by what is in them, never changed afterwards."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.discover import cache_folder
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.run.content import hash_paths, made_once

_FACTS = "tailrace.json"
_LONGEST_MESSAGE = 240


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
    network twice. Raises TailraceError when a package cannot be had.
    """
    locks = [lock.resolve() for lock in locks]
    folder = cache_folder() / "envs" / hash_paths(locks, sys.version, sys.platform, *sorted(displaced))

    def make(scratch: Path) -> None:
        say(f"building the environment of {', '.join(_short(lock) for lock in locks)}")
        _build(scratch, locks, displaced)
        facts = {"bytes": _bytes_below(scratch), "locks": [_short(lock) for lock in locks], "python": sys.version}
        (scratch / _FACTS).write_text(json.dumps(facts), "utf-8")

    made_once(folder, make, _intact)
    facts = json.loads((folder / _FACTS).read_text("utf-8"))
    return Environment(folder / "bin" / "python", folder, int(facts["bytes"]))


def environments(setup: Setup, workload: Workload, say: Callable[[str], None] = lambda _: None) -> list[Environment]:
    """One for each part of the setup: the one it runs in, then that of the setup behind it. Raises TailraceError."""
    return [environment([workload.lock, part.lock], say, part.displaces) for part in setup.parts]


def _intact(folder: Path) -> bool:
    # The interpreter is a link to the one that made it, which may have gone.
    return (folder / _FACTS).is_file() and (folder / "bin" / "python").exists()


def lacking_packages(requirements: Sequence[str]) -> list[str]:
    """Those of the requirements that neither uv's cache nor any index or wheel folder it is told of has for this
    Python."""
    ask = ["pip", "install", "--quiet", "--dry-run", "--no-deps", "--reinstall", "--python", sys.executable]
    return [each for each in requirements if _uv(*ask, "--offline", each) and _uv(*ask, each)]


def without(lock: str, packages: Sequence[str]) -> str:
    """The lock's text without the entries of those packages: an entry is a line that begins in the first column, with
    the lines below it that do not."""
    names = "|".join(re.sub(r"[-_.]+", "[-_.]+", name) for name in packages)
    entry = rf"^(?:{names})(?![\w.-]|\[)[^\n]*\n(?:[ \t][^\n]*\n)*"
    return re.sub(entry, "", lock.rstrip("\n") + "\n", flags=re.MULTILINE | re.IGNORECASE) if packages else lock


def _build(folder: Path, locks: Sequence[Path], displaced: Sequence[str]) -> None:
    told = _uv("venv", "--quiet", "--relocatable", "--allow-existing", "--no-project", "--python", sys.executable,
               str(folder))
    if told:
        raise TailraceError(f"no environment could be made: {told}", "check the Python that runs tailrace")
    files = list(map(str, locks))
    for number, lock in enumerate(locks[:-1] if displaced else ()):
        shortened = folder / f"{number}-{lock.name}"
        shortened.write_text(without(lock.read_text("utf-8"), displaced), "utf-8")
        files[number] = str(shortened)
    sync = ["pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode",
            "--allow-empty-requirements", "--python", str(folder / "bin" / "python"), *files]
    # Offline first: exact versions that uv has kept need no index; asking it costs time and, without a network, all.
    if _uv(*sync, "--offline") and (told := _uv(*sync)):
        raise TailraceError(f"{', '.join(_short(lock) for lock in locks)}: {told}",
                            "check the network (or the wheels in PIP_FIND_LINKS) and that locks used together agree")


def _uv(*arguments: str) -> str:
    """"" when uv did it, else its complaint in one line."""
    import uv  # noqa: PLC0415  the one place that needs it

    done = subprocess.run([uv.find_uv_bin(), *arguments], env=_uv_variables(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else _one_line(done.stderr) or f"uv ended with {done.returncode}"


def _uv_variables() -> dict[str, str]:
    """This process's variables, with pip's wheel folders told to uv, which does not look for them by itself."""
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    if "PIP_FIND_LINKS" in variables:
        variables.setdefault("UV_FIND_LINKS", ",".join(variables["PIP_FIND_LINKS"].split()))
    return variables


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
