"""What `tailrace check` found, as data: results/<machine>/conformance/<setup>-<workload>.json, one file a pair.

A check on another device or with other knobs has a file of its own. The newest check replaces the one before it. The
answers lie beside it, so that setups can be compared with each other.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from harness.catalog.device import arm
from harness.errors import TailraceError
from harness.record import layout
from harness.record.write import write_json

SCHEMA = 1
ANSWERS_KEPT = 32
_ANSWERS = ".answers.json"


@dataclass(frozen=True)
class Point:
    """One clause of the contract. `code` is stable; `message` says what was seen."""

    code: str
    verdict: Literal["passed", "failed", "skipped"]
    message: str


@dataclass(frozen=True)
class Conformance:
    """One check of one setup with one workload on one device. `hashes` are content hashes of setup, workload and
    lock; `knobs` are those that were given, `raised` those that the check itself set above their defaults."""

    setup: str
    workload: str
    checked_utc: str
    hashes: dict[str, str]
    points: tuple[Point, ...]
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA
    device: str = "cpu"
    knobs: dict[str, bool | int | float | str] = field(default_factory=dict)
    raised: dict[str, bool | int | float | str] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """The setup and what it computed on, as comparisons call it."""
        return arm(self.setup, self.device)

    @property
    def failed(self) -> tuple[Point, ...]:
        """The points it does not keep."""
        return tuple(point for point in self.points if point.verdict == "failed")

    @property
    def stem(self) -> str:
        """What its file is called."""
        told = json.dumps(self.knobs, sort_keys=True).encode()
        parts = ["" if self.device == "cpu" else f".{self.device}",
                 f".{hashlib.sha256(told).hexdigest()[:8]}" if self.knobs else ""]
        return f"{self.setup}-{self.workload}{''.join(parts)}"


def write_conformance(machine: Path, found: Conformance, answers: tuple[bytes, ...]) -> None:
    """Stores the check below `machine` (results/<machine id>) by rename, and the first ANSWERS_KEPT answers.

    Raises TailraceError when it cannot be written.
    """
    folder = machine / layout.CONFORMANCE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if answers:
            kept = [base64.b64encode(answer).decode() for answer in answers[:ANSWERS_KEPT]]
            write_json(folder / f"{found.stem}{_ANSWERS}",
                       {"setup": found.arm, "workload": found.workload, "name": found.setup, "hashes": found.hashes,
                        "answers": kept})
        write_json(folder / f"{found.stem}.json", asdict(found))
    except OSError as error:
        raise TailraceError(f"{folder}: the check cannot be stored: {error.strerror}",
                            "free some space, or give another folder with --results") from None


def read_conformance(machine: Path) -> list[Conformance]:
    """Every check stored below `machine`, by setup and workload. Raises TailraceError for a damaged one."""
    found = []
    for path in sorted((machine / layout.CONFORMANCE).glob("*.json")):
        if not path.name.endswith(_ANSWERS):
            try:
                found.append(TypeAdapter(Conformance).validate_json(path.read_bytes()))
            except (OSError, ValidationError) as error:
                raise TailraceError(f"{path}: cannot be read: {str(error).splitlines()[0]}",
                                    "remove the file and check the setup again") from None
    return sorted(found, key=lambda each: (each.setup, each.workload))


def read_answers(machine: Path, workload: str, now: Callable[[str], Mapping[str, str]]) -> dict[str, list[bytes]]:
    """Setup -> its answers to the distinct items of the workload, where setup, workload and lock are what they were:
    `now` gives a setup's hashes of today. What cannot be read counts as none."""
    answers: dict[str, list[bytes]] = {}
    for path in sorted((machine / layout.CONFORMANCE).glob(f"*-{workload}*{_ANSWERS}")):
        table = _table(path)
        if table.get("workload") == workload and table.get("hashes") and table["hashes"] == now(str(table.get("name"))):
            answers[str(table["setup"])] = [base64.b64decode(answer) for answer in table.get("answers", [])]
    return answers


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
