"""A twin fitted to what was recorded of one setup: its batches, how they slow each other down, and what HTTP adds.

Where the setup tells (Server-Timing, x-batch-size), batches are put together again from their members and the service
law is fitted to them; else the service time is what a lone request took. What an item costs beside predicting is what
is missing between the batches where more was offered than answered. The balancer, what a busy server spares a request,
and a last factor are the ones with which the twin, given the same due times, comes nearest to the latencies seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin import Balancer, Clients, Floats, Service, Structure, Twin, play

QUANTILES = (0.5, 0.9, 0.95, 0.99)
WEIGHTS = np.array([1.0, 1.0, 1.0, 2.0])
SATURATED = 0.93
ENOUGH = 20
QUICKEST = 0.05  # of requests that all met others: those that waited least
MOST_DRAWS = 20_000
FACTORS = np.array([0.88, 0.92, 0.95, 0.975, 1.0, 1.025, 1.05, 1.08, 1.12])
SHARES = (0.0, 0.25, 0.5, 0.7, 0.85, 0.95)
SPARED = (1 / 3, 2 / 3, 1.0)
CLEARER = 0.85  # of the miss: what a share spared must bring, against chance
RELUCTANCE = 0.5  # what a factor off 1 must explain, against the chance in a tail
BALANCERS: tuple[Balancer, ...] = ("shared", "connections", "least", "random")


@dataclass(frozen=True)
class Seen:
    """One recorded run's requests in order of due time, warm-up included but not `counted`; arrays [n].

    Seconds; latency is infinite where there was no right answer. `batch` is 0, `model_s` NaN where the setup does not
    tell; `inside_s` is the time in queue, waiting and model together as told (NaN likewise). `rate` is offered.
    """

    run_id: str
    rate: float
    due_s: Floats
    latency_s: Floats
    counted: NDArray[np.bool_]
    batch: NDArray[np.int64]
    model_s: Floats
    inside_s: Floats

    @property
    def told(self) -> bool:
        """Whether the setup tells how long it predicted."""
        return bool(np.mean(np.isfinite(self.model_s)) > 0.5)

    def quantiles_s(self, quantiles: Sequence[float] = QUANTILES) -> Floats:
        """Quantiles of the counted latencies (type 1)."""
        return quantiles_s(self.latency_s[self.counted], quantiles)

    def throughput(self) -> float:
        """Answers a second in the middle of the run: from a quarter to nine tenths of them, which is the ceiling where
        more was offered."""
        done = np.sort((self.due_s + self.latency_s)[np.isfinite(self.latency_s)])
        first, last = int(0.25 * len(done)), int(0.9 * len(done)) - 1
        return (last - first) / (done[last] - done[first]) if last - first > ENOUGH else math.nan

    @property
    def saturated(self) -> bool:
        """Whether more was offered than answered."""
        through = self.throughput()
        return bool(through < SATURATED * self.rate)


def quantiles_s(latency_s: Floats, quantiles: Sequence[float]) -> Floats:
    """Type 1 quantiles, so that infinity is one like any other."""
    ordered = np.sort(latency_s)
    ranks = [min(max(math.ceil(q * len(ordered) - 1e-9), 1), len(ordered)) - 1 for q in quantiles]
    return np.asarray(ordered[ranks])


def fitted(runs: Sequence[Seen], hint: Structure, clients: Clients, seed: int = 0,
           factors: Floats = FACTORS) -> Twin:
    """The twin of a setup that is built like `hint` (its workers are workers of one machine, whoever spreads the load),
    its service times multiplied by the one of `factors` that fits best.

    Raises ValueError where no run holds an answer.
    """
    runs = sorted(runs, key=lambda run: run.rate)
    if not any(np.isfinite(run.latency_s).any() for run in runs):
        raise ValueError("no answer was recorded, so nothing can be fitted")
    balancers = BALANCERS if hint.balancer == "connections" else (hint.balancer,)
    told = [run for run in runs if run.told]
    services = [service_law(runs, hint, share) for share in (SHARES if told and not _full(told) else (0.0,))]
    if not any(_steady(run) for run in runs):
        return Twin(spread(hint, balancers[0]), services[0], clients)
    twins = [Twin(spread(hint, balancer), service, clients) for balancer, service in product(balancers, services)]
    service = _nearest(twins, runs, seed, np.ones(1))[0].service if len(services) > 1 else services[0]
    best, miss = _nearest([Twin(spread(hint, balancer), service, clients) for balancer in balancers], runs, seed,
                          factors)
    same = replace(best.service, curve_s=service.curve_s)
    other, missed = _nearest([replace(best, service=replace(same, spared=share)) for share in SPARED], runs, seed,
                             factors)
    return other if missed < CLEARER * miss else best


def _nearest(twins: Sequence[Twin], runs: Sequence[Seen], seed: int, factors: Floats) -> tuple[Twin, float]:
    """The one of the twins, made slower by one of the factors, that comes nearest to the runs; and how near."""
    best, least = twins[0], math.inf
    for twin, factor in product(twins, factors):
        slower = _slower(twin, float(factor))
        miss = distance(slower, runs, seed) + RELUCTANCE * abs(math.log(factor))
        if miss < least:
            best, least = slower, miss
    return best, least


def spread(hint: Structure, balancer: Balancer) -> Structure:
    """The workers of one machine behind one queue, or each behind its own."""
    workers = hint.workers * hint.replicas
    if balancer == "shared":
        return replace(hint, replicas=1, workers=workers, balancer=balancer, per_machine=1)
    return replace(hint, replicas=workers, workers=1, balancer=balancer, per_machine=workers)


def distance(twin: Twin, runs: Sequence[Seen], seed: int) -> float:
    """How far the twin's quantiles are from those seen, as a mean of absolute logs over the runs not saturated."""
    misses = [_miss(twin, run, seed) for run in runs if _steady(run)]
    return float(np.mean(misses)) if misses else 0.0


