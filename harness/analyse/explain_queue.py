"""Why a request found others before it: more came than planned, or fewer left than came."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analyse.arrival_checks import expected_arrivals
from harness.analyse.explain_parts import Flights, Floats, Ints
from harness.analyse.frames import in_time
from harness.analyse.quantiles import median
from harness.catalog.scenario import Scenario

MOST_LEVELS = 500


@dataclass(frozen=True)
class Backlog:
    """For the requests asked about, [m]: how many were in the system when each became due (`ahead`), since when that
    backlog had been building (`since_ns`: the last moment at which at most half as many, and no more than usual, were
    there), and over that time how many more `came` than planned, and how many fewer `left` than were planned to come.

    ahead − those there at since_ns = came + left, exactly (conservation of requests); either may be negative.
    """

    ahead: Ints
    since_ns: Ints
    came: Floats
    left: Floats


def backlog(seen: Flights, which: NDArray[np.intp], planned: Callable[[Ints], Floats]) -> Backlog:
    """The backlog met by the requests `which` (indices); `planned` counts arrivals up to each time."""
    n = len(seen)
    due_at = np.arange(n) + seen.over        # places among all events; of one moment, leaving comes first
    step = np.full(2 * n, -1)
    step[due_at] = 1
    level = np.cumsum(step)
    times = np.empty(2 * n, dtype=np.int64)
    times[due_at], times[step < 0] = seen.due_ns, in_time(seen.done_ns)
    own = due_at[which]
    ahead = level[own] - 1
    calm = np.minimum(ahead // 2, int(median(seen.ahead)))
    before = _last_at_most(level, own, calm)
    since = times[np.minimum(before + 1, own)]
    stood = np.where(before >= 0, level[before], 0)
    came = which - (before + 1 + stood) // 2    # of k events at which the level is l, (k + l) / 2 were arrivals
    gone = came - (ahead - stood)
    meant = planned(seen.due_ns[which]) - planned(since)
    return Backlog(ahead, since, came - meant, meant - gone)


def _last_at_most(level: Ints, own: Ints, calm: Ints) -> Ints:
    """The last event before each of `own` after which at most `calm` requests were there; −1 for none."""
    found = np.full(len(own), -1, dtype=np.int64)
    limits = np.unique(calm)
    if len(limits) > MOST_LEVELS:
        limits = np.unique(np.quantile(limits, np.linspace(0, 1, MOST_LEVELS), method="inverted_cdf"))
    chosen = limits[np.searchsorted(limits, calm)]
    for limit in limits:
        at = np.flatnonzero(level <= limit)
        rows = np.flatnonzero(chosen == limit)
        index = np.searchsorted(at, own[rows]) - 1
        found[rows] = np.where(index >= 0, at[np.maximum(index, 0)] if len(at) else -1, -1)
    return found


def plan_of(scenario: Scenario, seen: Flights) -> Callable[[Ints], Floats]:
    """Arrivals that the scenario's rates ask for up to each time in ns since t0; of a closed loop, which plans none,
    those that came."""
    if scenario.closed:
        return lambda at_ns: np.searchsorted(seen.due_ns, at_ns).astype(np.float64)

    def planned(at_ns: Ints) -> Floats:
        at_s = at_ns / 1e9
        total, start_s = np.minimum(at_s, 0.0) * (scenario.stage[0].rate or 0.0), 0.0
        for stage in scenario.stage:
            total = total + expected_arrivals(stage, np.clip(at_s - start_s, 0.0, stage.duration_s))
            start_s += stage.duration_s
        return np.asarray(total, dtype=np.float64)

    return planned
