"""What would change the choice: the front of cost against p99, and the choice at other prices, promises, demands."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.catalog.slo import parse_promise
from harness.decide.bill import SEARCHED, Bill
from harness.decide.bill_offers import Offered
from harness.decide.choice import Choice, Wish, choose
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet

PRICES, PROMISES, DEMANDS = (0.7, 1.0, 1.3), (0.5, 1.0, 2.0), (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Case:
    """The choice when the favourite's price, the promised latencies and the demand are multiplied. `known` is False
    where a capacity that was searched for at the promise itself was not searched for at this one."""

    price: float
    promise: float
    demand: float
    kind: str
    named: tuple[str, ...]
    known: bool


def front(bills: Sequence[Bill]) -> tuple[Bill, ...]:
    """The bills that no other one beats in both the month's price and p99 (Pareto), cheapest first; those without a
    measured p99 take no part."""
    measured = [each for each in bills if math.isfinite(each.offer.p99_ms.value)]
    ordered = sorted(measured, key=lambda each: (each.monthly_usd.value, each.offer.p99_ms.value))
    kept: list[Bill] = []
    for each in ordered:
        if not kept or each.offer.p99_ms.value < kept[-1].offer.p99_ms.value:
            kept.append(each)
    return tuple(kept)


def p99_words(bills: Sequence[Bill]) -> str:
    """At which load the p99 of all of them was measured, as a sentence."""
    known = [each.offer for each in bills if math.isfinite(each.offer.p99_ms.value)]
    if not known:
        return "No load was measured validly with all of them, so p99 is not compared."
    at = sorted({each.p99_at for each in known})
    ends = f"{at[0]:.4g}/s" if len(at) == 1 or at[-1] < 1.1 * at[0] else f"{at[0]:.4g} to {at[-1]:.4g}/s"
    return f"p99 is that at {ends}, the highest load measured with all of them."


def scaled(slo: Mapping[str, str], times: float) -> dict[str, str]:
    """The promise with its latencies multiplied."""
    made = {}
    for metric, bound in slo.items():
        promise = parse_promise(metric, bound)
        made[metric] = f"< {promise.limit * times / 1e6:g}ms" if promise.metric == "latency" and times != 1 else bound
    return made


def stability(choice: Choice, offers_at: Callable[[Mapping[str, str]], Offered], demand: Curve, fleet: Fleet,
              wish: Wish) -> tuple[Case, ...]:
    """Every combination of PRICES (of the favourite alone), PROMISES and DEMANDS; `offers_at` gives the offers under a
    promise. Empty where nothing was chosen."""
    if not choice.named:
        return ()
    favourite, sources = choice.named[0], {each.offer.setup: each.offer.source for each in choice.bills}
    cases = []
    for promise in PROMISES:
        slo = scaled(wish.slo, promise)
        found = offers_at(slo)
        here = {each.setup: each.source for each in found.offers}
        known = all(here.get(name, "").startswith(SEARCHED) for name, source in sources.items()
                    if source.startswith(SEARCHED))
        for price in PRICES:
            offers = [replace(each, hourly_usd=each.hourly_usd * (price if each.setup == favourite else 1))
                      for each in found.offers]
            for times in DEMANDS:
                made = choose(offers, found.without, demand.scaled(times), fleet, replace(wish, slo=slo))
                cases.append(Case(price, promise, times, made.kind, made.named, known))
    return tuple(cases)


def held(cases: Sequence[Case], choice: Choice) -> float:
    """The share of the known cases in which the favourite is chosen still, alone or as one of equals."""
    known = [case for case in cases if case.known]
    kept = [case for case in known if case.kind in ("one", "tie") and choice.named[0] in case.named]
    return len(kept) / len(known) if known else math.nan
