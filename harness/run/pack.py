"""What a machine without a registry must be brought: the wheels that locks name, by hash, and prepared models."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from harness.errors import TailraceError, UsageError
from harness.parcel.manifest import NAME, Item, Manifest, divide, sum_of, write_manifest
from harness.run.pins import Pin, needed, plain
from harness.run.preinstalled import known_as, quarrelling, standing_in

_VERSION = re.compile(r"3\.(\d+)")
_GLIBC = re.compile(r"2\.(\d+)")
_PRESENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
_MANIFEST_ROOM = 256 << 10
Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """The machine to pack for: `python` like 3.12, `glibc` like 2.28 or older than its own, and what it has installed,
    name -> version. Raises UsageError for other words."""

    python: str
    glibc: str
    present: Mapping[str, str]

    def __post_init__(self) -> None:
        for option, value, pattern in (("--python", self.python, _VERSION), ("--glibc", self.glibc, _GLIBC)):
            if not pattern.fullmatch(value):
                raise UsageError(f"{option} {value}: is no such version", "write it like 3.12, or 2.28")

    @property
    def markers(self) -> dict[str, str]:
        """The variables of PEP 508 there; CPython on Linux, of this machine's processor."""
        return {"python_version": self.python, "python_full_version": f"{self.python}.99", "os_name": "posix",
                "sys_platform": "linux", "platform_system": "Linux", "platform_machine": platform.machine(),
                "platform_python_implementation": "CPython", "implementation_name": "cpython",
                "implementation_version": f"{self.python}.99", "platform_release": "", "platform_version": ""}

    @property
    def platforms(self) -> list[str]:
        """Tags of the wheels that run there, the newest first; pip matches each exactly."""
        newest = int(self.glibc.partition(".")[2])
        names = [f"manylinux_2_{minor}" for minor in range(newest, 4, -1)]
        return [f"{name}_{platform.machine()}" for name in (*names, "manylinux2014", "manylinux2010", "manylinux1")]


@dataclass(frozen=True)
class Packed:
    """The parts with their bytes, and what was left out since the machine has it: name -> (locked, there)."""

    parts: Mapping[str, int]
    left_out: Mapping[str, tuple[str, str]]


def read_present(path: Path) -> dict[str, str]:
    """Name -> version of a list like that of `pip list --format=freeze`. Raises UsageError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        raise UsageError(f"{path}: cannot be read", "make it there: python3 -m pip list --format=freeze") from None
    found = {plain(match[1]): match[2] for line in lines if (match := _PRESENT.fullmatch(line.strip()))}
    if not found:
        raise UsageError(f"{path}: names no package", "make it there: python3 -m pip list --format=freeze")
    return known_as(found)


def pack(out: Path, target: Target, groups: Sequence[Mapping[str, Pin]], models: Sequence[Path], part_bytes: int,
         say: Say) -> Packed:
    """Writes the parcel `out`, whole or not at all: for each group of pins, which is installed together, the wheels
    that the target lacks; and the prepared models, which are folders of the cache.

    Raises TailraceError when a wheel cannot be had or is not what is locked, or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not any(out.glob(f"part-*/{NAME}")))):
        raise UsageError(f"{out}: is there and is no parcel", "name a new folder, or one that an earlier parcel is in")
    scratch = out.absolute().with_name(f".{out.name}.making-{os.getpid()}")
    try:
        loose = scratch / "loose" / "wheels"
        loose.mkdir(parents=True)
        left_out = _download(groups, target, loose, say)
        for model in models:
            shutil.copytree(model, scratch / "loose" / "workloads" / model.name)
        parts = _split(scratch / "loose", scratch, target, left_out, part_bytes - _MANIFEST_ROOM)
        shutil.rmtree(scratch / "loose")
        if out.exists():
            shutil.rmtree(out)
        scratch.rename(out)
    except OSError as error:
        raise TailraceError(f"{error.filename or out}: cannot be written: {error.strerror}",
                            "free some space, or name a folder on another disk") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Packed(parts, left_out)


def _download(groups: Sequence[Mapping[str, Pin]], target: Target, folder: Path,
              say: Say) -> dict[str, tuple[str, str]]:
    """Fills the folder; name -> (locked, there) of what is left out."""
    kept = [standing_in(group, target.present) for group in groups]
    have: dict[tuple[str, str], Path] = {}
    while True:
        wanted = {(pin.name, pin.version): pin for group, leave in zip(groups, kept, strict=True)
                  for pin in group.values() if pin.name not in leave}
        missing = [pin for key, pin in wanted.items() if key not in have]
        have |= _fetch(missing, target, folder, say)
        quarrels = [_quarrels(group, leave, have, target) for group, leave in zip(groups, kept, strict=True)]
        if not any(quarrels):
            return {name: (group[name].version, target.present[name])
                    for group, leave in zip(groups, kept, strict=True) for name in sorted(leave)}
        kept = [leave - quarrel for leave, quarrel in zip(kept, quarrels, strict=True)]


