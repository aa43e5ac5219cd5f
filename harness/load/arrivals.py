"""When requests are due: a pure function of the stages, a seed and the warm-up."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import TailraceError

if TYPE_CHECKING:
    from harness.catalog.scenario import Stage

Times = NDArray[np.float64]

WARMUP = -1
MOST_REQUESTS = 100_000_000
_WARMUP_STREAM, _STAGE_STREAM = 0, 1


def due_times(stages: Sequence["Stage"], seed: int, warmup_s: float) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """(due_ns int64[n] ascending, stage int8[n]) of resolved open-loop stages laid end to end from 0.

    Warm-up rows come first: negative due, stage −1, at the first stage's law and starting rate. Every stage and the
    warm-up draw from streams of their own, so the counted schedule depends on neither the warm-up's length nor on the
    stages after it. Raises ValueError for a closed stage or one without a rate, TailraceError for a schedule of more
    than 100 million requests.
    """
    expected = sum(expected_arrivals(stage, stage.duration_s) for stage in stages)
    if expected + warmup_s * _rates(stages[0])[0] > MOST_REQUESTS:
        raise TailraceError(f"the schedule has {expected:.0f} requests", "lower the rate or the duration")
    start_ns, parts, labels = 0, [np.empty(0, np.int64)], [np.empty(0, np.int8)]
    warmup_ns = round(warmup_s * 1e9)
    if warmup_ns > 0:
        steady = stages[0].model_copy(update={"duration_s": warmup_s, "rate_end": None})
        early = _stage_ns(steady, np.random.default_rng([seed, _WARMUP_STREAM])) - warmup_ns
        parts.append(np.minimum(early, -1))
        labels.append(np.full(len(early), WARMUP, np.int8))
    for index, stage in enumerate(stages):
        times = _stage_ns(stage, np.random.default_rng([seed, _STAGE_STREAM, index]))
        parts.append(times + start_ns)
        labels.append(np.full(len(times), index, np.int8))
        start_ns += round(stage.duration_s * 1e9)
    return np.concatenate(parts), np.concatenate(labels)


def expected_arrivals(stage: "Stage", time_s: float) -> float:
    """Mean number of arrivals of a resolved open-loop stage in its first `time_s` seconds."""
    start, end = _rates(stage)
    return start * time_s + (end - start) * time_s**2 / (2 * stage.duration_s)


def share(n: int, worker: int, workers: int) -> slice:
    """The rows of an n-row schedule that generator process `worker` of `workers` sends: seq mod workers."""
    return slice(worker, n, workers)


def _rates(stage: "Stage") -> tuple[float, float]:
    if stage.arrivals == "closed" or stage.rate is None:
        raise ValueError(f"a {stage.arrivals} stage without a resolved rate has no schedule")
    return stage.rate, stage.rate if stage.rate_end is None else stage.rate_end


def _stage_ns(stage: "Stage", random: np.random.Generator) -> NDArray[np.int64]:
    """Due times of one stage in ns from its start, ascending, below its duration."""
    total = expected_arrivals(stage, stage.duration_s)
    if stage.arrivals == "burst":
        bursts = np.arange(_below(total / stage.burst), dtype=np.float64) * stage.burst
        counts = np.repeat(bursts, stage.burst)
    elif stage.arrivals == "constant":
        counts = np.arange(_below(total), dtype=np.float64)
    else:
        counts = _unit_poisson(total, random)
    times_ns = np.rint(_when(stage, counts) * 1e9).astype(np.int64)
    return np.minimum(times_ns, round(stage.duration_s * 1e9) - 1)


def _below(total: float) -> int:
    """How many of 0, 1, 2, … lie below `total`; a total that misses an integer by rounding counts as that integer."""
    nearest = round(total)
    return nearest if math.isclose(total, nearest, rel_tol=1e-12, abs_tol=1e-9) else math.ceil(total)


def _unit_poisson(total: float, random: np.random.Generator) -> Times:
    """Arrivals of a Poisson process of rate 1 on [0, total), ascending."""
    block = int(total + 4 * math.sqrt(total) + 16)
    parts, reached = [np.empty(0)], 0.0
    while reached < total:
        gaps = -np.log1p(-random.random(block))
        part = reached + np.cumsum(gaps)
        parts.append(part)
        reached = float(part[-1])
    counts = np.concatenate(parts)
    return counts[counts < total]


def _when(stage: "Stage", counts: Times) -> Times:
    """Seconds at which the expected arrivals reach `counts`.

    The inverse of Λ(t) = r₀t + (r₁ − r₀)t²/(2d), in the form that loses no digits when the ramp is flat. Applied to a
    unit-rate Poisson process it gives the inhomogeneous one (time change; Çinlar, Introduction to Stochastic
    Processes, 4.7).
    """
    start, end = _rates(stage)
    slope = (end - start) / stage.duration_s
    return 2 * counts / (start + np.sqrt(np.maximum(start**2 + 2 * slope * counts, 0.0)))
