"""Quantiles of latency and how sure they are.

Latencies in a queue are autocorrelated, so requests are never treated as independent: the repetition is the unit,
and one run counts as many requests as its effective size says. A failed request has infinite latency.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.analyse.model import Interval

Ordered = NDArray[np.float32]

CONFIDENCE = 0.95
MAX_SERIES = 1 << 15
SAMPLED = 1 << 11     # of many values, so many say about where an order statistic lies
BESIDE = 0.03         # of the sample on either side: two and a half deviations of a median's place in it


def rank(q: float, n: int) -> int:
    """The rank (from 1) of the q-quantile of n values: the smallest k with k/n >= q (Hyndman & Fan 1996, type 1).

    Inverting the empirical distribution, instead of interpolating, keeps the answer an observed value and lets a
    quantile be infinite.
    """
    return min(max(math.ceil(q * n - 1e-9), 1), n)


def quantile(ordered: Ordered, q: float) -> float:
    """The q-quantile of one run's ascending latencies; NaN of none."""
    return float(ordered[rank(q, len(ordered)) - 1]) if len(ordered) else math.nan


def kth_smallest(values: NDArray[Any], k: int) -> float:
    """The k-th smallest value, k from 0, as np.partition has it, in a third of the time where there are many."""
    near, below = _around(values, k, k)
    return float(np.partition(near, k - below)[k - below])


def median(values: NDArray[Any]) -> float:
    """The median of at least one value, as np.median has it, in a third of the time where there are many."""
    first, last = (len(values) - 1) // 2, len(values) // 2
    near, below = _around(values, first, last)
    found = np.partition(near, (first - below, last - below))
    return (float(found[first - below]) + float(found[last - below])) / 2


def _around(values: NDArray[Any], first: int, last: int) -> tuple[NDArray[Any], int]:
    """Some of the values, the `first` to the `last` smallest among them, and how many are smaller than all of these: a
    sample brackets them (Floyd & Rivest 1975), and where it misses them all values are given."""
    n = len(values)
    if n < 16 * SAMPLED:
        return values, 0
    sample = np.sort(values[::n // SAMPLED])
    low = sample[max(int((first / n - BESIDE) * len(sample)), 0)]
    high = sample[min(int((last / n + BESIDE) * len(sample)) + 1, len(sample) - 1)]
    below = int(np.count_nonzero(values < low))
    near = values[(values >= low) & (values <= high)]
    return (near, below) if below <= first and last < below + len(near) else (values, 0)


def pooled_quantile(runs: Sequence[Ordered], q: float) -> float:
    """The q-quantile of all runs' latencies together; NaN of none. Each run is ascending and not negative.

    Bisects over the bit patterns of float32, which sort as the numbers do when none is negative: nothing is merged, so
    leaving each run out in turn costs microseconds and no memory.
    """
    n = sum(len(run) for run in runs)
    if n == 0:
        return math.nan
    wanted = rank(q, n)
    low, high = 0, int(np.float32(np.inf).view(np.int32))
    while low < high:
        middle = (low + high) // 2
        value = np.int32(middle).view(np.float32)
        if sum(int(run.searchsorted(value, side="right")) for run in runs) >= wanted:
            high = middle
        else:
            low = middle + 1
    return float(np.int32(low).view(np.float32))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of one figure per repetition with Student's t interval; NaN bounds for fewer than two repetitions."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 2:
        return Interval(float(data.mean()) if len(data) else math.nan, math.nan, math.nan, confidence)
    half = student(confidence, len(data) - 1) * float(data.std(ddof=1)) / math.sqrt(len(data))
    return Interval(float(data.mean()), float(data.mean()) - half, float(data.mean()) + half, confidence)


def student(confidence: float, freedom: float) -> float:
    """Student's t that leaves (1 − confidence)/2 above it."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def order_statistic_interval(
    ordered: Ordered, q: float, confidence: float = CONFIDENCE, effective: float | None = None
) -> Interval:
    """One run's q-quantile with a distribution-free interval between two order statistics.

    Ranks come from the binomial distribution (Conover 1999, §3.2); NaN on a side the run is too small to bound. It is
    right only for independent requests: give `effective` (see `effective_size`) and the ranks spread accordingly.
    """
    n = len(ordered)
    size = n if effective is None else max(1, min(n, round(effective)))
    tail = (1 - confidence) / 2
    below, above = binomial_ranks(size, q, tail)
    low = math.floor(below * n / size)
    high = math.ceil(above * n / size)
    return Interval(
        quantile(ordered, q),
        float(ordered[low - 1]) if 1 <= low <= n and below >= 1 else math.nan,
        float(ordered[min(high, n) - 1]) if above <= size else math.nan,
        confidence,
    )


def binomial_ranks(n: int, q: float, tail: float) -> tuple[int, int]:
    """Ranks (l, u) from 1 with P(x_l > quantile) <= tail and P(x_u < quantile) <= tail; 0 or n+1 where there is none.

    x_l lies above the quantile when fewer than l of n values lie at or below it: Bin(n, q) <= l − 1.
    """
    counts = np.arange(n + 1)
    at_most = special.bdtr(counts.astype(np.float64), n, q)
    low = int(np.searchsorted(at_most, tail, side="right"))
    high = int(np.searchsorted(at_most, 1 - tail, side="left")) + 1
    return low, high


def needed_samples(q: float, confidence: float = CONFIDENCE) -> int:
    """Effective requests below which no interval for the q-quantile is believed: 368 for p99, 3 688 for p99.9.

    The smallest n whose extremes enclose the quantile with (1 − confidence)/2 on the rarer side: max(q, 1 − q)^n.
    """
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(q, 1 - q)))


def effective_size(above: NDArray[np.bool_]) -> float:
    """How many independent requests say as much about a quantile as these; `above` tells, in order of due times,
    which are beyond it.

    n·var/σ², where σ² is the long-run variance: the autocovariances summed over Geyer's initial positive sequence
    (Geyer 1992, §3.3). Series longer than 32 768 are summed in blocks first, which leaves σ² as it is. Between 1 and n;
    n where nothing varies.
    """
    n = len(above)
    share = float(np.count_nonzero(above)) / n if n else 0.0
    if n < 4 or share in (0.0, 1.0):
        return float(n)
    block = -(-n // MAX_SERIES)
    sums = above[: n - n % block].reshape(-1, block).sum(axis=1).astype(np.float64)
    series = sums - sums.mean()
    size = 1 << (2 * len(series) - 1).bit_length()
    spectrum = np.fft.rfft(series, size)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(series)] / len(series)
    pairs = covariance[: len(series) // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    positive = np.minimum.accumulate(pairs[: ends[0]] if len(ends) else pairs)
    long_run = (2 * float(positive.sum()) - float(covariance[0])) / block
    if long_run <= 0:
        return float(n)
    return min(max(n * share * (1 - share) / long_run, 1.0), float(n))