def _quarrels(group: Mapping[str, Pin], leave: set[str], have: Mapping[tuple[str, str], Path],
              target: Target) -> set[str]:
    versions = {name: target.present[name] if name in leave else pin.version for name, pin in group.items()}
    requires = {name: _requires(have[name, pin.version]) for name, pin in group.items() if name not in leave}
    return quarrelling(versions, requires, leave, target.markers)


def _fetch(wanted: Sequence[Pin], target: Target, folder: Path, say: Say) -> dict[tuple[str, str], Path]:
    """The wheels by name and version; pip takes one version of a package at a time."""
    have: dict[tuple[str, str], Path] = {}
    left = list(wanted)
    while left:
        now = {pin.name: pin for pin in reversed(left)}
        left = [pin for pin in left if now[pin.name] is not pin]
        place = folder / f"round-{len(have)}"
        say(f"downloading {len(now)} wheels for Python {target.python}")
        _pip_download(list(now.values()), target, place)
        sums = {sum_of(file): file for file in place.iterdir()}
        for pin in now.values():
            found = next((sums[each] for each in pin.hashes if each in sums), None)
            if found is None:
                raise TailraceError(f"no wheel of {pin.name}=={pin.version} that the lock names was found",
                                    "check the index that pip is told of")
            have[pin.name, pin.version] = found.replace(folder / found.name)
        shutil.rmtree(place)
    return have


def _pip_download(wanted: Sequence[Pin], target: Target, place: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise TailraceError("pip is not installed beside tailrace", "install it: python -m ensurepip")
    place.mkdir()
    listed = place.with_suffix(".txt")
    listed.write_text("".join(f"{pin.requirement}\n" for pin in wanted), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}",
         f"--dest={place}",
         *(f"--platform={each}" for each in target.platforms), f"--requirement={listed}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    listed.unlink()
    if done.returncode:
        raise TailraceError(complaint(done.stderr, target),
                            "check the network, the space on the disk, and `tailrace pack --help`")


def complaint(said: str, target: Target) -> str:
    """pip's many lines as one sentence."""
    if lacks := re.search(r"No matching distribution found for (\S+)", said):
        return f"no wheel of {lacks[1]} runs on Python {target.python} with glibc {target.glibc}"
    if unlike := re.search(r"DO NOT MATCH THE HASHES.*?\n\s+(\S+)", said, re.DOTALL):
        return f"{unlike[1]}: what the index has is not what the lock names"
    lines = said.strip().splitlines() or ["pip could not download the wheels"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") and line[-1] != ":"]
    return (errors or lines)[-1].rstrip(".")


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)]
        text = archive.read(name).decode("utf-8", errors="replace")
    return list(HeaderParser().parsestr(text).get_all("Requires-Dist") or [])


def _split(loose: Path, out: Path, target: Target, left_out: Mapping[str, tuple[str, str]],
           part_bytes: int) -> dict[str, int]:
    """Parts below `out`, made of the files below `loose`: part -> bytes."""
    files = {file.relative_to(loose).as_posix(): file for file in sorted(loose.rglob("*")) if file.is_file()}
    sizes = {name: file.stat().st_size for name, file in files.items()}
    sums = {name: sum_of(file) for name, file in files.items()}
    pieces: dict[str, list[tuple[int, str]]] = {name: [] for name in files}
    parts = divide(sizes, part_bytes)
    for number, part in enumerate(parts, 1):
        (out / f"part-{number}").mkdir()
        for name, (start, length) in part.items():
            whole = length == sizes[name]
            piece = f"part-{number}/{_flat(name)}" + ("" if whole else f".piece-{start // part_bytes + 1}")
            pieces[name].append((start, piece))
            if whole:
                files[name].rename(out / piece)
            else:
                with files[name].open("rb") as file, (out / piece).open("wb") as cut:
                    file.seek(start)
                    cut.write(file.read(length))
    items = tuple(Item(name, sums[name], sizes[name], tuple(piece for _, piece in sorted(pieces[name])))
                  for name in files)
    there = {name: version for name, (_, version) in left_out.items()}
    write_manifest([out / f"part-{number}" for number in range(1, len(parts) + 1)],
                   Manifest(target.python, items, there))
    return {f"part-{number}": sum(length for _, length in part.values()) for number, part in enumerate(parts, 1)}


def _flat(name: str) -> str:
    """A wheel keeps its name, so that pip and uv know it; a model's file tells its folder."""
    kind, _, rest = name.partition("/")
    return rest if kind == "wheels" else rest.replace("/", "--")


def groups_of(environments: Sequence[tuple[Sequence[Path], Sequence[str]]], target: Target) -> list[dict[str, Pin]]:
    """What each environment, given as its locks and what the last of them displaces, asks for on the target."""
    return [needed(locks, displaced, target.markers) for locks, displaced in environments]
