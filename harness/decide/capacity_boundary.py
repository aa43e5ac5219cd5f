"""Where a twin's promise ends: the highest load it carries, how it ends there, and the curve on the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.catalog.slo import Promise
from harness.decide.twin import Floats, Played, Twin, ceiling, faster, play, poisson_s
from harness.decide.twin_seen import Seen, quantiles_s

Shape = Literal["smooth", "cliff"]
COARSE, FINE, FINEST = 10_000, 40_000, 300_000
GRID = np.concatenate([np.linspace(0.05, 0.8, 8), np.linspace(0.85, 1.25, 9)])
CLOSER = 6
STEP = 0.015
CLIFF = 3.0
CLIFF_STEP = 1.05
SLOWEST, FASTEST = 0.75, 1.3
HALVINGS = 7
REPLAYS = 4
PRIOR = 0.02
FLOOR = 0.005


@dataclass(frozen=True)
class Boundary:
    """`rate` is the highest load that keeps every promise (0 where none does); `binding` what breaks first above it;
    `curve` [grid, 3]: rate, latency at the strictest promise's quantile in seconds, share without answer."""

    rate: float
    binding: Literal["latency", "errors"]
    shape: Shape
    curve: Floats


def excess(latency_s: Floats, promises: Sequence[Promise]) -> dict[str, float]:
    """For each kind of promise the worst log of (share that breaks it ÷ share that may); above 0 it is broken."""
    worst: dict[str, float] = {}
    for promise in promises:
        if promise.metric == "latency":
            broken, allowed = float(np.mean(latency_s >= promise.limit / 1e9)), 1 - promise.quantile
        else:
            broken, allowed = float(np.mean(np.isinf(latency_s))), promise.limit
        log = math.log(max(broken, 1e-9) / max(allowed, 1e-9))
        worst[promise.metric] = max(worst.get(promise.metric, -math.inf), log)
    return worst


def strictest(promises: Sequence[Promise]) -> Promise:
    """The latency promise made to most requests, or the first promise where none is about latency."""
    latency = [promise for promise in promises if promise.metric == "latency"]
    return max(latency, key=lambda promise: promise.quantile) if latency else promises[0]


def boundary(twin: Twin, promises: Sequence[Promise], requests: int = FINE, seed: int = 0) -> Boundary:
    """The twin's boundary: the last load of a grid that keeps the promises, refined towards the next that does not,
    with that many requests a load.

    Nothing is assumed monotone below that; Poisson arrivals, the same ones stretched for each load.
    """
    grid = GRID * ceiling(twin)
    played = [_at(twin, rate, COARSE, seed) for rate in grid]
    quantile = strictest(promises).quantile or 0.99
    curve = np.array([[rate, each.quantile_s(quantile), float(np.mean(np.isinf(each.latency_s)))]
                      for rate, each in zip(grid, played, strict=True)])
    kept = [max(excess(each.latency_s, promises).values()) <= 0 for each in played]
    if not any(kept):
        return Boundary(0.0, _binding(played[0], promises), "smooth", curve)
    last = max(i for i, keeps in enumerate(kept) if keeps)
    low = float(grid[last])
    high = float(grid[last + 1]) if last + 1 < len(grid) else low * 1.2
    # The coarse grid may err by a step: both ends are given a little room.
    low, high = low * 0.96, high * 1.03
    for _ in range(CLOSER):
        middle = (low + high) / 2
        if max(excess(_at(twin, middle, FINE, seed).latency_s, promises).values()) <= 0:
            low = middle
        else:
            high = middle
    rate = (low + high) / 2
    if requests > FINE:
        rate = _interpolated(twin, rate, promises, requests, seed + 1)
    above = _at(twin, rate * CLIFF_STEP, FINE, seed)
    return Boundary(rate, _binding(above, promises), _shape(twin, rate, above, quantile, seed), curve)


