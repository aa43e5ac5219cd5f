"""Capacities that were searched for: results/<machine>/capacity/<id>.json, each written whole, by rename.

A capacity is a conclusion drawn from runs, not a run: it names them, and they stay the evidence.
"""

import json
import math
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.catalog.device import arm
from harness.errors import TailraceError
from harness.record.layout import CAPACITY, MACHINE
from harness.record.plain import plain

STAMP = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True)
class Rate:
    """Requests per second with an interval; `high` is infinite where nothing failed below what could be sent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Capacity:
    """The highest load one replica of a setup carried within its promise.

    `promise` is the SLO as asked; `run_ids` are the probes it rests on; `binding` is what ends it (latency, errors or
    generator); `shape` how it ends (smooth or cliff). `replica_cpus` is how many CPUs the replica had.
    `last_passed` and `first_failed` are the certified loads around the boundary (NaN, inf where there is none).
    `ceiling` is the most that any probe was answered a second, as measured, whether within the promise or not: what the
    replica does flat out (NaN where the search did not keep it).
    """

    id: str
    setup: str
    workload: str
    promise: str
    rate: Rate
    run_ids: tuple[str, ...]
    binding: str
    shape: str
    machine_id: str = ""
    last_passed: float = math.nan
    first_failed: float = math.inf
    replica_cpus: int = 0
    knobs: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    ceiling: float = math.nan

    @property
    def arm(self) -> str:
        """The setup and what it computed on, as comparisons call it."""
        return arm(self.setup, self.device)


def capacity_id(setup: str, workload: str, when: datetime) -> str:
    """`<UTC>-<setup>-<workload>`: sorts by time."""
    return f"{when.astimezone(UTC).strftime(STAMP)[:-3]}Z-{setup}-{workload}"


def write_capacity(machine: Path, capacity: Capacity) -> Path:
    """The file below the machine's folder. Raises TailraceError when it cannot be written."""
    path = machine / CAPACITY / f"{capacity.id}.json"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(plain(asdict(capacity)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        aside.rename(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise TailraceError(f"{path}: cannot be written: {error.strerror}", "give another results folder") from None
    return path


def read_capacity(path: Path) -> Capacity:
    """The capacity in a file. Raises TailraceError when it is none."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rate = Rate(*(_number(table["rate"][name], empty) for name, empty in
                      (("value", math.nan), ("low", math.nan), ("high", math.inf))))
        return Capacity(**{**table, "rate": rate, "run_ids": tuple(table["run_ids"]),
                           "last_passed": _number(table["last_passed"], math.nan),
                           "first_failed": _number(table["first_failed"], math.inf),
                           "ceiling": _number(table.get("ceiling"), math.nan)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TailraceError(f"{path}: no capacity can be read from it ({error})",
                            "remove it and run `tailrace capacity` again") from None


def find_capacities(results: Path) -> list[Capacity]:
    """Every capacity below a results folder, or one machine's, oldest first."""
    machines = [results] if (results / MACHINE).is_file() else sorted(
        path.parent for path in results.glob(f"*/{MACHINE}"))
    paths = [path for machine in machines for path in (machine / CAPACITY).glob("[!.]*.json")]
    return [read_capacity(path) for path in sorted(paths, key=lambda path: path.name)]


def _number(value: float | None, empty: float) -> float:
    return empty if value is None else float(value)
