"""What a demand costs with a setup: replicas hour by hour, money, idle share, minutes that break the promise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.analyse.model import Interval, Verdict
from harness.decide.cost import SECONDS_PER_HOUR, per_million_usd
from harness.decide.demand import Curve, Rates
from harness.decide.fleet import Fleet, Replicas, plan

HOURS_PER_MONTH = 730.0  # a twelfth of a year of 8 760 hours, as clouds bill it
UNKNOWN = Interval(math.nan, math.nan, math.nan)
SEARCHED, ESTIMATED, GIVEN = "searched for with `tailrace capacity`", "ESTIMATED from CPU time per answer", "as given"


@dataclass(frozen=True)
class Latency:
    """The p99 of a setup under one load: `place` names the arrivals, `rate` their requests a second; the verdict is the
    promise's there."""

    place: str
    rate: float
    p99_ms: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Offer:
    """One replica of a setup at a price.

    `rate` is what it carries within the promise, in requests a second; `each_rate` the same by repetition (paired
    across setups by its number; empty where one search gave the interval). `saturated` is what it answers flat out,
    where that is known; `promised` the share of requests that the promise is made to. `p99_ms` is the latency measured
    at `p99_at` requests a second (NaN where none was), `verdict` the promise's there; `latencies` has every load's, and
    `p99_place` says which it is. `speed` multiplies both rates: a stated assumption about hardware that was not
    measured. `run_ids` are the evidence; measuring once more takes `seconds_each` of load. `searches` are the capacity
    searches behind it (0: none). `measured_on` says what of the measured machine the replica had.
    """

    setup: str
    workload: str
    rate: Interval
    hourly_usd: float
    instance: str
    price_words: str
    source: str
    run_ids: tuple[str, ...] = ()
    each_rate: Mapping[int, float] = field(default_factory=dict)
    p99_ms: Interval = UNKNOWN
    p99_at: float = math.nan
    saturated: float = math.nan
    promised: float = 0.99
    speed: float = 1.0
    verdict: Verdict = "inconclusive"
    seconds_each: float = math.nan
    facts: dict[str, bool | str] = field(default_factory=dict)
    p99_place: str = ""
    latencies: tuple[Latency, ...] = ()
    searches: int = 0
    measured_on: str = ""

    @property
    def estimated(self) -> bool:
        """Whether what it carries is an estimate, neither searched for nor given."""
        return self.source.startswith(ESTIMATED)


@dataclass(frozen=True)
class Bill:
    """An offer at a demand. Money in USD; a month has 730 hours.

    `hourly_replicas` are paid replicas, one figure an hour of the demand's stretch. `monthly_usd` and
    `per_million_good_usd` have the interval that the capacity's interval implies. `idle_share` is the paid capacity
    that no request used; `broken_minutes` are minutes a month that break the promise. `peak_per_million_usd` is what
    calculators print, price ÷ throughput: it leaves out idle hours, spare replicas and whole instances. The throughput
    is `peak_rate`, what a replica answers flat out where that is known, else its capacity within the promise;
    `peak_is` says which.
    """

    offer: Offer
    demand: str
    fleet: Fleet
    hourly_replicas: tuple[float, ...]
    monthly_usd: Interval
    per_million_good_usd: Interval
    good_per_month: float
    idle_share: float
    broken_minutes: float
    peak_per_million_usd: float
    peak_rate: float
    peak_is: str
    assumptions: tuple[str, ...]

    @property
    def peak_words(self) -> str:
        """What `peak_per_million_usd` divides the price by."""
        return f"{self.peak_rate:.4g}/s, {self.peak_is}"


def bill(offer: Offer, demand: Curve, fleet: Fleet) -> Bill:
    """The bill of one offer."""
    rate = offer.rate.value * offer.speed
    replicas = plan(demand.rate, rate, fleet)
    late = late_share(demand.rate, replicas, rate, offer.saturated * offer.speed)
    good_per_s = float(np.mean(demand.rate * (1 - late)))
    paid_hourly = float(replicas.paid.mean()) * offer.hourly_usd
    monthly = Interval(paid_hourly * HOURS_PER_MONTH, *_ends(offer, demand, fleet))
    million = per_million_usd(paid_hourly, good_per_s)
    share = million / monthly.value if monthly.value else math.nan
    capacity = float(replicas.paid.mean()) * rate
    peak_rate, peak_is = _peak(offer)
    return Bill(
        offer, demand.name, fleet, _by_hour(replicas), monthly,
        Interval(million, monthly.low * share, monthly.high * share),
        good_per_s * SECONDS_PER_HOUR * HOURS_PER_MONTH,
        idle_share=max(0.0, 1 - demand.mean / capacity) if capacity else math.nan,
        broken_minutes=float(np.mean(late > 1 - offer.promised)) * HOURS_PER_MONTH * 60,
        peak_per_million_usd=per_million_usd(offer.hourly_usd, peak_rate), peak_rate=peak_rate, peak_is=peak_is,
        assumptions=_assumptions(offer, demand, fleet),
    )


