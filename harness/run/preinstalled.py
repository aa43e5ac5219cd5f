"""What the machine's own Python has installed, and which of it may stand in for what a lock names."""

import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from harness.errors import TailraceError
from harness.run.pins import Pin, plain

_Anything = TypeVar("_Anything")
_PTH = "tailrace_machine.pth"
_ASK = ("import json, sys; print(json.dumps({'version': list(sys.version_info[:2]), 'folders': "
        "[p for p in sys.path if p.rstrip('/').endswith(('site-packages', 'dist-packages'))]}))")
_ASK_S = 60.0
# What works out a model's answers, and what it does that with.
_COMPUTES = re.compile(r"^(?:torch|triton|tensorrt|onnxruntime|nvidia|cuda|cupy|jax|numpy)(?:-|$)")
# What another distribution is, under a name of its own: the same modules, built for more.
_IS_ALSO = {"onnxruntime-gpu": "onnxruntime"}
# Finds the interpreter beside itself, wherever the environment is moved to; uv writes the same.
_SCRIPT = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
import sys
from {module} import {name}
sys.exit({called}())
"""


@dataclass(frozen=True)
class Preinstalled:
    """`folders` are the site packages of `python` in the order it searches them; `found` is what they hold, by name."""

    python: str
    folders: tuple[Path, ...]
    found: Mapping[str, Distribution]

    def versions(self) -> dict[str, str]:
        """Name -> version."""
        return {name: each.version for name, each in sorted(self.found.items())}

    def computing(self) -> dict[str, str]:
        """Name -> version of the packages a model is computed with: PyTorch, ONNX Runtime, CUDA's libraries."""
        return {name: version for name, version in self.versions().items() if _COMPUTES.match(name)}


@lru_cache(maxsize=4)
def preinstalled(python: str) -> Preinstalled:
    """What `python` has installed, but for the harness's own environment where it has more. Raises TailraceError when
    it does not answer or is of another version than this Python."""
    try:
        done = subprocess.run([python, "-E", "-c", _ASK], capture_output=True, text=True, timeout=_ASK_S, check=True,
                              stdin=subprocess.DEVNULL)
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise TailraceError(f"{python}: does not answer as a Python does",
                            "name the interpreter that has the packages after --system-packages") from None
    here = sys.version_info
    if told["version"] != [here.major, here.minor]:
        raise TailraceError(f"{python}: is Python {'.'.join(map(str, told['version']))}, and tailrace runs on "
                            f"{here.major}.{here.minor}, which cannot use its packages",
                            "make tailrace's environment with that Python")
    folders = tuple(map(Path, told["folders"]))
    folders = tuple(each for each in folders if not each.is_relative_to(sys.prefix)) or folders
    return Preinstalled(python, folders, named(distributions(path=list(map(str, folders)))))


def acceptable(locked: str, present: str) -> bool:
    """Whether a preinstalled version may stand in for the locked one: the same major version, before 1.0 the same
    minor one."""
    try:
        asked, has = Version(locked).release, Version(present).release
    except InvalidVersion:
        return locked == present
    return asked[0] == has[0] and (asked[0] > 0 or asked[:2] == has[:2])


def satisfied(requirement: str, present: Mapping[str, str]) -> bool:
    """Whether the machine has what a requirement asks for, or something acceptable for its exact version."""
    need = Requirement(requirement)
    has = present.get(plain(need.name))
    return has is not None and (need.specifier.contains(has, prereleases=True) or any(
        each.operator == "==" and acceptable(each.version, has) for each in need.specifier))


def standing_in(needed: Mapping[str, Pin], present: Mapping[str, str]) -> set[str]:
    """Names of what is needed that need not be installed: the machine has an acceptable version."""
    return {name for name, pin in needed.items() if name in present and acceptable(pin.version, present[name])}


def quarrelling(versions: Mapping[str, str], requires: Mapping[str, Iterable[str]], kept: Collection[str],
                python: Mapping[str, str] | None = None) -> set[str]:
    """Those of `kept` that must be replaced by what is locked, since with them a requirement does not hold: one of
    another package on them, or one of theirs. `requires` are requirements as metadata states them, by package."""
    replaced = set()
    for name, texts in requires.items():
        for need in map(Requirement, texts):
            other = plain(need.name)
            if other not in versions or need.specifier.contains(versions[other], prereleases=True):
                continue
            if not need.marker or need.marker.evaluate({**(python or {}), "extra": ""}):
                replaced |= {other} & set(kept) or {name} & set(kept)
    return replaced


def see(environment: Path, machine: Preinstalled, kept: Collection[str]) -> None:
    """Makes the machine's packages visible in an environment, behind its own; commands of those `kept` come into its
    `bin`, where they run with what the environment holds."""
    [site] = environment.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({str(folder)!r})\n" for folder in machine.folders]
    (site / _PTH).write_text("".join(lines), "utf-8")
    for name in kept:
        for entry in machine.found[name].entry_points:
            script = environment / "bin" / Path(entry.name).name
            if entry.group == "console_scripts" and not script.exists():
                script.write_text(_SCRIPT.format(module=entry.module, name=entry.attr.partition(".")[0],
                                                 called=entry.attr), "utf-8")
                script.chmod(0o755)


def quarrels_within(environment: Path, machine: Preinstalled, kept: Collection[str]) -> set[str]:
    """As `quarrelling`, of what lies in the environment together with what is kept of the machine's."""
    own = list(map(str, environment.glob("lib/python*/site-packages")))
    found = {**{name: machine.found[name] for name in kept}, **named(distributions(path=own))}
    return quarrelling({name: each.version for name, each in found.items()},
                       {name: each.requires or () for name, each in found.items()}, kept)


def named(installed: Iterable[Distribution]) -> dict[str, Distribution]:
    """By name; the first of each counts, as on import."""
    found: dict[str, Distribution] = {}
    for each in installed:
        if each.metadata["Name"]:
            found.setdefault(plain(each.metadata["Name"]), each)
    return known_as(found)


def known_as(found: dict[str, _Anything]) -> dict[str, _Anything]:
    """The same with each distribution also under the name of what it is a build of, where that is not there itself."""
    return {**{other: found[name] for name, other in _IS_ALSO.items() if name in found}, **found}