def _steady(run: Seen) -> bool:
    return not run.saturated and bool(run.counted.sum() > 5 * ENOUGH)


def _miss(twin: Twin, run: Seen, seed: int) -> float:
    seen = run.quantiles_s()
    said = quantiles_s(play(twin, run.due_s, seed).latency_s[run.counted], QUANTILES)
    fine = np.isfinite(seen) & np.isfinite(said)
    return float(np.average(np.abs(np.log(said[fine] / seen[fine])), weights=WEIGHTS[fine])) if fine.any() else 3.0


def _slower(twin: Twin, factor: float) -> Twin:
    return replace(twin, service=replace(twin.service, curve_s=twin.service.curve_s * factor))


def service_law(runs: Sequence[Seen], hint: Structure, share: float = 0.0) -> Service:
    """The law of the batches, and the way there and back as lone requests of the lightest runs met it. What an item
    costs beside predicting is that `share` of what it can be at most, where no run shows it."""
    workers = hint.workers * hint.replicas
    told = [run for run in runs if run.told]
    overhead = lonely_overhead_s(runs)
    if not told:
        return _untold(runs, workers)
    size, busy, seconds = (np.concatenate(parts) for parts in zip(*(batches(run, workers) for run in told),
                                                                  strict=True))
    curve, stretch, noise = _law(size, busy, seconds, hint.max_batch, workers)
    gap = _gap_s(told, workers, share, overhead)
    return Service(curve + gap / stretch[-1] * np.arange(len(curve)), stretch, noise, np.maximum(overhead - gap, 0.0))


