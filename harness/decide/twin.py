"""The twin: a discrete-event model of a setup, so that loads and knobs never measured can be asked about.

A setup is a structure (replicas, workers, a balancer, a batching rule, a bounded queue), a service law (seconds of a
batch against its size, how much longer it takes beside busy neighbours, its noise, and what HTTP adds), and clients
(timeouts, retries, hedges). `play` gives the latency of every request of a schedule.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin_warm import ALIKE, Warmth
from harness.decide.twin_weights import EVEN, Lengths, Weights

Floats = NDArray[np.float64]
Balancer = Literal["shared", "connections", "round_robin", "random", "least"]
Starmap = Callable[[Callable[..., "Played"], list[tuple["Twin", float, int]]], Iterable["Played"]]

ENDLESS = 1 << 40
PICKS = 1 << 16
SETTLING = 0.1
LEAST_DRAWS = 64
THREADS = 4
PER_WORKER = 60
MOST_PLAYED = 1_000_000


@dataclass(frozen=True)
class Structure:
    """`replicas` queues with `workers` each; `balancer` spreads requests over them (`least`: the one of `choices` drawn
    with the fewest requests; 0: of all). A worker takes up to `max_batch` at once, or fewer when the oldest has waited
    `wait_s`. `limit`: requests in a replica beyond which it refuses. `drops_late`: what missed its deadline is not
    worked on. `per_machine` replicas share a machine, and so slow each other down. `pays`: larger batches would not,
    and a setup that learns builds none, whatever `max_batch` allows."""

    replicas: int = 1
    workers: int = 1
    balancer: Balancer = "shared"
    choices: int = 2
    max_batch: int = 1
    wait_s: float = 0.0
    limit: int = ENDLESS
    drops_late: bool = False
    per_machine: int = 1
    pays: int = ENDLESS

    @property
    def largest(self) -> int:
        """The largest batch that is built."""
        return min(self.max_batch, self.pays)

    @property
    def machines(self) -> int:
        """The machines that the replicas stand on."""
        return max(1, self.replicas // self.per_machine)


@dataclass(frozen=True)
class Service:
    """Seconds of a batch of b beside j busy workers of its machine (itself included): stretch[j] · (curve_s[b] · a draw
    of noise[0 where b is 1, else 1] (mean 1) · what its payloads weigh in the mean + b · each_s, what an item costs its
    worker beside predicting). `overhead_s` [m] are draws of what a request's way there and back adds, usually their
    median; one that has to wait, so that nobody must be woken for it, is spared the share `spared` of what is usual.
    Beyond the ends of curve and stretch their last value holds. At light loads the work takes longer (`warm`), and so
    does all beside it usually, which moves every draw of the way."""

    curve_s: Floats
    stretch: Floats
    noise: Floats
    overhead_s: Floats
    spared: float = 0.0
    each_s: float = 0.0
    weights: Weights = EVEN
    warm: Warmth = ALIKE


@dataclass(frozen=True)
class Clients:
    """An answer counts within `timeout_s`. `deadline_s` travels with the request. A refused request is tried again up
    to `retries` times after `backoff_s`, and so is one unanswered for `attempt_s`; one unanswered after `hedge_s` is
    sent a second time."""

    timeout_s: float = math.inf
    deadline_s: float = math.inf
    retries: int = 0
    backoff_s: float = 0.05
    attempt_s: float = math.inf
    hedge_s: float = math.inf


@dataclass(frozen=True)
class Twin:
    """A setup as modelled."""

    structure: Structure
    service: Service
    clients: Clients = Clients()


@dataclass(frozen=True)
class Played:
    """What became of each request of a schedule, float64[n] in seconds and int64[n]; latency is infinite for one that
    got no answer. `busy` is the mean number of busy workers over all, per worker."""

    latency_s: Floats
    queue_s: Floats
    served_s: Floats
    status: NDArray[np.int64]
    batch: NDArray[np.int64]
    busy: float
    wasted: int

    def quantile_s(self, q: float) -> float:
        """The q-quantile of all latencies (type 1: an observed value)."""
        rank = min(max(math.ceil(q * len(self.latency_s) - 1e-9), 1), len(self.latency_s)) - 1
        return float(np.partition(self.latency_s, rank)[rank])

    def beyond(self, limit_s: float) -> float:
        """The share of requests slower than the limit or without an answer."""
        return float(np.mean((self.latency_s > limit_s) | np.isinf(self.latency_s)))


def play(twin: Twin, due_s: Floats, seed: int, settled: float = 0.0, lengths: Lengths | None = None) -> Played:
    """Every request due at `due_s` (ascending), its payload of so many bytes (drawn from those recorded where None is
    known); the share `settled` of the first ones is played but not told.

    The same seed gives the same noise, so that differences between twins are not chance.
    """
    from harness.decide import twin_kernel as kernel  # noqa: PLC0415  numba takes a second to load

    random = np.random.default_rng(seed)
    n, service, rules = len(due_s), twin.service, _rules(twin)
    workers = twin.structure.replicas * twin.structure.workers
    noise = service.noise[:, random.integers(service.noise.shape[1], size=max(n, LEAST_DRAWS))]
    picks = random.random(PICKS if twin.structure.replicas > 1 else 1)
    curve = np.pad(service.curve_s, (0, max(0, twin.structure.largest + 1 - len(service.curve_s))), mode="edge")
    state = kernel.empty(np.ascontiguousarray(due_s, dtype=np.float64), rules)
    weights = service.weights.of(lengths) if lengths is not None and len(lengths) else service.weights.drawn(n, seed)
    rate = _rate(twin.structure, due_s)
    slower, farther = service.warm.factors(rate)
    each_s = service.each_s + service.warm.more_s(rate)
    kernel.run(state, rules, kernel.Draws(curve * slower, service.stretch, np.ascontiguousarray(noise), weights,
                                           each_s, picks))
    middle = float(np.median(service.overhead_s))
    usual = max((middle + service.each_s) * farther - each_s, 0.0)
    overhead = service.overhead_s[random.integers(len(service.overhead_s), size=n)] + usual - middle
    overhead -= np.where(state.began > due_s, usual * service.spared, 0.0)
    latency = state.done - due_s + np.maximum(overhead, 0.0)
    late = latency > twin.clients.timeout_s
    status = np.where(late & (state.status == kernel.ANSWERED), kernel.LOST, state.status)
    ended = state.done[np.isfinite(state.done)]
    span_s = max(float(np.max(ended, initial=due_s[-1]) - due_s[0]), 1e-9)
    keep = slice(int(settled * n), None)
    return Played(np.where(late, np.inf, latency)[keep], (state.began - due_s)[keep], state.served[keep], status[keep],
                  state.batch[keep], float(state.total_s[0]) / span_s / workers, int(state.tally[kernel.WASTED]))


def _rate(structure: Structure, due_s: Floats) -> float:
    """Requests a second for each machine."""
    span_s = float(due_s[-1] - due_s[0]) if len(due_s) > 1 else 0.0
    return len(due_s) / span_s / structure.machines if span_s > 0 else 0.0


def _rules(twin: Twin) -> "kernel.Rules":  # type: ignore[name-defined]  # noqa: F821
    from harness.decide import twin_kernel as kernel  # noqa: PLC0415

    structure, clients = twin.structure, twin.clients
    kinds = {"shared": kernel.RANDOM, "connections": kernel.CONNECTIONS, "round_robin": kernel.ROUND_ROBIN,
             "random": kernel.RANDOM, "least": kernel.LEAST}
    everyone = structure.balancer == "connections" or structure.choices == 0
    return kernel.Rules(
        structure.replicas, structure.workers, structure.per_machine, kinds[structure.balancer],
        structure.replicas if everyone else min(structure.choices, structure.replicas), structure.largest,
        structure.wait_s, structure.limit, clients.deadline_s if structure.drops_late else math.inf, clients.retries,
        clients.backoff_s, clients.attempt_s, clients.hedge_s)


def poisson_s(rate: float, n: int, seed: int) -> Floats:
    """Due times of a Poisson process; of one seed, those of different rates are stretched copies of each other."""
    return np.asarray(np.cumsum(np.random.default_rng([seed, 1]).standard_exponential(n)) / rate)


def poisson(rate: float, n: int, seed: int) -> tuple[Floats, float]:
    """(due times of a Poisson process, the share of the first ones that settle and are not told)."""
    return poisson_s(rate, n, seed), SETTLING


def at_rate(twin: Twin, rate: float, n: int = 20_000, seed: int = 0) -> Played:
    """The twin under `rate` Poisson requests a second, settled."""
    return play(twin, poisson_s(rate, n, seed), seed, SETTLING)


def requests_for(twin: Twin, least: int) -> int:
    """How many requests tell something of a twin: `least`, and more where many workers share them."""
    return min(max(least, PER_WORKER * twin.structure.replicas * twin.structure.workers), MOST_PLAYED)


def at_rates(twins: Sequence[Twin], rates: Sequence[float], n: int = 20_000, over: Starmap | None = None,
             ) -> list[Played]:
    """Many configurations at once: twin i under rate i, the same arrivals and noise for each; n requests, and more for
    fleets (`requests_for`).

    `over` calls a function with each of some tuples of arguments and gives the results in order, as the `starmap` of
    multiprocessing's pools does, and of Ray's over a cluster (docs/twin.md). Without it four threads play.
    """
    tasks = [(twin, rate, requests_for(twin, n)) for twin, rate in zip(twins, rates, strict=True)]
    return list((over or _in_threads)(at_rate, tasks))


def _in_threads(function: Callable[..., Played], tasks: Iterable[tuple[Twin, float, int]]) -> list[Played]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda task: function(*task), tasks))


def faster(twin: Twin, factor: float) -> Twin:
    """The twin whose batches take `factor` times less long."""
    service = twin.service
    dearer = tuple((rate, seconds / factor) for rate, seconds in service.warm.dearer_s)
    return replace(twin, service=replace(service, curve_s=service.curve_s / factor, each_s=service.each_s / factor,
                                         warm=replace(service.warm, dearer_s=dearer)))


def lone_s(service: Service, rate: float) -> float:
    """Seconds that a request takes usually, which meets no other, where each machine meets `rate`."""
    slower, farther = service.warm.factors(rate)
    beside = float(np.median(service.overhead_s)) + service.each_s
    return float(service.curve_s[min(1, len(service.curve_s) - 1)] * slower + beside * farther)


def ceiling(twin: Twin) -> float:
    """Requests a second that all workers together can do, all busy, in batches as large as allowed or as pay best."""
    structure, service = twin.structure, twin.service
    sizes = np.arange(1, min(structure.largest, len(service.curve_s) - 1) + 1)
    beside = min(structure.workers * structure.per_machine, len(service.stretch) - 1)
    each = sizes / (service.curve_s[1:len(sizes) + 1] + service.each_s * sizes)
    return float(each.max() / service.stretch[beside] * structure.workers * structure.replicas)
