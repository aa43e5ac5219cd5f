"""How sure a quantile over repetitions is: all limits whose share of slower requests is not unlike the quantile's.

A quantile estimated from a queue's few exceedances is biased and skewed; the share of requests over a fixed limit is
unbiased. So the test is inverted (Lehmann & Romano 2005, §3.5): a limit belongs to the interval unless the sixth root
of the odds of being slower differs from that of 1 − q by more than Student's t times its deviation in a jackknife over
repetitions (Efron & Tibshirani 1993, §11.5). Bursts make the share as skewed as a gamma variable, which a cube root
makes nearly normal (Wilson & Hilferty 1931); a sixth root covers somewhat better. How often: docs/certificate.md.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.analyse.model import Interval
from harness.analyse.quantiles import CONFIDENCE, Ordered, effective_size, needed_samples, pooled_quantile, student
from harness.analyse.sequential import NONE, Floats, pooled_correlations, remembered

LEAST = 100.0
RARE = 2.0           # times 1 / (1 - q) beyond p99: with once, those told too often were the lucky ones
SPANS = 1350.0
BURSTY = 0.95        # a tail that forgets so much more slowly than the body comes in bursts
PLENTY = 4.0         # times what is needed by other counts: no luck
HALF = 0.5
GRID = 256
SEEN_BEYOND = 50
SPAN, STEPS = 12.0, 801


class Timed(Protocol):
    """One run's latencies in ms, failed requests infinite: in order of due times, and ascending."""

    @property
    def latency_ms(self) -> Ordered: ...

    @property
    def ordered_ms(self) -> Ordered: ...


def quantile_interval(runs: Sequence[Timed], q: float, confidence: float = CONFIDENCE) -> Interval:
    """The pooled q-quantile of all runs, in ms, with its interval over repetitions; NaN bounds where it abstains.

    It abstains where runs are worth too few independent requests (`worth`), with fewer than two runs, and on a side
    where no request is left to tell. Infinite on both sides when failures alone make it so.
    """
    found = inverted([run.ordered_ms for run in runs], q, confidence)
    if len(runs) < 2 or not math.isfinite(found.value):
        return found
    have, needed = worth(runs, q, found.value)
    return found if have >= needed else Interval(found.value, math.nan, math.nan, confidence)


def worth(runs: Sequence[Timed], q: float, threshold_ms: float) -> tuple[float, float]:
    """How many independent requests all runs are worth near the threshold, and how many an interval for the q-quantile
    needs; of two counts the scarcer one.

    By autocorrelation (`effective`), `needed_samples`; counted so within short runs they come out two to six times too
    many where a queue remembers for long. So also by the batches that the certificate would take: 100 for p99, 2 000
    for p99.9. And where the tail remembers longer than the body of latencies does, as in a queue whose bursts make it,
    by spans of the body's memory (`spans`), 1 350 of which count as `needed_samples`: short runs that were spared the
    bursts would else be told the more often.
    """
    needed, rare = float(needed_samples(q)), min(q, 1 - q)
    series = [_signals(run, threshold_ms) for run in runs] if threshold_ms > 0 else []
    counts = [(sum(effective(run, threshold_ms) for run in runs), needed),
              (_batches(series), LEAST if rare > 0.0099 else RARE / rare)]
    scarcest = min(counts, key=_of_needed)
    if not series or _of_needed(scarcest) > PLENTY:
        return scarcest
    body, tail = spans([_ranks(run) for run in runs]), spans([companion for _, companion in series])
    return min(scarcest, (needed * body / SPANS, needed), key=_of_needed) if tail < BURSTY * body else scarcest


def _of_needed(count: tuple[float, float]) -> float:
    return count[0] / count[1]


def spans(series: Sequence[Floats]) -> float:
    """How many stretches all series hold that are so long that neighbouring ones' means correlate by 1/2, as
    `pooled_correlations` has it; read between the powers of two, it does not jump as a batch length does."""
    total, before, level = sum(len(each) for each in series), 1.0, 0
    for found, counts in pooled_correlations([each[None, :] for each in series]):
        now = float(found[0])
        if counts.min() <= 3:
            break
        if now <= HALF:
            return total / math.exp2(max(level - (HALF - now) / (before - now), 0.0))
        before, level = now, level + 1
    return math.ldexp(total, -level)