def monthly_usd(rates: Rates, per_replica: float, hourly_usd: float, fleet: Fleet) -> float:
    """USD a month for a demand in requests a second by the minute, where one replica carries `per_replica`."""
    return float(plan(rates, per_replica, fleet).paid.mean()) * hourly_usd * HOURS_PER_MONTH


def late_share(rates: Rates, replicas: Replicas, per_replica: float, saturated: float = math.nan) -> Rates:
    """Share (0–1) of each minute's requests that come faster than they can be served in time, or wait behind those that
    did, over a stretch that repeats: a fluid queue at each replica that loses nothing (Newell 1982, ch. 2) and
    is worked off at `saturated` requests a second, what a replica does flat out (`per_replica` where that is not
    known). A replica that was there keeps its backlog; one that came later has none of it, and the newest go first."""
    serving = np.tile(replicas.serving, 2)
    each_rate = np.tile(rates, 2) / serving
    over = each_rate > per_replica * (1 + 1e-9)
    excess = 60 * (each_rate - (saturated if saturated > per_replica else per_replica))
    reached = np.cumsum(excess)
    oldest = reached - np.minimum(np.minimum.accumulate(reached), 0)
    waiting = np.concatenate([[0.0], oldest[:-1]])
    late = np.zeros(len(serving))
    queues: list[float] = []
    for minute in np.flatnonzero((waiting > 0) | over):
        if waiting[minute] <= 0:
            queues = []
        queues = queues[: serving[minute]] + [0.0] * (int(serving[minute]) - len(queues))
        more = float(excess[minute])
        late[minute] = 1.0 if over[minute] else sum(min(1.0, each / -more) for each in queues) / len(queues)
        queues = [max(0.0, each + more) for each in queues]
    return late[len(rates):]


def each_monthly_usd(offer: Offer, demand: Curve, fleet: Fleet) -> dict[int, float]:
    """The month's price as each repetition that measured the capacity has it."""
    return {number: monthly_usd(demand.rate, rate * offer.speed, offer.hourly_usd, fleet)
            for number, rate in offer.each_rate.items()}


def cheapest_first(bills: Sequence[Bill]) -> list[Bill]:
    """The bills by cost per million good requests, then by name."""
    return sorted(bills, key=lambda each: (each.per_million_good_usd.value, each.offer.setup))


def _ends(offer: Offer, demand: Curve, fleet: Fleet) -> tuple[float, float]:
    """The month's price at either end of the capacity's interval, the lower price first."""
    def at(rate: float) -> float:
        return math.nan if math.isnan(rate) else monthly_usd(demand.rate, rate * offer.speed, offer.hourly_usd, fleet)
    return at(offer.rate.high), at(offer.rate.low)


def _peak(offer: Offer) -> tuple[float, str]:
    """What a replica answers flat out, and what tells; its capacity where nothing above that is known."""
    if not offer.saturated > offer.rate.value:
        return offer.rate.value * offer.speed, "its capacity within the promise, for nothing above it is known"
    told = "estimated from CPU time" if offer.estimated else "measured" if offer.searches else "given"
    return offer.saturated * offer.speed, f"{told}, flat out"


def peak_note(bills: Sequence[Bill]) -> str:
    """What the peak arithmetic is, and what it divides by for each setup, as a sentence."""
    alike: dict[str, list[str]] = {}
    for one in bills:
        alike.setdefault(one.peak_is, []).append(f"{one.offer.setup} {one.peak_rate:.4g}/s")
    each = "; ".join(f"{', '.join(rates)}: {told}" for told, rates in alike.items())
    return f"At peak: price ÷ throughput, without idle hours and spare replicas ({each})."


def _by_hour(replicas: Replicas) -> tuple[float, ...]:
    starts = np.arange(0, len(replicas.paid), 60)
    counts = np.add.reduceat(replicas.paid, starts) / np.diff(np.append(starts, len(replicas.paid)))
    return tuple(float(each) for each in counts)


def _assumptions(offer: Offer, demand: Curve, fleet: Fleet) -> tuple[str, ...]:
    said = [f"Demand {demand.name}: {demand.title} (mean {demand.mean:.4g}/s, busiest minute {demand.peak:.4g}/s), "
            f"again and again for {HOURS_PER_MONTH:g} hours.",
            f"Replicas: {fleet.words}",
            f"One replica of {offer.setup} carries {offer.rate.value:.4g} requests/s within the promise "
            f"({offer.source}).",
            f"${offer.hourly_usd:g} an hour for {offer.instance} ({offer.price_words}).",
            *([offer.measured_on] if offer.measured_on else []),
            "Requests spread evenly over replicas; when too few serve, nothing is refused and the queue is worked off.",
            "Every request of a minute that keeps the promise counts as good.",
            "Disk, traffic, load balancer, people and discounts are not counted."]
    if offer.speed == 1:
        said.append("The priced machine is taken to be as fast as the measured one.")
    else:
        said.append(f"ASSUMED, not measured: the priced machine carries {offer.speed:g} times the measured rate.")
    return tuple(said)
