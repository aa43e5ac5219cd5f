"""Had it settled, does it drift, does it pause, does a queue only grow? Questions to one run's latencies in order.

Pure functions of arrays in order of due times. Latencies are taken as logarithms, so that a tail of a few slow requests
does not decide about all others; a request that failed has none and is left out.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

BATCH = 5
LEAST_BATCHES = 20
STRETCHES = 20
PER_STRETCH = 20
SETTLED_P = 1e-4
TREND_P = 1e-4
CORRELATED = 0.2
STALL_MS = 25.0
STALL_GAPS = 15.0
USUAL_SHARE = 0.2
STALLED_REQUESTS = 3
PERIODIC_STALLS = 4
PERIODIC_SPREAD = 0.25


@dataclass(frozen=True)
class WarmUp:
    """`requests` at the start belong to warming up (0: none found; half of all at most); they were `ratio` times as
    slow as the rest, which chance does with `p_value`. `settled` is False where it ends beyond the half of the run."""

    requests: int
    ratio: float
    p_value: float
    settled: bool


@dataclass(frozen=True)
class Trend:
    """How many times as slow the end is as the start, by a straight line through the logarithms, and how likely a
    line so steep is by chance."""

    ratio: float
    p_value: float


@dataclass(frozen=True)
class Stalls:
    """[from, to] in ns (int64[m, 2]) of the times in which requests waited and none was answered; `every_s` is their
    period where they come at a beat, else NaN."""

    spans_ns: NDArray[np.int64]
    every_s: float


def mser5(values: Floats) -> int:
    """How many values at the start to leave out by MSER-5: the truncation of means of five that makes the standard
    error of what is left smallest (White 1997; White, Cobb & Spratt 2000). More than half says that nothing settled.
    """
    n = len(values) // BATCH
    if n < LEAST_BATCHES:
        return 0
    means = values[:n * BATCH].reshape(n, BATCH).mean(axis=1)
    left = np.arange(n, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    error = (squares - sums**2 / left) / left.astype(np.float64) ** 2
    return int(np.argmin(error[:n - BATCH])) * BATCH


def warm_up(latency_ms: NDArray[np.floating], slower: float = 1.2) -> WarmUp:
    """The warm-up inside a run's latencies (infinite for a failed request): where MSER-5 cuts, if what it cuts is
    slower than the rest by the factor `slower` and by Welch's test (1947) of batch means, p < 0.0001.

    The batches are so long that those of the rest do not follow one another (lag-1 correlation below 0.2), so the test
    stays silent where a queue remembers longer than the run can show.
    """
    known = np.flatnonzero(np.isfinite(latency_ms))
    logs = np.log(np.maximum(latency_ms[known].astype(np.float64), 1e-3))
    cut = mser5(logs)
    none = WarmUp(0, 1.0, 1.0, True)
    if not cut:
        return none
    size = _uncorrelated_size(logs[cut:])
    early, rest = _means(logs[:cut][::-1], size), _means(logs[cut:], size)
    if len(early) < 2 or len(rest) < 4:
        return none
    ratio = math.exp(float(early.mean() - rest.mean()))
    likelihood = _welch(early, rest)
    if ratio <= slower or likelihood >= SETTLED_P:
        return WarmUp(0, ratio, likelihood, True)
    half = len(logs) // 2
    return WarmUp(int(known[min(cut, half)]), ratio, likelihood, cut <= half)


def trend(latency_ms: NDArray[np.floating]) -> Trend | None:
    """The trend of 20 stretches' medians (each of at least 20 requests; else None).

    The slope's standard error counts as many stretches as the lag-1 correlation around a parabola leaves independent
    (Santer et al. 2000, J. Geophys. Res. 105, eq. 6), so a queue that wanders is not taken for one that drifts.
    """
    medians = stretch_medians(latency_ms)
    if not len(medians) or not np.all(np.isfinite(medians)):
        return None
    values, at = np.log(np.maximum(medians, 1e-3)), np.linspace(-0.5, 0.5, len(medians))
    slope = float(at @ values) / float(at @ at)
    bend = at**2 - float(np.mean(at**2))
    residual = values - values.mean() - slope * at - float(bend @ values) / float(bend @ bend) * bend
    n, spread = len(values), float(residual @ residual)
    if spread <= 1e-18:
        return Trend(math.exp(slope), float(abs(slope) <= 1e-9))
    follows = float(residual[1:] @ residual[:-1]) / spread
    follows = min(0.99, max(0.0, follows + (2 + 5 * follows) / n))  # what detrending takes away (Marriott & Pope 1954)
    effective = n * (1 - follows) / (1 + follows)
    if effective <= 4:
        return Trend(math.exp(slope), 1.0)
    error = math.sqrt(spread / (effective - 3) / float(at @ at))
    return Trend(math.exp(slope), 2 * float(special.stdtr(effective - 3, -abs(slope) / error)))


def growth(latency_ms: NDArray[np.floating]) -> Trend | None:
    """How many times as slow the last fifth is as the first, of 20 stretches' medians (each of at least 20 requests;
    else None), and Kendall's p-value (1970, §4, normal approximation) that they do not rise: any shape of growth."""
    medians = stretch_medians(latency_ms)
    n = len(medians)
    if not n:
        return None
    later, earlier = np.triu_indices(n, 1)[::-1]
    agreeing = float(np.sum(medians[later] > medians[earlier])) - float(np.sum(medians[later] < medians[earlier]))
    likelihood = float(special.ndtr(-agreeing / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)))
    first, last = float(np.median(medians[:n // 5])), float(np.median(medians[-(n // 5):]))
    return Trend(last / max(first, 1e-3) if math.isfinite(first) else 1.0, likelihood)  # inf: it failed all along


def stretch_medians(latency_ms: NDArray[np.floating]) -> Floats:
    """Medians of 20 stretches of equally many requests; none where a stretch has fewer than 20."""
    each = len(latency_ms) // STRETCHES
    if each < PER_STRETCH:
        return np.zeros(0)
    parts = latency_ms[:each * STRETCHES].reshape(STRETCHES, each)
    return np.partition(parts, math.ceil(each / 2) - 1, axis=1)[:, math.ceil(each / 2) - 1].astype(np.float64)


def stalls(sent_ns: NDArray[np.int64], done_ns: NDArray[np.int64]) -> Stalls:
    """Gaps between answers in which at least three requests were sent, each gap at least 25 ms long and fifteen times
    the usual one: that which a fifth of the time passes in gaps shorter than (so that neither batches answered together
    nor one long stall hide what is usual). At a beat: four or more whose distances spread by less than a quarter of
    their mean."""
    none = Stalls(np.zeros((0, 2), np.int64), math.nan)
    if len(done_ns) < STALLED_REQUESTS:
        return none
    ends = np.sort(done_ns, kind="stable")    # a merge sort: times of requests are nearly in order
    gaps = np.diff(ends)
    if gaps.max() < STALL_MS * 1e6:
        return none
    starts, ordered = np.sort(sent_ns, kind="stable"), np.sort(gaps)
    usual = ordered[np.searchsorted(np.cumsum(ordered), USUAL_SHARE * float(gaps.sum()))]
    shortest_ns = max(STALL_MS * 1e6, STALL_GAPS * float(usual))
    wide = np.flatnonzero(gaps >= shortest_ns)
    met = np.searchsorted(starts, ends[wide + 1]) - np.searchsorted(starts, ends[wide], side="right")
    wide = wide[met >= STALLED_REQUESTS]
    if not len(wide):
        return none
    first = starts[np.searchsorted(starts, ends[wide], side="right")]
    held = np.searchsorted(starts, ends[wide], side="right") > wide + 1  # someone waited from the start of the gap
    spans = np.stack([np.where(held, ends[wide], first), ends[wide + 1]], axis=1)
    spans = spans[spans[:, 1] - spans[:, 0] >= shortest_ns]
    gaps_s = np.diff(spans[:, 0]) / 1e9
    beat = len(spans) >= PERIODIC_STALLS and float(gaps_s.std()) < PERIODIC_SPREAD * float(gaps_s.mean())
    return Stalls(spans, float(gaps_s.mean()) if beat else math.nan)


def _uncorrelated_size(values: Floats) -> int:
    """The smallest of 5, 10, 20, … values whose means follow one another with a lag-1 correlation below 0.2 (Fishman
    1978's doubling of batches); at most as many as leave four batches."""
    size = BATCH
    while len(values) >= 8 * size:
        means = _means(values, size)
        centred = means - means.mean()
        spread = float(np.sum(centred * centred))   # `@` starts threads, which cost more than so short a sum
        if spread <= 0 or float(np.sum(centred[1:] * centred[:-1])) / spread < CORRELATED:
            break
        size *= 2
    return size


def _means(values: Floats, size: int) -> Floats:
    n = len(values) // size
    return np.asarray(values[:n * size].reshape(n, size).mean(axis=1))


def _welch(these: Floats, those: Floats) -> float:
    """p-value of Welch's test (1947) that `these` are no greater than `those`."""
    a, b = these.var(ddof=1) / len(these), those.var(ddof=1) / len(those)
    if a + b <= 0:
        return float(these.mean() <= those.mean())
    freedom = (a + b) ** 2 / (a**2 / (len(these) - 1) + b**2 / (len(those) - 1))
    return float(special.stdtr(freedom, -(these.mean() - those.mean()) / math.sqrt(a + b)))
