"""Latencies counted in buckets that grow by 5 %: quantiles so far, cheap to keep, told in a line, merged.

A bucket's middle is at most 2.5 % off any latency in it (HdrHistogram and DDSketch do the same: Masson, Rim & Lee 2019,
§2), which is enough to look at; reports take their quantiles from the rows.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

GROWTH = 1.05
_LOG = math.log(GROWTH)


class Tally:
    """Counts of latencies. `told` is a flat list (bucket, count, bucket, count, …) of at most some hundred pairs."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, latency_ns: int, times: int = 1) -> None:
        """One latency that stands for `times` of them."""
        bucket = int(math.log(max(latency_ns, 1)) / _LOG)
        self._counts[bucket] = self._counts.get(bucket, 0) + times

    @property
    def told(self) -> list[int]:
        return [number for pair in self._counts.items() for number in pair]


def merged(told: Iterable[Sequence[int]]) -> dict[int, int]:
    """bucket -> count over what several tallies told."""
    counts: dict[int, int] = {}
    for numbers in told:
        for bucket, count in zip(numbers[::2], numbers[1::2], strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
    return counts


def quantile_ms(counts: Mapping[int, int], share: float) -> float:
    """The nearest-rank quantile, as the middle of its bucket; NaN of nothing."""
    left = max(1, math.ceil(share * sum(counts.values())))
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return float(GROWTH ** (bucket + 0.5)) / 1e6
    return math.nan
