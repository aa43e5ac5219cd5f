"""What would change the choice: the front of cost against p99, and the choice at other prices, promises, demands."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analyse.model import Interval
from harness.catalog.slo import parse_promise
from harness.decide.bill import SEARCHED, Bill, Offer
from harness.decide.bill_offers import Offered
from harness.decide.choice import DECIDED, Choice, Wish, choose
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet

PRICES, PROMISES, DEMANDS = (0.7, 1.0, 1.3), (0.5, 1.0, 2.0), (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Case:
    """The choice when the favourite's price, the promised latencies and the demand are multiplied. Where a capacity
    that was searched for at the promise itself was not searched for at this one, a twin's word stands for it
    (`predicted`), and where there is no twin `known` is False."""

    price: float
    promise: float
    demand: float
    kind: str
    named: tuple[str, ...]
    known: bool
    predicted: bool = False


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
              wish: Wish, share_at: Callable[[str, Mapping[str, str]], float | None] = lambda _, __: None,
              ) -> tuple[Case, ...]:
    """Every combination of PRICES (of the favourite alone), PROMISES and DEMANDS; `offers_at` gives the offers under a
    promise, `share_at` how many times its searched capacity a setup is predicted to carry under one (None: not known).
    Empty where nothing was chosen."""
    if not choice.named:
        return ()
    favourite = choice.named[0]
    searched = {each.offer.setup: each.offer for each in choice.bills if each.offer.source.startswith(SEARCHED)}
    cases = []
    for promise in PROMISES:
        slo = scaled(wish.slo, promise)
        found = offers_at(slo)
        here = {each.setup for each in found.offers if each.source.startswith(SEARCHED)}
        shares = {name: share_at(name, slo) for name in searched if name not in here}
        told = {name: share for name, share in shares.items() if share is not None}
        known = len(told) == len(shares)
        found = _with_predicted(found, searched, told) if known else found
        for price in PRICES:
            offers = [replace(each, hourly_usd=each.hourly_usd * (price if each.setup == favourite else 1))
                      for each in found.offers]
            for times in DEMANDS:
                made = choose(offers, found.without, demand.scaled(times), fleet, replace(wish, slo=slo))
                cases.append(Case(price, promise, times, made.kind, made.named, known, known and bool(told)))
    return tuple(cases)


def _with_predicted(found: Offered, searched: Mapping[str, Offer], shares: Mapping[str, float]) -> Offered:
    """The offers where those searched under another promise carry a share of what was found; 0: no offer."""
    made = [_carrying(searched[name], share) for name, share in shares.items() if share > 0]
    without = {name: why for name, why in found.without.items() if name not in shares}
    without |= {name: "predicted to keep this promise at no load" for name, share in shares.items() if share <= 0}
    return replace(found, offers=(*(each for each in found.offers if each.setup not in shares), *made), without=without)


def _carrying(offer: Offer, share: float) -> Offer:
    rate = Interval(*(share * end for end in (offer.rate.value, offer.rate.low, offer.rate.high)))
    return replace(offer, rate=rate, each_rate={number: share * each for number, each in offer.each_rate.items()},
                   source=f"PREDICTED from what was {offer.source}")


def counted(cases: Sequence[Case]) -> str:
    """`27 cases that the records can tell, 18 of them predicted by a twin`."""
    known, predicted = sum(case.known for case in cases), sum(case.predicted for case in cases)
    of = f", {predicted} of them predicted by a twin of the searches' probes" if predicted else ""
    return f"{known} cases that the records can tell{of}"


def held(cases: Sequence[Case], choice: Choice) -> float:
    """The share of the known cases in which the favourite is chosen still, alone or as one of equals."""
    known = [case for case in cases if case.known]
    kept = [case for case in known if case.kind in DECIDED and choice.named[0] in case.named]
    return len(kept) / len(known) if known else math.nan
