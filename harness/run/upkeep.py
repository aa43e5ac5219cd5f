"""What a setup takes to run and to keep: lines of code, processes by kind, versions of what it is made of."""

import functools
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.catalog.setup import Setup
from harness.errors import TailraceError
from harness.run.content import files_below
from harness.run.machine import program
from harness.run.pins import needed, plain

_CODE = (".py", ".toml", ".pbtxt", ".properties", ".yaml", ".yml", ".json", ".sh", ".conf", ".cfg", ".ini")
_VERSION_S = 10.0
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")


def code_lines(setup: Setup) -> int:
    """Lines that are neither blank nor comments of what a person wrote for it: code and settings in its own folder and
    in those it shares; locks do not count."""
    files = [file for folder in setup.code if folder.is_dir() for file in files_below(folder) if file.suffix in _CODE]
    return sum(_lines(file) for file in files)


def processes(pids: Iterable[int]) -> dict[str, int]:
    """How many processes of each kind, by kind: a Python process by its module, script or title, another by its
    program. One that just ended counts as none."""
    kinds = Counter(kind for pid in pids if (kind := _kind(_words(pid))))
    return dict(sorted(kinds.items()))


def engine_versions(setup: Setup, packages: Mapping[str, str]) -> dict[str, str]:
    """Versions of what the setup names itself: the packages of its `.in` file, as found in `packages` (name ->
    version), the tag of its `[needs] image`, and its `[needs] programs` and Java, as they say."""
    known = {plain(name): version for name, version in packages.items()}
    found = {name: known[plain(name)] for name in _named(setup) if plain(name) in known}
    return {**found, **_image(setup),
            **{name: said for name in _programs(setup) if (said := _program_version(name))}}


def of_parts(engines: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Those of each part of a setup as one table; versions that parts have of the same name differently, both."""
    told: dict[str, list[str]] = {}
    for name, version in (each for part in engines for each in part.items()):
        told.setdefault(name, []).append(version)
    return {name: " and ".join(dict.fromkeys(versions)) for name, versions in told.items()}


def locked_engines(setup: Setup, workload: Path, python: str = "") -> dict[str, str]:
    """Versions of the packages and images that the setup and the one behind it name themselves, as `engine_versions`
    has them, but as their locks would install them now beside the `workload`'s lock: for that `python` (`3.11.7`), or
    this one.

    Raises TailraceError for a setup behind it that is not there, and for a lock that is not.
    """
    markers = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python} if python else None
    found = []
    for part in setup.parts:
        for lock in (workload, part.lock):
            if not lock.is_file():
                raise TailraceError(f"{lock}: there is no such lock", "check out the project whole")
        pins = needed([workload, part.lock], part.displaces, markers)
        found.append({name: pins[plain(name)].version for name in _named(part) if plain(name) in pins} | _image(part))
    return of_parts(found)


def unlocked_engines(setup: Setup) -> list[str]:
    """What it is made of, and the one behind it, that no lock names: programs and Java of the machine."""
    return [name for part in setup.parts for name in _programs(part)]


def _image(setup: Setup) -> dict[str, str]:
    name, _, tag = setup.needed.image.rpartition(":")
    return {name: tag} if name else {}


def _programs(setup: Setup) -> tuple[str, ...]:
    return (*setup.needed.programs, *(["java"] if setup.needs.java else []))


def _named(setup: Setup) -> list[str]:
    """The packages that the setup's `.in` file names, as it writes them."""
    asked = setup.lock.with_suffix(".in")
    lines = asked.read_text(encoding="utf-8").splitlines() if asked.is_file() else []
    return [match[1] for line in lines if (match := _NAME.match(line.strip()))]


def _lines(file: Path) -> int:
    lines = (line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _words(pid: int) -> list[str]:
    try:
        told = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [word for word in told.decode(errors="replace").split("\0") if word]


def _kind(words: list[str]) -> str:
    """`batching.front` of `/env/bin/python -m batching.front 0`; `redis-server` of its title with address."""
    if not words:
        return ""
    program = Path(words[0].split()[0].rstrip(":")).name
    if not program.startswith("python"):
        return program
    for index, word in enumerate(words[1:], 1):
        if word == "-m" and index + 1 < len(words):
            return words[index + 1]
        if word == "-c":
            return _spawned(words[index + 1:])
        if not word.startswith("-"):
            return Path(word).name
    return program


def _spawned(words: list[str]) -> str:
    """What `python -c` runs: the module that its first import names."""
    match = re.search(r"(?:from|import)\s+([\w.]+)", words[0] if words else "")
    return match[1] if match else "python"


@functools.cache
def _program_version(name: str) -> str:
    """The first line of `program --version`, or of `program -v`, which is nginx's; "" where it does not say."""
    for flag in ("--version", "-v"):
        try:
            done = subprocess.run([program(name) or name, flag], capture_output=True, text=True, timeout=_VERSION_S,
                                  check=False, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        lines = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode == 0 and lines:
            return lines[0][:120]
    return ""
