"""Tuned knobs: results/<machine>/profiles/<setup>-<workload>-<hash>.toml, one file for each setup, workload, device,
promise and setup behind; the newest search of the same replaces it."""

import hashlib
import json
import math
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.catalog.setup import Knob
from harness.errors import TailraceError
from harness.record.layout import PROFILES


@dataclass(frozen=True)
class Profile:
    """What a search found for this machine. `ratio`, `low` and `high` say how many times the default's goodput the
    knobs had in `fresh` pairs of fresh runs: 1 where they are the default's, `why` saying what came of the best other;
    `hashes` (setup, workload, lock) are what they were found with, `behind` the setup that it stood in front of."""

    setup: str
    workload: str
    scenario: str
    promise: str
    found_utc: str
    knobs: dict[str, Knob]
    hashes: dict[str, str]
    default_goodput: float
    goodput: float
    ratio: float
    low: float
    high: float
    fresh: int
    runs: int
    why: str
    device: str = "cpu"
    behind: str = ""

    def fits(self, hashes: dict[str, str]) -> bool:
        """Whether it was found with that very setup, workload and lock."""
        return all(self.hashes.get(noun) == hashes.get(noun) for noun in ("setup", "workload", "lock"))


def write_profile(machine: Path, profile: Profile) -> Path:
    """The file below `machine` (results/<machine id>), by rename. Raises TailraceError when it cannot be written."""
    path = machine / PROFILES / f"{profile.setup}-{profile.workload}-{_digest(profile)}.toml"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    plain = {name: value for name, value in vars(profile).items() if not isinstance(value, dict)}
    text = _table(plain) + "".join(f"\n[{name}]\n{_table(getattr(profile, name))}" for name in ("knobs", "hashes"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.rename(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise TailraceError(f"{path}: cannot be written: {error.strerror}", "give another results folder") from None
    return path


def read_profiles(machine: Path, setup: str, workload: str, device: str = "cpu") -> list[Profile]:
    """The profiles of a setup and a workload on a device, of every promise, the newest first. Raises TailraceError for
    a damaged one."""
    paths = sorted((machine / PROFILES).glob(f"{setup}-{workload}*.toml"))
    found = [each for each in map(_read, paths)
             if (each.setup, each.workload, each.device) == (setup, workload, device)]
    return sorted(found, key=lambda each: each.found_utc, reverse=True)


def _read(path: Path) -> Profile:
    try:
        return TypeAdapter(Profile).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise TailraceError(f"{path}: cannot be read: {str(error).splitlines()[0]}",
                            "remove the file and run `tailrace tune` again") from None


def _digest(profile: Profile) -> str:
    told = json.dumps([profile.promise, profile.behind, profile.device])
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _table(values: dict[str, Any]) -> str:
    """Lines of TOML; its basic strings are written as JSON's are, and `nan` and `inf` in lower case."""
    return "".join(f"{json.dumps(name)} = {_value(value)}\n" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
