"""A demand replayed request by request, instance by instance: the bill's oracle.

The analytic bill and this share `needed`, how many replicas a rate asks for, and nothing else: instances come and go
minute by minute by what was counted, are paid by the second, and every request waits in the queue of the one instance
it was sent to. What `needed` gets wrong, both get wrong; its own tests say what it promises.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from harness.decide.demand import Rates
from harness.decide.fleet import Fleet, needed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Service:
    """One instance: `workers` serve one request each at a time; `times_s` are service times to draw from."""

    workers: int
    times_s: Floats


@dataclass(frozen=True)
class Replay:
    """What happened: requests sent, those answered within the limit, USD for the stretch, its hours, and the minutes in
    which less than the promised share was answered in time."""

    requests: int
    good: int
    usd: float
    hours: float
    broken_minutes: int


@dataclass(frozen=True)
class Instances:
    """When each was asked for, was ready and was given back, in seconds since the start (float64[instances])."""

    asked_s: Floats
    ready_s: Floats
    ended_s: Floats


def replay(rates: Rates, per_replica: float, hourly_usd: float, fleet: Fleet, service: Service, limit_s: float,
           quantile: float, seed: int) -> Replay:
    """One stretch of the demand (requests a second by the minute), Poisson within each minute, round robin over the
    instances that are ready, each a first-come-first-served queue."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rates * 60)
    minutes = np.repeat(np.arange(len(rates)), counts)
    times = np.sort((minutes + rng.random(len(minutes))) * 60)
    seen = counts / 60 if fleet.policy == "reactive" else rates
    instances = lifetimes(_targets(seen, per_replica, fleet), fleet.cold_start_s)
    starts, offsets, ready = _segments(instances)
    latency = _served(times, service.times_s[rng.integers(0, len(service.times_s), len(times))], starts, offsets, ready,
                      len(instances.asked_s), service.workers)
    good = latency <= limit_s
    kept = np.bincount(minutes, weights=good, minlength=len(rates))
    paid_s = float(np.sum(instances.ended_s - instances.asked_s))
    return Replay(len(times), int(good.sum()), paid_s / 3600 * hourly_usd, len(rates) / 60,
                  int(np.count_nonzero(kept < quantile * counts)))


def capacity(service: Service, limit_s: float, quantile: float, seed: int, requests: int = 400_000) -> float:
    """Requests a second that one instance carries within the promise, by bisection over one seeded arrival stream."""
    rng = np.random.default_rng(seed)
    gaps = np.cumsum(rng.standard_exponential(requests))
    drawn = service.times_s[rng.integers(0, len(service.times_s), requests)]
    one = (np.zeros(1), np.array([0, 1]), np.zeros(1, dtype=np.int64))
    low, high = 0.0, service.workers / float(service.times_s.mean())
    for _ in range(20):
        middle = (low + high) / 2
        latency = _served(gaps / middle, drawn, *one, 1, service.workers)
        low, high = (middle, high) if float(np.quantile(latency, quantile)) <= limit_s else (low, middle)
    return low


def lifetimes(targets: Ints, cold_start_s: float) -> Instances:
    """Instances that follow `targets`, the number wanted from the start of each minute on; those wanted at first are
    ready at once, and the newest are given back first."""
    end = len(targets) * 60.0
    asked, ready, ended = [0.0] * int(targets[0]), [0.0] * int(targets[0]), [end] * int(targets[0])
    alive = list(range(len(asked)))
    for minute, target in enumerate(targets[1:], start=1):
        while len(alive) > target:
            ended[alive.pop()] = minute * 60.0
        while len(alive) < target:
            alive.append(len(asked))
            asked.append(minute * 60.0)
            ready.append(minute * 60.0 + cold_start_s)
            ended.append(end)
    return Instances(np.array(asked), np.array(ready), np.array(ended))


def _targets(seen: Rates, per_replica: float, fleet: Fleet) -> Ints:
    """Instances wanted from each minute's start on, as a controller decides it: minute by minute from what it has."""
    want = [int(each) for each in needed(seen, per_replica, fleet)]
    minutes, hour = len(want), 60
    if fleet.policy == "fixed":
        return np.full(minutes, max(want))
    if fleet.policy == "schedule":
        peaks = [max(want[start:start + hour]) for start in range(0, minutes, hour)]
        ahead = math.ceil(fleet.cold_start_s / 60)
        return np.array([max(peaks[(minute + k) % minutes // hour] for k in (0, ahead)) for minute in range(minutes)])
    old = max(1, math.ceil(fleet.delay_s / 60))
    return np.array([max(want[minute - old - k] for k in range(fleet.cooldown_min)) for minute in range(minutes)])


def _segments(instances: Instances) -> tuple[Floats, Ints, Ints]:
    """Stretches between changes: their starts in seconds, and which instances are ready in stretch i
    (ready[offsets[i]:offsets[i + 1]])."""
    starts = np.unique(np.concatenate([np.zeros(1), instances.ready_s, instances.ended_s]))
    ready = [np.flatnonzero((instances.ready_s <= start) & (instances.ended_s > start)) for start in starts]
    ready[-1] = ready[-1] if len(ready[-1]) or len(ready) == 1 else ready[-2]
    return starts, np.concatenate([[0], np.cumsum([len(each) for each in ready])]), np.concatenate(ready)


@numba.njit(cache=True, nogil=True)
def _served(times: Floats, services: Floats, starts: Floats, offsets: Ints, ready: Ints, instances: int,
            workers: int) -> Floats:
    """Latency in seconds of every request: those of an instance are served in order by its first free worker."""
    free = np.zeros((instances, workers))
    latency = np.empty(len(times))
    segment = 0
    for i in range(len(times)):
        while segment + 1 < len(starts) and starts[segment + 1] <= times[i]:
            segment += 1
        first, behind = offsets[segment], offsets[segment + 1]
        chosen = ready[first + i % (behind - first)]
        best = 0
        for worker in range(1, workers):
            if free[chosen, worker] < free[chosen, best]:
                best = worker
        free[chosen, best] = max(times[i], free[chosen, best]) + services[i]
        latency[i] = free[chosen, best] - times[i]
    return latency