def _interpolated(twin: Twin, rate: float, promises: Sequence[Promise], requests: int, seed: int) -> float:
    """The boundary near `rate` from longer simulations a step below and above: where the log of the excess, taken as
    straight between them, is 0; never more than two steps off."""
    low, high = rate * (1 - STEP), rate * (1 + STEP)
    below, above = (max(excess(_at(twin, each, requests, seed).latency_s, promises).values()) for each in (low, high))
    if above <= below:
        return rate
    return float(np.clip(low - below * (high - low) / (above - below), rate * (1 - 2 * STEP), rate * (1 + 2 * STEP)))


def _at(twin: Twin, rate: float, n: int, seed: int) -> Played:
    return play(twin, poisson_s(rate, n, seed), seed, 0.1)


def _binding(played: Played, promises: Sequence[Promise]) -> Literal["latency", "errors"]:
    worst = excess(played.latency_s, promises)
    return "errors" if worst.get("errors", -math.inf) > worst.get("latency", -math.inf) else "latency"


def _shape(twin: Twin, rate: float, above: Played, quantile: float, seed: int) -> Shape:
    """A cliff where 5 % more load makes the latency three times as long."""
    here = _at(twin, rate, FINE, seed).quantile_s(quantile)
    return "cliff" if above.quantile_s(quantile) > CLIFF * here else "smooth"


def tuned(twin: Twin, runs: Sequence[Seen], quantile: float) -> tuple[Twin, float]:
    """The twin with its speed set so that, given the same due times, its tail is where the runs' was, and the standard
    error of that speed's log.

    The same arrivals make most of the chance in a tail fall on both alike. What is left is seen in how the speeds
    differ between replays of one run, and weighs it against the speed that the service law has on its own (PRIOR). A
    machine that is slower for a while makes runs differ by more than that: the variance between them is added to each
    (DerSimonian and Laird, Controlled Clinical Trials 7, 1986), so that no run decides alone.
    """
    speeds = [_speeds(twin, run, quantile) for run in runs]
    logs = np.array([each.mean() for each in speeds])
    within = np.array([max(float(np.var(each, ddof=1)), FLOOR**2) for each in speeds])
    between = _between(logs, within)
    precision = 1 / (within + between)
    total = 1 / (PRIOR**2 + between) + float(precision.sum())
    return faster(twin, math.exp(float(precision @ logs) / total)), 1 / math.sqrt(total)


def _between(logs: Floats, within: Floats) -> float:
    """Variance of what is estimated, between estimates of such variances: by the method of moments; 0 for less than
    two."""
    if len(logs) < 2:
        return 0.0
    weights = 1 / within
    spread = float(weights @ (logs - np.average(logs, weights=weights)) ** 2)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(0.0, (spread - (len(logs) - 1)) / scale)


def _speeds(twin: Twin, run: Seen, quantile: float) -> Floats:
    """For each replay the log of the speed, within SLOWEST and FASTEST, at which its tail is as long as the run's."""
    tail = 1 - quantile
    quantiles = [quantile, 1 - 2 * tail, 1 - 5 * tail]
    seen = quantiles_s(run.latency_s[run.counted], quantiles)
    found = []
    for replay in range(REPLAYS):
        low, high = math.log(SLOWEST), math.log(FASTEST)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if _longer(faster(twin, math.exp(middle)), run, replay, quantiles, seen):
                low = middle
            else:
                high = middle
        found.append((low + high) / 2)
    return np.array(found)


def _longer(twin: Twin, run: Seen, replay: int, quantiles: Sequence[float], seen: Floats) -> bool:
    """Whether a replay's tail is longer than the one seen, as a mean of logs over the quantiles."""
    fine = np.isfinite(seen)
    said = quantiles_s(play(twin, run.due_s, replay).latency_s[run.counted], quantiles)[fine]
    return bool(fine.any() and np.mean(np.log(np.minimum(said, 1e6) / seen[fine])) > 0)
