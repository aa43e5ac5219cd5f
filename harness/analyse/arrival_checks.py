"""Was the load of the kind that was asked for? Accusations against the schedule and against what is read from it."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.analyse.frames import RunView
from harness.analyse.model import Check
from harness.catalog.scenario import Stage

LAW_P = 1e-4
SPACING_NS = 2_000
MIN_FOR_A_LAW = 30
MOST_GAPS = 50_000
RAMPED = 1.2


def arrivals(view: RunView) -> Check:
    """Invalid where the due times of a stage do not follow the law that the scenario asks for."""
    start_s, worst = 0.0, 1.0
    for index, stage in enumerate(view.stages):
        times_s = view.rows.due_ns[view.rows.stage == index] / 1e9 - start_s
        start_s += stage.duration_s
        if stage.arrivals == "closed":
            continue
        complaint, likelihood = _law(stage, times_s)
        worst = min(worst, likelihood)
        if complaint:
            return Check("arrivals", "invalid", f"stage {index} does not follow its law: {complaint}",
                         "the schedule is broken: report it with the run's folder", "generator",
                         {"p_value": likelihood})
    return Check("arrivals", "ok", "due times follow the law asked for", figures={"p_value": worst})


def _law(stage: Stage, times_s: NDArray[np.float64]) -> tuple[str, float]:
    """What is wrong with a stage's due times ("" for nothing), and how likely they are under the law.

    Expected arrivals since the stage's start turn any rate into 1 (time rescaling, Brown et al. 2002): Poisson gaps
    then are exponential (Kolmogorov–Smirnov), constant ones all 1.
    """
    expected = expected_arrivals(stage, times_s)
    asked = float(expected_arrivals(stage, np.asarray([stage.duration_s]))[0])
    slack = {"poisson": 5 * math.sqrt(asked) + 1, "burst": float(stage.burst)}.get(stage.arrivals, 1.0)
    if abs(len(times_s) - asked) > slack + 0.5:
        return f"{len(times_s)} requests where {asked:.0f} were asked for", 0.0
    if len(times_s) < MIN_FOR_A_LAW:
        return "", 1.0
    if stage.arrivals == "poisson":
        likelihood = _exponential(np.diff(expected))
        return (f"its gaps are not exponential (p = {likelihood:.1e})" if likelihood < LAW_P else ""), likelihood
    off_s = _off_beat_s(stage, times_s)
    return (f"its spacing is off by {off_s * 1e6:.0f} µs" if off_s * 1e9 > SPACING_NS else ""), 1.0


def expected_arrivals(stage: Stage, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Requests the stage asks for until each time since its start: the integral of its rate."""
    start = stage.rate or 0.0
    slope = ((stage.rate_end if stage.rate_end is not None else start) - start) / stage.duration_s
    return np.asarray(start * times_s + slope * times_s * times_s / 2)


def _off_beat_s(stage: Stage, times_s: NDArray[np.float64]) -> float:
    """The greatest deviation of evenly spaced arrivals, or bursts, from their beat, in seconds."""
    size = stage.burst if stage.arrivals == "burst" else 1
    bursts = times_s[:len(times_s) // size * size].reshape(-1, size)
    beats = bursts[:, 0]
    gaps = np.diff(expected_arrivals(stage, beats)) / size
    local = np.diff(beats) / np.maximum(gaps, 1e-12)
    return float(max(np.max(np.abs(gaps - 1) * local, initial=0.0), np.max(bursts[:, -1] - bursts[:, 0])))


def _exponential(gaps: NDArray[np.float64]) -> float:
    """p-value of Kolmogorov–Smirnov's test that gaps are exponential with mean 1 (asymptotic, Stephens' correction
    for small n: Stephens 1970). Of more than MOST_GAPS, every k-th is tested."""
    gaps = gaps[::-(-len(gaps) // MOST_GAPS)]
    n = len(gaps)
    uniform = np.sort(-np.expm1(-gaps))
    steps = np.arange(n + 1) / n
    distance = max(float(np.max(steps[1:] - uniform)), float(np.max(uniform - steps[:-1])))
    return float(special.kolmogorov((math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance))


def closed_loop(view: RunView) -> Check:
    """A note where the load waited for answers, so that slow answers lowered it."""
    if view.scenario.closed:
        return Check("closed_loop", "note", "closed loop: each user waits for an answer, so slow moments are "
                     "under-sampled", "use an open-loop scenario for promises about tails", "harness")
    return Check("closed_loop", "ok", "open loop: latency counts from the due time")


def ramp(view: RunView) -> Check:
    """A warning where the rate changes by more than a fifth, within a stage or between stages, and latencies are
    promised about: quantiles mix loads then, and say nothing of any one of them."""
    rates = [rate for stage in view.stages for rate in (stage.rate, stage.rate_end) if rate]
    promised = any(promise.metric == "latency" for promise in view.scenario.promises)
    if promised and rates and max(rates) > RAMPED * min(rates):
        figures = {"least_per_s": min(rates), "most_per_s": max(rates)}
        return Check("ramp", "warning", f"the load goes from {rates[0]:g} to {rates[-1]:g} requests a second, between "
                     f"{min(rates):g} and {max(rates):g}: quantiles mix these loads",
                     "promise something about one rate", "harness", figures)
    return Check("ramp", "ok", "quantiles are of one load")
