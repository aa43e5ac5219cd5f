"""A recorded run as the twin's fit sees it: its requests, the batches they were in, and which met nobody."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin import Floats
from harness.decide.twin_weights import Lengths

QUANTILES = (0.5, 0.9, 0.95, 0.99)
SATURATED = 0.93
ENOUGH = 20


@dataclass(frozen=True)
class Seen:
    """One recorded run's requests in order of due time, warm-up included but not `counted`; arrays [n].

    Seconds; latency is infinite where there was no right answer. `batch` is 0, `model_s` NaN where the setup does not
    tell; `inside_s` is the time in queue, waiting and model together as told (NaN likewise). `rate` is offered.
    `lengths`: bytes of the payloads; none where not recorded. `asked`: the rate that was to be offered, in the mean; 0
    where not known. `cores`: the server's; `busy`: how many of them were, in the mean, while requests counted; NaN
    where not recorded.
    """

    run_id: str
    rate: float
    due_s: Floats
    latency_s: Floats
    counted: NDArray[np.bool_]
    batch: NDArray[np.int64]
    model_s: Floats
    inside_s: Floats
    lengths: Lengths = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    asked: float = 0.0
    cores: int = 0
    busy: float = math.nan

    @property
    def told(self) -> bool:
        """Whether the setup tells how long it predicted."""
        return bool(np.mean(np.isfinite(self.model_s)) > 0.5)

    def quantiles_s(self, quantiles: Sequence[float] = QUANTILES) -> Floats:
        """Quantiles of the counted latencies (type 1)."""
        return quantiles_s(self.latency_s[self.counted], quantiles)

    def throughput(self) -> float:
        """Answers a second in the middle of the run: from a quarter to nine tenths of them, which is the ceiling where
        more was offered."""
        done = np.sort((self.due_s + self.latency_s)[np.isfinite(self.latency_s)])
        first, last = int(0.25 * len(done)), int(0.9 * len(done)) - 1
        return (last - first) / (done[last] - done[first]) if last - first > ENOUGH else math.nan

    @property
    def met(self) -> float:
        """Requests a second that the server met: those offered, or answered where that was less."""
        through = self.throughput()
        return min(self.rate, through) if math.isfinite(through) else self.rate

    @property
    def core_s(self) -> float:
        """Seconds that a core of the server was busy for each request; NaN where not recorded."""
        return self.busy / self.met

    @property
    def saturated(self) -> bool:
        """Whether more was offered than answered."""
        through = self.throughput()
        return bool(through < SATURATED * self.rate)


def most_answered(runs: Sequence[Seen]) -> float:
    """The most answers a second in the middle of any of the runs, as measured; NaN where none is long enough to say."""
    return max((through for run in runs if math.isfinite(through := run.throughput())), default=math.nan)


def quantiles_s(latency_s: Floats, quantiles: Sequence[float]) -> Floats:
    """Type 1 quantiles, so that infinity is one like any other."""
    ordered = np.sort(latency_s)
    ranks = [min(max(math.ceil(q * len(ordered) - 1e-9), 1), len(ordered)) - 1 for q in quantiles]
    return np.asarray(ordered[ranks])


class Batches(NamedTuple):
    """Arrays [k]: each batch's size, the workers busy when it began, its seconds, its members' bytes in the mean (0
    where they were not recorded)."""

    size: NDArray[np.int64]
    busy: NDArray[np.int64]
    seconds: Floats
    length: Floats


def batches(run: Seen, workers: int) -> Batches:
    """The batches of a run, none where its setup does not tell: members of one share a size and a model time."""
    known = np.isfinite(run.latency_s) & np.isfinite(run.model_s)
    size, seconds = np.maximum(run.batch[known], 1), run.model_s[known]
    length = np.asarray(run.lengths[known] if len(run.lengths) else np.zeros(len(size)), dtype=np.float64)
    done = (run.due_s + run.latency_s)[known]
    began = done - seconds
    share = 1.0 / size
    starts, ends = np.argsort(began), np.argsort(done)
    up = np.concatenate([[0.0], np.cumsum(share[starts])])[np.searchsorted(began[starts], began, side="right")]
    down = np.concatenate([[0.0], np.cumsum(share[ends])])[np.searchsorted(done[ends], began, side="right")]
    busy = np.clip(np.rint(up - down), 1, workers).astype(np.int64)
    if int(size.max(initial=1)) > 1:
        # Members of one batch carry the same seconds to the microsecond: one of them stands for all.
        alike = np.stack([np.rint(done / np.maximum(4 * seconds, 1e-4)), np.rint(seconds * 1e6), size])
        order = np.lexsort(alike)
        starts = np.flatnonzero(np.append(True, np.any(np.diff(alike[:, order]) != 0, axis=0)))
        first, length = order[starts], np.add.reduceat(length[order], starts) / np.diff(np.append(starts, len(order)))
        size, busy, seconds = size[first], busy[first], seconds[first]
    return Batches(size, busy, seconds, length)


def lonely(run: Seen) -> NDArray[np.bool_]:
    """Which requests became due while no other was on its way."""
    done = np.where(np.isfinite(run.latency_s), run.due_s + run.latency_s, np.inf)
    latest = np.concatenate([[-np.inf], np.maximum.accumulate(done)[:-1]])
    return np.asarray(latest <= run.due_s)
