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
from harness.analyse.sequential import NONE, extended, no_evidence, pooled_correlations, remembered

LEAST = 100.0
RARE = 2.0           # times 1 / (1 - q) beyond p99: with once, those told too often were the lucky ones
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
    for p99.9.
    """
    batches = _batches(runs, 1 - q, threshold_ms)
    counts = ((sum(effective(run, threshold_ms) for run in runs), float(needed_samples(q))),
              (batches, LEAST if min(q, 1 - q) > 0.0099 else RARE / min(q, 1 - q)))
    return min(counts, key=lambda count: count[0] / count[1])


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


def _batches(runs: Sequence[Timed], allowed: float, threshold_ms: float) -> float:
    """How many batches as long as the setup remembers all runs hold, in independent ones; 0 where none is long enough.

    How long it remembers is told by all runs together, by the certificate's rule.
    """
    if threshold_ms <= 0:
        return 0.0
    seen = []
    for run in runs:
        over = (run.latency_ms > np.float32(threshold_ms))[None, :]
        companion = np.minimum(run.latency_ms.astype(np.float64) / threshold_ms, 1.0)[None, :] ** 3
        seen.append(extended(no_evidence(allowed), over, companion))
    correlated, count = pooled_correlations(seen)
    level, excess = remembered(correlated, count)
    return float(count[level[0]] / excess[0]) if level[0] != NONE else 0.0
