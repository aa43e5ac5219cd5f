"""Service time against batch size, as recorded: the curve that decides what batching gains, on a CPU or on a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.decide.twin import Floats
from harness.decide.twin_law import line
from harness.decide.twin_seen import ENOUGH, Batches

SPREAD = (0.1, 0.9)
ENOUGH_REQUESTS = 10_000    # of a run, its last ones: more make no curve more certain, and batches are found by sorting


@dataclass(frozen=True)
class ServiceCurve:
    """One setup's batches; arrays [k] by ascending `size`.

    `count` batches of each size took `mean_ms` in the mean and `low_ms` to `high_ms` from the 10th to the 90th
    percentile. `law_ms` is (a, b) of a + b·n, least squares over the means, each weighing by how well it is known;
    `laws_ms` [runs, 2] are those of single runs with batches enough.
    """

    size: Floats
    count: Floats
    mean_ms: Floats
    low_ms: Floats
    high_ms: Floats
    law_ms: tuple[float, float]
    laws_ms: Floats

    def at_ms(self, n: Floats) -> Floats:
        """The law's ms of batches of n."""
        return self.law_ms[0] + self.law_ms[1] * n

    def band_ms(self, n: Floats) -> tuple[Floats, Floats]:
        """The least and the most that the laws of single runs say, and the joint one."""
        each = np.stack([a + b * n for a, b in (self.law_ms, *self.laws_ms)])
        return np.asarray(each.min(axis=0)), np.asarray(each.max(axis=0))

    def gain(self) -> float:
        """How many times cheaper an item is in a batch of the largest size seen than alone, by the law."""
        largest = float(self.size[-1])
        return float(self.at_ms(np.ones(1))[0] * largest / self.at_ms(np.array([largest]))[0])


def service_curve(each: Sequence[Batches]) -> ServiceCurve | None:
    """The curve of all the runs' batches together; None where they tell of no batch, or of one size alone."""
    size = np.concatenate([part.size for part in each]) if each else np.zeros(0, np.int64)
    sizes = np.unique(size)
    if len(sizes) < 2:
        return None
    took_ms = np.concatenate([part.seconds for part in each]) * 1e3
    groups = [took_ms[size == n] for n in sizes]
    single = [_law(part.size, part.seconds * 1e3) for part in each
              if len(part.size) >= ENOUGH and len(np.unique(part.size)) > 1]
    low, high = np.array([np.quantile(group, SPREAD) for group in groups]).T
    return ServiceCurve(sizes.astype(np.float64), np.array([float(len(group)) for group in groups]),
                        np.array([float(group.mean()) for group in groups]), low, high, _law(size, took_ms),
                        np.array(single).reshape(-1, 2))


def _law(size: np.ndarray, took_ms: Floats) -> tuple[float, float]:
    sizes, counts = np.unique(size, return_counts=True)
    return line(sizes, np.array([float(took_ms[size == n].mean()) for n in sizes]), counts)
