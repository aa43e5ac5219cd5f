"""The twin's event loop, compiled: requests, queues, batches and workers, one event after another.

All randomness comes in as arrays, so a call is a pure function of its arguments. Times are seconds. A *copy* is one
attempt at a request: the first, a retry, or a hedge; the first answer counts. A replica is a queue with `workers`
workers that pull batches from it.
"""

import math
from typing import NamedTuple

import numpy as np

from harness.decide.twin_heap import Floats, Ints, compiled, pop, push

ROUND_ROBIN, RANDOM, LEAST, CONNECTIONS = 0, 1, 2, 3
ANSWERED, REFUSED, EXPIRED, LOST = 200, 503, 504, 0
_END, _WINDOW, _RETRY, _TIMER, _HEDGE = 0, 1, 2, 3, 4
_KINDS = 8
_HEAP, _COPIES, _BATCHES, _DRAWS, _TURN, WASTED, _TAKEN, _PUT = range(8)  # of `tally`; the heap knows the first


class Rules(NamedTuple):
    """The setup and its clients as scalars; `limit` counts requests in a replica, queued and served."""

    replicas: int
    workers: int
    per_machine: int
    balancer: int
    choices: int
    max_batch: int
    wait_s: float
    limit: int
    deadline_s: float
    retries: int
    backoff_s: float
    attempt_s: float
    hedge_s: float


class Draws(NamedTuple):
    """`curve` [batch size], `stretch` [busy workers of the machine], `noise` [alone or not, m]: the service time of a
    batch is the product of curve, noise and the mean of its members' `weights` [n], and `each_s` for every member, all
    times the stretch; `picks` are uniform on [0, 1)."""

    curve: Floats
    stretch: Floats
    noise: Floats
    weights: Floats
    each_s: float
    picks: Floats


class State(NamedTuple):
    """Everything that changes; see `empty`."""

    due: Floats
    done: Floats
    began: Floats
    served: Floats
    status: Ints
    batch: Ints
    owner: Ints
    entered: Floats
    link: Ints
    attempt: Ints
    place: Ints
    head: Ints
    tail: Ints
    length: Ints
    inside: Ints
    pending: Ints
    idle: Ints
    idle_n: Ints
    first: Ints
    busy: Ints
    heap_s: Floats
    heap_what: Ints
    pool: Ints
    tally: Ints
    total_s: Floats


