"""Which setup to run: A; A or B, no difference worth having; or no decision yet, and how much more to measure.

A setup is named when its cost is told to be below that of every other one that keeps the promise (an intersection–union
test, Berger 1982: each of them at the full level). The level of a pair is divided by the number of setups, since any of
them might be named wrongly (Bonferroni); every interval holds however often one looks (choice_evidence). So the chance
that a setup is ever named which is not the one cheapest stays below `error`, 5 % by default.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.analyse.model import Interval
from harness.catalog.slo import parse_promise
from harness.decide.bill import UNKNOWN, Bill, Offer, bill, each_monthly_usd, monthly_usd
from harness.decide.choice_evidence import drawn_rates, more_repetitions, paired_logs, ratio_ever
from harness.decide.choice_facts import limit_ms, score, unmet
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet

ERROR, WORTH = 0.05, 0.05
STEPS = 401
DECIDED = ("one", "tie")  # kinds of choices that name what to run
SEARCHES = 5  # of a capacity, each with another seed, tell a fair difference
SEED = 20260101
LOOKS = 3     # at intervals of one search, and of two, and at repetitions of searches: each has its part of the error


@dataclass(frozen=True)
class Wish:
    """What the team asks beyond the promise: `musts` a setup has to meet, `weights` that order equals; costs nearer
    than `worth` (a share) are no difference worth having; `error` is the chance of naming a wrong one."""

    slo: Mapping[str, str]
    musts: Mapping[str, bool]
    weights: Mapping[str, float]
    worth: float = WORTH
    error: float = ERROR


@dataclass(frozen=True)
class Pair:
    """The cost of `other` ÷ that of `best` at the demand. `more` repetitions of both would settle an open one
    (of single searches that is not told: 1)."""

    best: str
    other: str
    ratio: Interval
    verdict: Literal["dearer", "alike", "open"]
    repetitions: int
    more: int


@dataclass(frozen=True)
class Choice:
    """`one`: named[0] it is. `tie`: any of `named`, in the order of what the team weighs. `open`: no decision among
    `named` before `more_minutes` more are measured. `none`: nothing keeps the promise and meets the demands.

    `bills` are those of every candidate, by cost; `scores` what the team weighs (0–1); `without` says why others are
    none.
    """

    kind: Literal["one", "tie", "open", "none"]
    named: tuple[str, ...]
    sentence: str
    bills: tuple[Bill, ...]
    pairs: tuple[Pair, ...]
    scores: Mapping[str, float]
    without: Mapping[str, str]
    more_minutes: float


def choose(offers: Sequence[Offer], without: Mapping[str, str], demand: Curve, fleet: Fleet, wish: Wish) -> Choice:
    """The choice among offers; `without` are setups that make none, and why."""
    refused = {each.setup: unmet(each, wish.musts) for each in offers}
    left = {**without, **{name: why for name, why in refused.items() if why}}
    limit = limit_ms([parse_promise(metric, bound) for metric, bound in wish.slo.items()])
    fit = at_one_load([each for each in offers if not refused[each.setup]])
    scores = {each.setup: score(each, wish.weights, limit) for each in fit}
    bills = sorted((bill(each, demand, fleet) for each in fit),
                   key=lambda each: (each.per_million_good_usd.value, -scores[each.offer.setup], each.offer.setup))
    if not bills:
        why = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        return Choice("none", (), f"None: no setup keeps the promise and has what it must have ({why}).", (), (), {},
                      left, 0.0)
    best = bills[0].offer
    pairs = tuple(compared(best, each.offer, demand, fleet, wish, len(bills)) for each in bills[1:])
    return _concluded(bills, pairs, scores, left, wish)


def at_one_load(offers: Sequence[Offer]) -> list[Offer]:
    """The offers with their p99 at the highest load that all of those measured have measured validly, of the loads at
    which none broke the promise where there are such; where they share no load, without a p99."""
    seen = {each.setup: {one.place: one for one in each.latencies} for each in offers if each.latencies}
    if not seen:
        return list(offers)
    shared = set.intersection(*(set(places) for places in seen.values()))
    kept = {place for place in shared if all(places[place].verdict != "fail" for places in seen.values())}
    first = next(iter(seen.values()))
    place = max(kept or shared, key=lambda place: first[place].rate, default=None)
    if place is None:
        return [replace(each, p99_ms=UNKNOWN, p99_at=math.nan, p99_place="") for each in offers]
    return [replace(each, p99_ms=seen[each.setup][place].p99_ms, p99_at=seen[each.setup][place].rate, p99_place=place)
            if each.setup in seen else replace(each, p99_ms=UNKNOWN, p99_at=math.nan, p99_place="") for each in offers]


def compared(best: Offer, other: Offer, demand: Curve, fleet: Fleet, wish: Wish, among: int) -> Pair:
    """How the cost of `other` compares, where `among` setups are to choose from."""
    error, worth = min(1.0, 2 * wish.error / among), math.log1p(wish.worth)
    error /= LOOKS if best.searches or other.searches else 1
    logs = paired_logs(each_monthly_usd(best, demand, fleet), each_monthly_usd(other, demand, fleet))
    if len(logs) >= 2:
        ratio, more = ratio_ever(logs, error), more_repetitions(logs, error, worth)
    else:
        ratio, more = _drawn(best, other, demand, fleet, error), 1
    if ratio.low > math.exp(-worth) and ratio.high < math.exp(worth):
        return Pair(best.setup, other.setup, ratio, "alike", len(logs), 0)
    if ratio.low > 1:
        return Pair(best.setup, other.setup, ratio, "dearer", len(logs), 0)
    return Pair(best.setup, other.setup, ratio, "open", len(logs), more)


def _concluded(bills: list[Bill], pairs: tuple[Pair, ...], scores: Mapping[str, float], left: Mapping[str, str],
               wish: Wish) -> Choice:
    by_name = {each.offer.setup: each for each in bills}
    best = bills[0].offer.setup
    near = [best, *(pair.other for pair in pairs if pair.verdict == "alike")]
    unsure = [name for name in near if by_name[name].offer.verdict != "pass"]
    undecided = [pair for pair in pairs if pair.verdict == "open"]
    made = (tuple(bills), pairs, scores, left)
    if undecided or unsure:
        names = tuple(dict.fromkeys([best, *unsure, *(pair.other for pair in undecided)]))
        minutes, said = _more(names, undecided, by_name)
        return Choice("open", names, said, *made, minutes)
    if len(near) == 1:
        return Choice("one", (best,), _one(bills, pairs, wish), *made, 0.0)
    ordered = tuple(sorted(near, key=lambda name: (-scores[name], near.index(name))))
    weighed = f"; by what you weigh ({', '.join(wish.weights)}), {ordered[0]}" if wish.weights else ""
    return Choice("tie", ordered, f"{' or '.join(ordered)}: no difference worth having (less than {wish.worth:.0%} "
                  f"apart, {_error(bills, wish)}){weighed}.", *made, 0.0)


def _error(bills: Sequence[Bill], wish: Wish) -> str:
    """What the error is promised of: where capacities are estimates, it is their repetitions', not the estimates'."""
    names = [each.offer.setup for each in bills if each.offer.estimated]
    of = f" between estimates: {listed(names)} {'was' if len(names) == 1 else 'were'} not searched" if names else ""
    return f"error at most {wish.error:.0%}{of}"


def _one(bills: Sequence[Bill], pairs: Sequence[Pair], wish: Wish) -> str:
    name = bills[0].offer.setup
    if not pairs:
        return f"{name}: no other setup keeps the promise and has what it must have."
    least = min(pairs, key=lambda pair: pair.ratio.low)
    return (f"{name}: ${bills[0].monthly_usd.value:,.0f} a month; every other setup costs more, the nearest, "
            f"{least.other}, {least.ratio.value - 1:.0%} (at least {least.ratio.low - 1:.1%}; "
            f"{_error(bills, wish)}).")


def _more(names: Sequence[str], undecided: Sequence[Pair], bills: Mapping[str, Bill]) -> tuple[float, str]:
    """Minutes of load still to measure, and the sentence that says so."""
    offers = [bills[name].offer for name in names]
    if undecided and not all(pair.repetitions for pair in undecided):
        again = {each.setup: max(1, SEARCHES - each.searches) for each in offers}
        minutes = sum(again[each.setup] * each.seconds_each / 60 for each in offers if math.isfinite(each.seconds_each))
        said = f", about {minutes:.1f} minutes of load in all" if minutes else ""
        return minutes, (f"No decision: search for the capacity of {listed(names)} again, each time with another "
                         f"--seed, until each has {SEARCHES} searches{said}.")
    repetitions = max((pair.more for pair in undecided), default=1)
    minutes = sum(repetitions * each.seconds_each / 60 for each in offers if math.isfinite(each.seconds_each))
    return minutes, (f"No decision: measure about {max(minutes, 0.1):.1f} more minutes of {listed(names)} "
                     f"({repetitions} more repetition{'s' * (repetitions > 1)} each).")


def _drawn(best: Offer, other: Offer, demand: Curve, fleet: Fleet, error: float) -> Interval:
    """The ratio where searches gave intervals: what lognormal capacities within them imply (parametric bootstrap)."""
    rng = np.random.default_rng(SEED)
    costs = []
    for offer in (best, other):
        rates = drawn_rates(offer.rate, rng)
        grid = np.geomspace(rates.min(), rates.max(), STEPS)
        priced = np.array([monthly_usd(demand.rate, float(rate) * offer.speed, offer.hourly_usd, fleet)
                           for rate in grid])
        costs.append(priced[np.minimum(np.searchsorted(grid, rates), STEPS - 1)])
    ratio = costs[1] / costs[0]
    low, middle, high = np.quantile(ratio, [error / 2, 0.5, 1 - error / 2])
    return Interval(float(middle), float(low), float(high), 1 - error)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
