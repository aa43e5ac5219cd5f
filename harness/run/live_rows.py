"""The rows of a running load as its generators append them, judged while it goes on.

Each generator writes pairs of int64 to `<out>.live`: (seq, done − due in ns, −1 for a failure) for every request that
ended, then (−1, ns since t0) up to which that is complete (harness/load/progress.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.load.arrivals import due_times
from harness.load.spec import LoadSpec
from harness.plan.attempt import Attempt

PAIR = 16


class Sitting(Protocol):
    """Judges one run while it goes on."""

    @property
    def said(self) -> str:
        """What is known so far, in words."""

    @property
    def requests(self) -> int:
        """How many of the requests, from the first, were looked at."""

    def look(self, latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64], now_ns: int) -> str:
        """Why the load may stop; "" while it must go on. Latencies of the counted requests due by `now_ns`, in order of
        due time: infinite for a failed one, NaN for one that has not ended."""


class LiveRows:
    """Reads what generators append for one attempt and lays it before its judge."""

    def __init__(self, attempt: Attempt, specs: Sequence[LoadSpec], sitting: Sitting) -> None:
        due_ns, stage = due_times(attempt.scenario.stage, attempt.seed, attempt.scenario.warmup_s)
        self._warmup = int(np.count_nonzero(stage < 0))
        self._due_ns = due_ns[self._warmup:]
        self._latency_ns = np.full(len(self._due_ns), np.nan)
        self._read = {Path(f"{spec.out}.live"): 0 for spec in specs}
        self._complete_ns = dict.fromkeys(self._read, -1)
        self._sitting = sitting
        self.why = ""

    @property
    def said(self) -> str:
        """What the judge knows so far."""
        return self._sitting.said

    @property
    def cut_s(self) -> float:
        """Seconds since t0 between the last request that was looked at and the next."""
        looked = self._sitting.requests
        ends = self._due_ns[max(looked - 1, 0):looked + 1]
        return float(ends.mean()) / 1e9 if len(ends) else 0.0

    def look(self) -> str:
        """Why the load may stop; "" while it must go on."""
        for path in self._read:
            self._take(path)
        now_ns = min(self._complete_ns.values())
        if now_ns > 0:
            due = int(np.searchsorted(self._due_ns, now_ns, side="right"))
            self.why = self._sitting.look(self._latency_ns[:due], self._due_ns[:due], now_ns)
        return self.why

    def _take(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read[path])
            data = file.read()
        whole = len(data) // PAIR * PAIR
        self._read[path] += whole
        pairs = np.frombuffer(data[:whole], dtype=np.int64).reshape(-1, 2)
        marks, ended = pairs[pairs[:, 0] < 0, 1], pairs[pairs[:, 0] >= self._warmup]
        if len(marks):
            self._complete_ns[path] = int(marks[-1])
        self._latency_ns[ended[:, 0] - self._warmup] = np.where(ended[:, 1] < 0, np.inf, ended[:, 1])