def empty(due: Floats, rules: Rules) -> State:
    """The state before the first arrival."""
    n, queues, workers = len(due), rules.replicas, rules.replicas * rules.workers
    hedged, retried = math.isfinite(rules.hedge_s), rules.retries > 0
    copies = n * (1 + rules.retries + hedged)
    heap = workers + queues + n * hedged + 2 * copies * retried + 8
    machines = -(-queues // rules.per_machine)

    def ints(size: int, value: int = 0) -> Ints:
        return np.full(size, value, dtype=np.int64)

    return State(
        due, np.full(n, np.inf), np.full(n, np.nan), np.zeros(n), ints(n, LOST), ints(n), ints(copies),
        np.zeros(copies), ints(copies, -1), ints(copies), ints(copies), ints(queues, -1), ints(queues, -1),
        ints(queues), ints(queues), ints(queues), np.arange(workers, dtype=np.int64), ints(queues, rules.workers),
        ints(workers, -1), ints(machines), np.zeros(heap), ints(heap), ints(copies), ints(8), np.zeros(1))


@compiled
def run(state: State, rules: Rules, draws: Draws) -> None:
    """Plays every event; the results are in `state`."""
    n, upcoming = len(state.due), 0
    while upcoming < n or state.tally[_HEAP] > 0:
        if upcoming < n and (state.tally[_HEAP] == 0 or state.due[upcoming] <= state.heap_s[0]):
            _arrive(state, rules, draws, upcoming, 0, state.due[upcoming])
            if rules.hedge_s < math.inf:
                push(state.heap_s, state.heap_what, state.tally, state.due[upcoming] + rules.hedge_s,
                     upcoming * _KINDS + _HEDGE)
            upcoming += 1
        else:
            now_s, what = state.heap_s[0], state.heap_what[0]
            pop(state.heap_s, state.heap_what, state.tally)
            _happen(state, rules, draws, now_s, what % _KINDS, what // _KINDS)


@compiled
def _happen(state: State, rules: Rules, draws: Draws, now_s: float, kind: int, which: int) -> None:
    if kind == _END:
        _end(state, rules, which, now_s)
        _dispatch(state, rules, draws, which // rules.workers, now_s)
    elif kind == _WINDOW:
        state.pending[which] = 0
        _dispatch(state, rules, draws, which, now_s)
    elif kind == _HEDGE:
        if state.done[which] == math.inf:
            _arrive(state, rules, draws, which, rules.retries, now_s)
    elif state.done[state.owner[which]] == math.inf and state.attempt[which] < rules.retries:
        request = state.owner[which]
        attempt = state.attempt[which] + 1
        state.attempt[which] = rules.retries
        _arrive(state, rules, draws, request, attempt, now_s)


@compiled
def _arrive(state: State, rules: Rules, draws: Draws, request: int, attempt: int, now_s: float) -> None:
    copy = state.tally[_COPIES]
    state.tally[_COPIES] += 1
    queue = _chosen(state, rules, draws)
    state.owner[copy], state.entered[copy], state.attempt[copy] = request, now_s, attempt
    if state.inside[queue] >= rules.limit:
        if state.done[request] == math.inf:
            state.status[request] = REFUSED
        if attempt < rules.retries:
            push(state.heap_s, state.heap_what, state.tally, now_s + rules.backoff_s, copy * _KINDS + _RETRY)
        return
    state.inside[queue] += 1
    state.link[copy] = -1
    if state.length[queue] == 0:
        state.head[queue] = copy
    else:
        state.link[state.tail[queue]] = copy
    state.tail[queue] = copy
    state.length[queue] += 1
    if attempt < rules.retries and rules.attempt_s < math.inf:
        push(state.heap_s, state.heap_what, state.tally, now_s + rules.attempt_s, copy * _KINDS + _TIMER)
    if state.idle_n[queue] > 0:
        _dispatch(state, rules, draws, queue, now_s)


@compiled
def _chosen(state: State, rules: Rules, draws: Draws) -> int:
    """The replica that the balancer sends the next copy to.

    CONNECTIONS: clients keep connections, each to one replica, and use the one idle for longest; a new one is accepted
    by the replica with the fewest requests (of `choices`).
    """
    if rules.replicas == 1:
        return 0
    if rules.balancer == ROUND_ROBIN:
        turn = state.tally[_TURN]
        state.tally[_TURN] = (turn + 1) % rules.replicas
        return int(turn)
    if rules.balancer == CONNECTIONS and state.tally[_TAKEN] < state.tally[_PUT]:
        state.tally[_TAKEN] += 1
        return int(state.pool[(state.tally[_TAKEN] - 1) % len(state.pool)])
    first = _pick(state, rules, draws)
    if rules.balancer == RANDOM:
        return first
    best = first
    for i in range(1, rules.choices):
        # All choices: a round from a random start. Fewer: drawn anew, as Envoy does.
        other = (first + i) % rules.replicas if rules.choices == rules.replicas else _pick(state, rules, draws)
        if state.inside[other] < state.inside[best]:
            best = other
    return best


@compiled
def _pick(state: State, rules: Rules, draws: Draws) -> int:
    draw = draws.picks[state.tally[_DRAWS] % len(draws.picks)]
    state.tally[_DRAWS] += 1
    return int(draw * rules.replicas)


@compiled
def _dispatch(state: State, rules: Rules, draws: Draws, queue: int, now_s: float) -> None:
    """Idle workers take what is ready: full batches at once, others when their oldest has waited long enough."""
    while state.length[queue] > 0 and state.idle_n[queue] > 0:
        ready_s = state.entered[state.head[queue]] + rules.wait_s
        if state.length[queue] < rules.max_batch and now_s < ready_s:
            if state.pending[queue] == 0:
                state.pending[queue] = 1
                push(state.heap_s, state.heap_what, state.tally, ready_s, queue * _KINDS + _WINDOW)
            return
        _begin(state, rules, draws, queue, now_s)


@compiled
def _begin(state: State, rules: Rules, draws: Draws, queue: int, now_s: float) -> None:
    base = queue * rules.workers
    worker = state.idle[base + state.idle_n[queue] - 1]
    size, first, weights = 0, -1, 0.0
    while size < rules.max_batch and state.length[queue] > 0:
        copy = state.head[queue]
        state.head[queue] = state.link[copy]
        state.length[queue] -= 1
        request = state.owner[copy]
        if now_s - state.due[request] > rules.deadline_s:
            _leave(state, queue)
            if state.done[request] == math.inf:
                state.status[request] = EXPIRED
            continue
        state.link[copy] = first
        first = copy
        size += 1
        weights += draws.weights[request]
    if size == 0:
        return
    machine = queue // rules.per_machine
    state.busy[machine] += 1
    state.idle_n[queue] -= 1
    state.first[worker] = first
    service_s = _service_s(state, draws, size, weights / size, state.busy[machine])
    state.total_s[0] += service_s
    copy = first
    while copy >= 0:
        state.place[copy] = size
        request = state.owner[copy]
        if state.done[request] == math.inf:
            state.began[request] = now_s
            state.served[request] = service_s
        copy = state.link[copy]
    push(state.heap_s, state.heap_what, state.tally, now_s + service_s, worker * _KINDS + _END)


@compiled
def _leave(state: State, queue: int) -> None:
    """A copy is answered; its connection is idle and, being the last to become so, the last to be used again."""
    state.inside[queue] -= 1
    state.pool[state.tally[_PUT] % len(state.pool)] = queue
    state.tally[_PUT] += 1


@compiled
def _service_s(state: State, draws: Draws, size: int, weight: float, busy: int) -> float:
    row = 0 if size == 1 else 1
    draw = draws.noise[row, state.tally[_BATCHES] % draws.noise.shape[1]]
    state.tally[_BATCHES] += 1
    stretch = draws.stretch[min(busy, len(draws.stretch) - 1)]
    return float(stretch * (draws.curve[size] * draw * weight + draws.each_s * size))


@compiled
def _end(state: State, rules: Rules, worker: int, now_s: float) -> None:
    queue = worker // rules.workers
    copy = state.first[worker]
    while copy >= 0:
        request = state.owner[copy]
        if state.done[request] == math.inf:
            state.done[request], state.status[request] = now_s, ANSWERED
            state.batch[request] = state.place[copy]
        else:
            state.tally[WASTED] += 1
        _leave(state, queue)
        copy = state.link[copy]
    state.first[worker] = -1
    state.busy[queue // rules.per_machine] -= 1
    state.idle[queue * rules.workers + state.idle_n[queue]] = worker
    state.idle_n[queue] += 1
