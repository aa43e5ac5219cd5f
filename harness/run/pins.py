"""What locks say, entry by entry."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

_ENTRIES = re.compile(r"\n(?=\S)")  # what stands in the first column begins an entry
_HEAD = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;]+)(?:\s*;\s*(.+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One entry of a lock: `name` as PEP 503 compares it, `marker` "" where it holds everywhere, the sha256 of the
    files that may be installed, and the entry's own text."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]
    text: str

    @property
    def requirement(self) -> str:
        """It, hashed, on one line and without its marker."""
        return f"{self.name}=={self.version} {' '.join(f'--hash=sha256:{each}' for each in sorted(self.hashes))}"


def plain(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> list[Pin]:
    """Every `name==version` entry of a lock's text, in order, whatever its marker says."""
    found = []
    for entry in _ENTRIES.split(text):
        if head := _HEAD.fullmatch(entry.partition("\n")[0].partition("--hash")[0].rstrip("\\ ")):
            found.append(Pin(plain(head[1]), head[2], head[3] or "", frozenset(_HASH.findall(entry)), entry))
    return found


def needed(locks: Sequence[Path], displaced: Sequence[str] = (),
           python: Mapping[str, str] | None = None) -> dict[str, Pin]:
    """What the locks together ask for here, or on a `python` described by the variables of PEP 508 markers: name ->
    pin. What is `displaced` counts in the last lock alone."""
    apart = {plain(name) for name in displaced}
    return {pin.name: pin for lock in locks for pin in pins(lock.read_text("utf-8"))
            if (pin.name not in apart or lock == locks[-1])
            and (not pin.marker or Marker(pin.marker).evaluate(dict(python) if python else None))}
