"""A twin fitted to what was recorded of one setup: its batches, how they slow each other down, and what HTTP adds.

Where the setup tells (Server-Timing, x-batch-size), batches are put together again from their members and the service
law is fitted to them; else the service time is what a lone request took. What an item costs beside predicting is what
is missing between the batches where more was offered than answered. The balancer, what a busy server spares a request,
and a last factor are the ones with which the twin, given the same due times, comes nearest to the latencies seen.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin import ENDLESS, Balancer, Clients, Floats, Structure, Twin, faster, play
from harness.decide.twin_law import full, service_law, shown
from harness.decide.twin_seen import ENOUGH, QUANTILES, Seen, quantiles_s

WEIGHTS = np.array([1.0, 1.0, 1.0, 2.0])
FACTORS = np.array([0.88, 0.92, 0.95, 0.975, 1.0, 1.025, 1.05, 1.08, 1.12])
SHARES = (0.0, 0.25, 0.5, 0.7, 0.85, 0.95)
SPARED = (1 / 3, 2 / 3, 1.0)
CLEARER = 0.85  # of the miss: what a share spared must bring, against chance
LARGER = 0.02  # of a mean batch: what a tighter limit must explain, against chance
RELUCTANCE = 0.5  # what a factor off 1 must explain, against the chance in a tail
Sizes = NDArray[np.int64]
BALANCERS: tuple[Balancer, ...] = ("shared", "connections", "least", "random")


def fitted(runs: Sequence[Seen], hint: Structure, clients: Clients, seed: int = 0,
           factors: Floats = FACTORS) -> Twin:
    """The twin of a setup that is built like `hint` (its workers are workers of one machine, whoever spreads the load),
    its service times multiplied by the one of `factors` that fits best.

    Raises ValueError where no run holds an answer.
    """
    runs = sorted(runs, key=lambda run: run.rate)
    if not any(np.isfinite(run.latency_s).any() for run in runs):
        raise ValueError("no answer was recorded, so nothing can be fitted")
    hint = paying(hint, runs, clients, seed)
    balancers = BALANCERS if hint.balancer == "connections" else (hint.balancer,)
    told = [run for run in runs if run.told]
    unknown = told and not full(told) and not shown(told, hint.workers * hint.replicas)
    services = [service_law(runs, hint, share) for share in (SHARES if unknown else (0.0,))]
    if not any(_steady(run) for run in runs):
        return Twin(spread(hint, balancers[0]), services[0], clients)
    twins = [Twin(spread(hint, balancer), service, clients) for balancer, service in product(balancers, services)]
    service = _nearest(twins, runs, seed, np.ones(1))[0].service if len(services) > 1 else services[0]
    best, miss = _nearest([Twin(spread(hint, balancer), service, clients) for balancer in balancers], runs, seed,
                          factors)
    same = replace(best.service, curve_s=service.curve_s, each_s=service.each_s)
    other, missed = _nearest([replace(best, service=replace(same, spared=share)) for share in SPARED], runs, seed,
                             factors)
    return other if missed < CLEARER * miss else best


def paying(hint: Structure, runs: Sequence[Seen], clients: Clients, seed: int) -> Structure:
    """The structure with the largest batches that its setup builds, where it builds what waits as soon as a worker is
    free: those with which the twin's batches are as large in the mean as the ones seen; all it may where that tells no
    difference."""
    told = [run for run in runs if run.told and _steady(run) and bool(np.any(run.batch > 0))]
    if hint.max_batch == 1 or hint.wait_s > 0 or not told:
        return hint
    service = service_law(runs, hint)
    best, least = hint, math.inf
    for power in reversed(range((hint.max_batch - 1).bit_length() + 1)):
        tried = replace(hint, pays=ENDLESS if 1 << power >= hint.max_batch else 1 << power)
        twin = Twin(tried, service, clients)
        said = [_mean_batch(play(twin, run.due_s, seed, lengths=run.lengths).batch) for run in told]
        seen = [_mean_batch(run.batch) for run in told]
        miss = float(np.mean(np.abs(np.log(np.divide(said, seen)))))
        if miss < least - LARGER:
            best, least = tried, miss
    return best


def _mean_batch(members: Sizes) -> float:
    """Requests of a batch in the mean, from what each one says of its own."""
    return len(known) / float(np.sum(1 / known)) if len(known := members[members > 0]) else 1.0


def _nearest(twins: Sequence[Twin], runs: Sequence[Seen], seed: int, factors: Floats) -> tuple[Twin, float]:
    """The one of the twins, made slower by one of the factors, that comes nearest to the runs; and how near."""
    best, least = twins[0], math.inf
    for twin, factor in product(twins, factors):
        slower = faster(twin, 1 / factor)
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
    said = quantiles_s(play(twin, run.due_s, seed, lengths=run.lengths).latency_s[run.counted], QUANTILES)
    fine = np.isfinite(seen) & np.isfinite(said)
    return float(np.average(np.abs(np.log(said[fine] / seen[fine])), weights=WEIGHTS[fine])) if fine.any() else 3.0