def effective(run: Timed, threshold_ms: float) -> float:
    """How many independent requests say as much about whether the threshold is passed as this run's.

    Where fewer than 50 requests are beyond it, how they cluster cannot be seen, and the latency that 50 are beyond is
    used: lower thresholds are crossed for longer, so this errs to the careful side.
    """
    n = len(run.ordered_ms)
    seen = run.ordered_ms[max(n - SEEN_BEYOND, n // 2)] if n else np.float32(0)
    return effective_size(run.latency_ms >= min(np.float32(threshold_ms), seen))


def inverted(runs: Sequence[Ordered], q: float, confidence: float = CONFIDENCE) -> Interval:
    """The pooled q-quantile of ascending runs with the interval of limits that the test does not refuse."""
    value = pooled_quantile(runs, q)
    if len(runs) < 2 or math.isnan(value):
        return Interval(value, math.nan, math.nan, confidence)
    limits = _limits(runs, q, value)
    refused = _refused(runs, limits, q, confidence)
    below, above = limits[refused & (limits < value)], limits[refused & (limits > value)]
    if math.isinf(value):
        unbounded = bool(refused[-1]) if len(limits) else True
        low = math.inf if unbounded else (float(below[-1]) if len(below) else math.nan)
        return Interval(value, low, math.inf if unbounded else math.nan, confidence)
    return Interval(value, float(below[-1]) if len(below) else math.nan,
                    float(above[0]) if len(above) else math.nan, confidence)


def _limits(runs: Sequence[Ordered], q: float, value: float) -> NDArray[np.float64]:
    """Finite latencies of every run whose share of slower ones lies around 1 − q, ascending."""
    odds = (1 - q) / q * np.exp(np.linspace(-SPAN, SPAN, STEPS))
    shares = odds / (1 + odds)
    seen = [run[np.unique(np.ceil((1 - shares) * len(run)).astype(np.int64).clip(1, len(run)) - 1)]
            for run in runs if len(run)]
    below_all = np.nextafter(np.float32(min(run[0] for run in runs if len(run))), np.float32(0))
    limits = np.unique(np.concatenate([*seen, np.array([below_all, value], dtype=np.float32)])).astype(np.float64)
    return np.asarray(limits[np.isfinite(limits)])


def _refused(runs: Sequence[Ordered], limits: NDArray[np.float64], q: float, confidence: float) -> NDArray[np.bool_]:
    """Which limits have a share of slower requests unlike 1 − q."""
    sizes = np.array([[len(run)] for run in runs])
    slower = np.stack([len(run) - run.searchsorted(limits.astype(np.float32), side="right") for run in runs])
    count, total = len(runs), int(sizes.sum())
    margin = 0.5 / total
    without = (slower.sum(axis=0) - slower) / (total - sizes)
    roots = _root(without, margin)
    spread = np.sqrt((count - 1) / count * ((roots - roots.mean(axis=0)) ** 2).sum(axis=0))
    away = np.abs(_root(slower.sum(axis=0) / total, margin) - _root(np.array([1 - q]), margin))
    return np.asarray(away > student(confidence, count - 1) * spread)


def _root(share: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """The sixth root of the odds; a share of 1 counts as 1 − margin."""
    return np.asarray((share / np.maximum(1 - share, margin)) ** (1 / 6))


def _ranks(run: Timed) -> NDArray[np.float64]:
    """Each latency's rank within its run, in order of due times, to 1 part in 256."""
    grid = run.ordered_ms[::max(len(run.ordered_ms) // GRID, 1)]
    return grid.searchsorted(run.latency_ms).astype(np.float64)


def _signals(run: Timed, threshold_ms: float) -> Floats:
    """The certificate's two, [2, requests]: whether the latency is over the threshold, and what of it follows the tail,
    from 0 to 1."""
    found = np.empty((2, len(run.latency_ms)))
    found[0] = run.latency_ms > np.float32(threshold_ms)
    part = np.minimum(run.latency_ms / np.float64(threshold_ms), 1.0)
    np.multiply(part * part, part, out=found[1])    # ** 3 is a logarithm and an exponential
    return found


def _batches(series: Sequence[Floats]) -> float:
    """How many batches as long as the setup remembers all runs hold, in independent ones; 0 where none is long enough.

    How long it remembers is told by all runs' `_signals` together, by the certificate's rule.
    """
    told = list(pooled_correlations(series))
    if not told:
        return 0.0
    count = np.array([each.sum() for _, each in told])
    level, excess = remembered(np.stack([found for found, _ in told])[:, :, None], count)
    return float(count[level[0]] / excess[0]) if level[0] != NONE else 0.0
