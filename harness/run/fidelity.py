"""Is what runs what the locks and the manifest say? Looked at before every run, since a cache can be tampered with."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from harness.run.content import hash_file
from harness.run.environments import machine_packages
from harness.run.pins import needed, plain

_SHOWN = 5
_MANIFEST = "manifest.json"


def differences(environment: Path, locks: Sequence[Path], model: Path) -> list[str]:
    """A sentence for each package of the environment and each file of the prepared model that is not what the locks
    and the manifest say; at most five."""
    return [*_packages(environment, locks), *_files(model)][:_SHOWN]


def unlike_version(environments: Iterable[Path]) -> dict[str, list[str]]:
    """`stands_in`: a sentence for each package of the machine that is used, as was asked for, in another version than
    is locked; {} where there is none."""
    said = {f"{name} {each['used']} of the machine (locked: {each['locked']})" for folder in environments
            for name, each in machine_packages(folder).get("stands_in", {}).items() if each["used"] != each["locked"]}
    return {"stands_in": sorted(said)} if said else {}


def _packages(environment: Path, locks: Iterable[Path]) -> list[str]:
    pinned = {name: pin.version for name, pin in needed([lock for lock in locks if lock.is_file()]).items()}
    found = dict(path.name.removesuffix(".dist-info").rsplit("-", 1)
                 for path in sorted(environment.glob("lib/python*/site-packages/*.dist-info")))
    said = []
    for name, version in found.items():
        asked = pinned.get(plain(name))
        if asked is None:
            said.append(f"{name} {version} is installed and in no lock")
        elif asked.split("+")[0] != version.split("+")[0]:
            said.append(f"{name} {version} is installed where the lock says {asked}")
    return said


def _files(model: Path) -> list[str]:
    manifest = model / _MANIFEST
    if not manifest.is_file():
        return []
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    said = []
    for name, fact in files.items():
        path = model / name
        if not path.is_file():
            said.append(f"{name} of the model is missing")
        elif _sum(path, path.stat().st_size, path.stat().st_mtime_ns) != fact["sha256"]:
            said.append(f"{name} of the model differs from its manifest")
    return said


@lru_cache(maxsize=256)
def _sum(path: Path, _size: int, _changed_ns: int) -> str:
    """Computed once per content in a race."""
    return hash_file(path)