def batches(run: Seen, workers: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """(size, workers busy when it began, seconds) of each batch: its members share a size and a model time."""
    known = np.isfinite(run.latency_s) & np.isfinite(run.model_s)
    size, seconds = np.maximum(run.batch[known], 1), run.model_s[known]
    done = (run.due_s + run.latency_s)[known]
    began = done - seconds
    share = 1.0 / size
    starts, ends = np.argsort(began), np.argsort(done)
    up = np.concatenate([[0.0], np.cumsum(share[starts])])[np.searchsorted(began[starts], began, side="right")]
    down = np.concatenate([[0.0], np.cumsum(share[ends])])[np.searchsorted(done[ends], began, side="right")]
    busy = np.clip(np.rint(up - down), 1, workers).astype(np.int64)
    if int(size.max(initial=1)) > 1:
        # Members of one batch carry the same seconds to the microsecond: one of them stands for all.
        alike = np.stack([np.rint(done / np.maximum(4 * seconds, 1e-4)), np.rint(seconds * 1e6), size])
        order = np.lexsort(alike)
        first = order[np.append(True, np.any(np.diff(alike[:, order]) != 0, axis=0))]
        size, busy, seconds = size[first], busy[first], seconds[first]
    return size, busy, seconds


def _law(size: NDArray[np.int64], busy: NDArray[np.int64], seconds: Floats, max_batch: int,
         workers: int) -> tuple[Floats, Floats, Floats]:
    """Curve [largest seen + 1], stretch [workers + 1] and noise [2, m], each with the others held fixed, in turn."""
    stretch = np.ones(workers + 1)
    largest = int(min(size.max(), max(max_batch, 1)))
    size = np.minimum(size, largest)
    for _ in range(4):
        curve = _curve(size, seconds / stretch[busy], largest)
        ratio = seconds / curve[size]
        for j in range(2, workers + 1):
            here = busy == j
            stretch[j] = float(np.mean(ratio[here])) if here.sum() >= ENOUGH else stretch[j - 1]
        first = float(np.mean(ratio[busy == 1])) if (busy == 1).sum() >= ENOUGH else stretch[2:3].mean() or 1.0
        stretch = np.maximum(stretch / first, 0.5)
        stretch[0] = stretch[1] = 1.0
    ratio = seconds / (_curve(size, seconds / stretch[busy], largest)[size] * stretch[busy])
    random = np.random.default_rng(0)
    pools = [ratio[chosen] if chosen.sum() >= ENOUGH else ratio for chosen in (size == 1, size > 1)]
    count = min(MOST_DRAWS, max(len(pool) for pool in pools))
    noise = np.stack([random.choice(pool / pool.mean(), count) for pool in pools])
    return curve, stretch, noise


def _curve(size: NDArray[np.int64], seconds: Floats, largest: int) -> Floats:
    """Mean seconds of each batch size up to the largest: the means where there are enough batches, else the line
    a + b·n through all, never less for more."""
    sizes, counts = np.unique(size, return_counts=True)
    means = np.array([float(seconds[size == n].mean()) for n in sizes])
    if len(sizes) == 1:
        return means[0] * np.arange(largest + 1) / sizes[0] if largest > 1 else np.full(2, means[0])
    a, b = line(sizes, means, counts)
    curve = a + b * np.arange(largest + 1, dtype=np.float64)
    trust = counts / (counts + ENOUGH)
    curve[sizes] = trust * means + (1 - trust) * curve[sizes]
    return np.asarray(np.maximum.accumulate(curve))


def line(sizes: NDArray[np.int64], means: Floats, counts: NDArray[np.int64]) -> tuple[float, float]:
    """(a, b) of a + b·n through the means of at least two sizes, neither negative: a flat law where more would take
    less, as noise makes it on a GPU far from full; a law through zero where none would take less than nothing.

    Each size weighs by how well its mean is known, and none by more than a well-known one.
    """
    weights = np.sqrt(np.minimum(counts, ENOUGH)) / means
    b, a = np.polyfit(sizes, means, 1, w=weights)
    if b <= 0:
        return float(np.average(means, weights=weights)), 0.0
    return (float(a), float(b)) if a > 0 else (0.0, float(np.average(means / sizes, weights=weights)))


def _gap_s(runs: Sequence[Seen], workers: int, share: float, overhead: Floats) -> float:
    """Seconds that an item costs a worker beside predicting (reading, writing, what feeds it), from the run that
    answered most, which was busy all the time where any was offered more than it answered. (One that drowned may answer
    less than one that was nearly full.) Else that `share` of what it can be: no worker was busier than that, and a lone
    request waited for it too. 0 where no run is long enough."""
    run = _fastest(runs)
    if run is None:
        return 0.0
    size, _, seconds = batches(run, workers)
    most = max(workers / run.throughput() - float(seconds.sum() / size.sum()), 0.0)
    return most if _full(runs) else share * min(most, float(overhead.mean()))


def _fastest(runs: Sequence[Seen]) -> Seen | None:
    """The run that answered most a second; None where none is long enough to say."""
    return max((run for run in runs if math.isfinite(run.throughput())), key=Seen.throughput, default=None)


def _full(runs: Sequence[Seen]) -> bool:
    """Whether any run was offered more than it answered, so that the ceiling is known."""
    return any(run.saturated for run in runs)


def lonely_overhead_s(runs: Sequence[Seen]) -> Floats:
    """What a request's way there and back took beyond what the setup tells, over requests that met nobody else, in
    the lightest run that tells; over its quickest where all met others."""
    for run in runs:
        known = np.isfinite(run.latency_s) & np.isfinite(run.inside_s) & run.counted
        if known.sum() >= ENOUGH:
            alone = known & lonely(run)
            chosen = alone if alone.sum() >= ENOUGH else known
            rest = np.maximum(run.latency_s[chosen] - run.inside_s[chosen], 0.0)
            return rest if alone.sum() >= ENOUGH else rest[rest <= np.quantile(rest, QUICKEST)]
    return np.zeros(1)


def lonely(run: Seen) -> NDArray[np.bool_]:
    """Which requests became due while no other was on its way."""
    done = np.where(np.isfinite(run.latency_s), run.due_s + run.latency_s, np.inf)
    latest = np.concatenate([[-np.inf], np.maximum.accumulate(done)[:-1]])
    return np.asarray(latest <= run.due_s)


def _untold(runs: Sequence[Seen], workers: int) -> Service:
    """Service from lone requests, stretched to what the ceiling says where one was reached."""
    light = runs[0]
    answered = np.isfinite(light.latency_s) & light.counted
    alone = answered & lonely(light)
    seconds = light.latency_s[alone if alone.sum() >= ENOUGH else answered]
    if not len(seconds):
        raise ValueError("the lightest run holds no answer, so nothing can be fitted")
    mean = float(seconds.mean())
    best = _fastest(runs) if _full(runs) else None
    at_most = workers / best.throughput() if best else mean
    stretch = np.concatenate([[1.0], np.linspace(1.0, max(at_most / mean, 1.0), workers)])
    part = min(at_most / mean, 1.0)
    noise = np.tile(seconds / mean, (2, 1))
    return Service(np.array([0.0, mean * part]), stretch, noise, np.array([mean * (1 - part)]))
