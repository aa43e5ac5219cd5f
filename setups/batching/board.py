"""Figures that one process writes and all others may read: a file of float64 in the run's folder, mapped into memory.

An aligned float64 is written whole on the machines this runs on; figures read together may be a moment apart. A
restarted process continues its predecessor's file, so that counters never fall.
"""

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

from batching.costs import SIZES, Law

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CODES = (200, 400, 404, 405, 413, 500, 503, 504)
RUNNING_MOST = 256

LAW_FIELDS = ("line_a", "line_b", "line_c", "line_d", *(f"factor_{size}" for size in SIZES))
WORKER_FIELDS = (
    "pid", "ready", "busy_since_s", "expected_s", "best", "batches", "items", "model_s", "expired", "bad",
    "failed", *(f"batch_{size}" for size in BATCH_BUCKETS), "batch_more", *(f"cost_{size}" for size in SIZES),
    *LAW_FIELDS, "shown",
    "running", *(f"running_{i}" for i in range(RUNNING_MOST)))
OWNER_FIELDS = ("pid", "ready", "busy_since_s", "expected_s", "batches", "items", "model_s",
                *(f"batch_{size}" for size in BATCH_BUCKETS), "batch_more", "running")
FRONT_FIELDS = ("pid", "waiting", "unanswered", "retried", *(f"code_{code}" for code in CODES))
SUPERVISOR_FIELDS = ("deaths", "hung")


class Board:
    """Named float64 figures in one file. Use it as a mapping; `add` increments."""

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self._at = {name: i for i, name in enumerate(fields)}
        size = 8 * len(fields)
        with path.open("a+b") as file:
            if path.stat().st_size < size:
                file.truncate(size)
            self._cells = memoryview(mmap.mmap(file.fileno(), size)).cast("d")

    def __getitem__(self, name: str) -> float:
        return self._cells[self._at[name]]

    def __setitem__(self, name: str, value: float) -> None:
        self._cells[self._at[name]] = value

    def add(self, name: str, value: float = 1.0) -> None:
        """Increment a counter."""
        self._cells[self._at[name]] += value

    def count_batch(self, items: int, seconds: float) -> None:
        """Count a batch that ran."""
        self.add("batches")
        self.add("items", items)
        self.add("model_s", seconds)
        self.add(next((f"batch_{edge}" for edge in BATCH_BUCKETS if items <= edge), "batch_more"))

    def show_law(self, law: Law) -> None:
        """Let the fronts know what batches cost; `shown` counts how often, and changes last."""
        for name, value in zip(LAW_FIELDS, (*law.line, *law.factors), strict=True):
            self[name] = value
        self.add("shown")

    def law(self) -> Law:
        """What was last shown."""
        a, b, c, d, *factors = (self[name] for name in LAW_FIELDS)
        return Law((a, b, c, d), tuple(factors))

    def start(self, ids: Iterable[int], now_s: float, expected_s: float) -> None:
        """Say which jobs run from now on, and how long they should take."""
        count = 0
        first = self._at["running_0"]
        for job_id in ids:
            if count < RUNNING_MOST:
                self._cells[first + count] = job_id
                count += 1
        self["running"] = count
        self["expected_s"] = expected_s
        self["busy_since_s"] = now_s

    def stop(self) -> None:
        """Say that nothing runs."""
        self["busy_since_s"] = 0.0
        self["running"] = 0

    def busy_s(self, now_s: float) -> float:
        """For how long the present batch has run; 0 while nothing runs. It may end at any time, so it is read once."""
        since_s = self["busy_since_s"]
        return now_s - since_s if since_s else 0.0

    def running(self) -> list[int]:
        """Ids of the jobs that were running when last heard of."""
        first = self._at["running_0"]
        return [int(self._cells[first + i]) for i in range(int(self["running"]))]


def worker_board(folder: Path, slot: int) -> Board:
    """The board of a worker's slot."""
    return Board(folder / f"worker-{slot}.board", WORKER_FIELDS)


def owner_board(folder: Path, slot: int) -> Board:
    """The board of a device's owner."""
    return Board(folder / f"owner-{slot}.board", OWNER_FIELDS)


def front_board(folder: Path, index: int) -> Board:
    """The board of a front."""
    return Board(folder / f"front-{index}.board", FRONT_FIELDS)


def supervisor_board(folder: Path) -> Board:
    """The board of the supervisor."""
    return Board(folder / "supervisor.board", SUPERVISOR_FIELDS)
