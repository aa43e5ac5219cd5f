"""The load from which one setup is always the cheaper one."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.analyse.model import Interval
from harness.decide.bill import Offer, monthly_usd
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet

SPAN = 100.0  # loads from a hundredth of the demand to a hundred times it
POINTS = 121
SAME = 0.01   # costs within 1 % are the same


@dataclass(frozen=True)
class BreakEven:
    """From `load` (mean requests a second of the same demand shape) on `cheaper` costs less than `dearer`, at every
    load that was looked at; below it `below` does, or "neither" where they cost the same or take turns. The interval
    is what the capacities' intervals allow; 0 or infinite at an end: not within the loads looked at."""

    cheaper: str
    dearer: str
    below: str
    load: Interval


def break_evens(offers: list[Offer], demand: Curve, fleet: Fleet) -> tuple[BreakEven, ...]:
    """Each pair of offers that has a break-even load."""
    loads = demand.mean * np.geomspace(1 / SPAN, SPAN, POINTS)
    costs = {offer.setup: {end: _costs(offer, rate, demand, fleet, loads)
                           for end, rate in (("value", offer.rate.value), ("low", offer.rate.low),
                                             ("high", offer.rate.high))} for offer in offers}
    found = []
    for one, other in combinations([offer.setup for offer in offers], 2):
        made = _between(one, other, costs[one], costs[other], loads)
        if made is not None:
            found.append(made)
    return tuple(found)


def _between(one: str, other: str, ours: dict[str, NDArray[np.float64]], theirs: dict[str, NDArray[np.float64]],
             loads: NDArray[np.float64]) -> BreakEven | None:
    gap = _gap(ours["value"], theirs["value"])
    if abs(gap[-1]) <= SAME:
        return None
    sign = math.copysign(1, gap[-1])
    cheaper, dearer = (one, other) if sign < 0 else (other, one)
    place = _from(gap, sign)
    # The end at which the winner's capacity is least and the loser's greatest starts latest.
    worst, best = ("low", "high") if sign < 0 else ("high", "low")
    late, early = _from(_gap(ours[worst], theirs[best]), sign), _from(_gap(ours[best], theirs[worst]), sign)
    before = gap[:place]
    below = dearer if len(before) and np.all(before * sign < -SAME) else "neither"
    return BreakEven(cheaper, dearer, below, Interval(_load(loads, place), _load(loads, early), _load(loads, late)))


def _gap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(ours / theirs)


def _from(gap: NDArray[np.float64], sign: float) -> int:
    """The place from which on the gap has that sign; its length where it has not at the end."""
    against = np.flatnonzero(~(gap * sign > SAME))
    return int(against[-1]) + 1 if len(against) else 0


def _load(loads: NDArray[np.float64], place: int) -> float:
    if place == 0:
        return 0.0
    return float(loads[place]) if place < len(loads) else math.inf


def _costs(offer: Offer, rate: float, demand: Curve, fleet: Fleet, loads: NDArray[np.float64]) -> NDArray[np.float64]:
    at = offer.rate.value if not math.isfinite(rate) else rate
    return np.array([monthly_usd(demand.rate * (load / demand.mean), at * offer.speed, offer.hourly_usd, fleet)
                     for load in loads])
