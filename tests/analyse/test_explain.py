"""Runs in which one known thing makes the tail: the explanation names it, and its shares sum to one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.analyse.explain import Explanation, explained
from harness.analyse.explain_causes import CAUSES
from harness.analyse.explain_parts import PARTS, flights, parts_ms, whole
from harness.analyse.explain_pauses import stretches
from harness.analyse.explain_queue import backlog, plan_of
from harness.analyse.explain_usual import line
from harness.errors import TailraceError
from harness.record.schema import ABSENT, COLUMNS

Columns = dict[str, NDArray[Any]]
Seen = Callable[..., Any]
MS = 1_000_000


@dataclass(frozen=True)
class World:
    """A first-come-first-served server with `workers`, each request `service_ms` + `per_kb_ms` for its input, that
    stands still in `stops_s` (from, to); requests carry payload seq modulo len(bytes)."""

    due_s: NDArray[np.float64]
    service_ms: float = 2.0
    workers: int = 1
    noise: float = 0.05
    per_kb_ms: float = 0.0
    bytes: tuple[int, ...] = (100,)
    stops_s: tuple[tuple[float, float], ...] = ()
    lag_ms: NDArray[np.float64] | float = 0.02
    connect_ms: NDArray[np.float64] | float = 0.0
    receive_ms: NDArray[np.float64] | float = 0.03
    slow_ms: NDArray[np.float64] | float = 0.0
    gc_ms: NDArray[np.float64] | float = 0.0
    wait_ms: NDArray[np.float64] | float = 0.0
    tells: tuple[str, ...] = ("queue", "wait", "model")
    seed: int = 1


def later(at_s: float, work_s: float, stops_s: tuple[tuple[float, float], ...]) -> float:
    """When work begun at `at_s` is over, given the stops."""
    end = at_s
    for start, stop in stops_s:
        if end >= stop:
            continue
        if end + work_s <= start:
            break
        done = max(0.0, start - end)
        work_s, end = work_s - done, stop
    return end + work_s


def rows_of(world: World) -> Columns:
    """The columns that such a server leaves."""
    n, rng = len(world.due_s), np.random.default_rng(world.seed)
    lag, connect, receive, slow, gc, wait = (np.broadcast_to(np.asarray(each, dtype=np.float64), n) / 1e3 for each in (
        world.lag_ms, world.connect_ms, world.receive_ms, world.slow_ms, world.gc_ms, world.wait_ms))
    lengths = np.asarray(world.bytes)[np.arange(n) % len(world.bytes)]
    work = (world.service_ms + world.per_kb_ms * lengths / 1e3) * rng.lognormal(0, world.noise, n) / 1e3 + slow + gc
    sent = world.due_s + lag
    opened = sent + connect
    free, begin, end = np.zeros(world.workers), np.empty(n), np.empty(n)
    for i in np.argsort(opened, kind="stable"):
        k = int(np.argmin(free))
        begin[i] = max(opened[i] + 30e-6, free[k])
        end[i] = later(begin[i] + wait[i], work[i], world.stops_s)
        free[k] = end[i]
    first = end + 40e-6
    ns = {"due_ns": world.due_s, "sent_ns": sent, "first_byte_ns": first, "done_ns": first + receive}
    us = {"queue": begin - opened - 30e-6, "wait": wait, "model": end - begin - wait, "gc": gc}
    columns: Columns = {
        "seq": np.arange(n), "stage": np.where(world.due_s < 0, -1, 0),
        **{name: np.rint(at * 1e9) for name, at in ns.items()},
        "connected_ns": np.where(connect > 0, np.rint(opened * 1e9), ABSENT), "written_ns": np.full(n, ABSENT),
        "status": np.full(n, 200), "error": np.full(n, "", dtype=object), "bytes": np.full(n, 50), "batch": np.ones(n),
        **{f"{name}_us": np.rint(value * 1e6) if name in world.tells else np.full(n, -1) for name, value in us.items()},
        "cold": connect > 0, "judged": np.zeros(n),
    }
    return {name: values if COLUMNS[name] == "string" else values.astype(COLUMNS[name])
            for name, values in columns.items()}


def poisson(rate: float, seconds: float, seed: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.3)))
    return np.asarray(times[times < seconds])


def even(rate: float, seconds: float) -> NDArray[np.float64]:
    return np.arange(int(rate * seconds)) / rate


@pytest.fixture
def why(seen: Seen) -> Callable[..., Explanation]:
    """Explains a world whose stage asks for `rate` in the given law."""
    def make(world: World, rate: float, arrivals: str = "poisson", generator: dict[str, Any] | None = None,
             probes: dict[str, NDArray[Any]] | None = None, **stage: Any) -> Explanation:
        columns = rows_of(world)
        said = {"hiccup_realtime": True, "hiccup_pauses_ns": [], **(generator or {})}
        view = seen(columns, {"stage": [{"arrivals": arrivals, "rate": rate, "duration_s": 20.0, **stage}]},
                    facts={"generators": [said]})
        found = explained(view, columns, np.asarray(world.bytes, np.int32), probes or {})
        assert sum(found.shares.values()) == pytest.approx(1)
        assert set(found.shares) <= set(CAUSES)
        assert sum(found.main.values()) == found.slowest
        assert found.sums == 1
        return found
    return make


def some(n: int, every: int, value: float) -> NDArray[np.float64]:
    """`value` for one in `every`, else 0."""
    return np.where(np.arange(n) % every == every // 2, value, 0.0)


def cpu_of(stop_s: float, go_s: float) -> dict[str, NDArray[Any]]:
    """Probes of one server process that computes for 0.4 s a second but stands still from `stop_s` to `go_s`."""
    times = np.arange(-1.0, 21.0, 0.25)
    worked = 0.4 * (times + 1 - (np.clip(times, stop_s, go_s) - stop_s))
    return {"t_ns": np.rint(times * 1e9).astype(np.int64), "scope": np.full(len(times), "server", dtype=object),
            "pid": np.full(len(times), 7), "metric": np.full(len(times), "cpu_s", dtype=object), "value": worked}


NO_LOOK = {name: values[:0] for name, values in cpu_of(0.0, 0.0).items()}
BUSY = poisson(200, 20)
N = len(BUSY)
HELD_MS = np.maximum(0.02, np.where((BUSY > 5) & (BUSY < 5.4), (5.4 - BUSY) * 1e3, 0))  # none sent from 5 to 5.4 s
MET = {"generator": {"hiccup_pauses_ns": [[5_000 * MS, 5_400 * MS]]}}
KNOWN: dict[str, tuple[World, dict[str, Any]]] = {
    "server_pause told by CPU": (World(BUSY, stops_s=((5.0, 6.2),)), {"probes": cpu_of(5.0, 6.2)}),
    "server_pause nobody looked": (World(BUSY, stops_s=((5.0, 5.4),), workers=2, service_ms=6.0), {"probes": NO_LOOK}),
    "server_pause untold": (World(BUSY, stops_s=((5.0, 5.4),), workers=3, tells=()), {}),
    "server_pause two workers": (World(BUSY, stops_s=((5.0, 5.4),), workers=2, service_ms=6.0), {}),
    "host_pause": (World(BUSY, stops_s=((5.0, 5.4),)), MET),
    "host_pause late sends": (World(BUSY, lag_ms=HELD_MS), MET),
    "collection": (World(BUSY, gc_ms=some(N, 80, 40.0), tells=("queue", "wait", "model", "gc")), {}),
    "collection in the generator": (World(BUSY, lag_ms=HELD_MS),
                                    {"generator": {"gc_pauses_ns": [[5_000 * MS, 5_400 * MS]]}}),
    "burst": (World(np.repeat(even(5, 20), 40), workers=2), {"arrivals": "burst", "burst": 40}),
    "burst untold queue": (World(np.repeat(even(5, 20), 40), tells=("model",)), {"arrivals": "burst", "burst": 40}),
    "burst in poisson": (World(poisson(400, 20), noise=0.0), {"rate": 400.0}),
    "capacity": (World(even(510, 20), noise=0.0), {"arrivals": "constant", "rate": 510.0}),
    "long_input": (World(even(100, 20), per_kb_ms=2.0, bytes=(100,) * 59 + (20_000,), workers=3),
                   {"arrivals": "constant", "rate": 100.0}),
    "long_input ahead": (World(even(100, 20), per_kb_ms=2.0, bytes=(100,) * 79 + (40_000,)),
                         {"arrivals": "constant", "rate": 100.0}),
    "model": (World(BUSY, slow_ms=some(N, 80, 30.0), workers=3), {}),
    "batch": (World(BUSY, wait_ms=some(N, 80, 30.0), workers=4), {}),
    "cold": (World(BUSY, connect_ms=some(N, 80, 30.0)), {}),
    "network": (World(BUSY, receive_ms=np.maximum(0.03, some(N, 80, 30.0))), {}),
    "generator": (World(BUSY, lag_ms=np.maximum(0.02, some(N, 80, 30.0))), {}),
}


@pytest.mark.parametrize("case", KNOWN)
def test_the_known_cause_dominates(case: str, why: Callable[..., Explanation]) -> None:
    world, said = KNOWN[case]
    found = why(world, **{"rate": 200.0, **said})
    cause, *_ = case.split(" ")
    assert next(iter(found.shares)) == cause, found.shares
    assert found.shares[cause] > 0.6, found.shares
    assert found.examples[0].cause == cause


def test_parts_are_what_they_were_and_sum_to_the_whole() -> None:
    world = World(even(100, 5), noise=0.0, lag_ms=1.0, connect_ms=2.0, wait_ms=3.0, gc_ms=4.0, receive_ms=5.0,
                  workers=4, tells=("queue", "wait", "model", "gc"))
    seen = flights(rows_of(world), np.zeros(0))
    found = parts_ms(seen)
    truth = {"lag": 1.0, "connect": 2.0, "send": 0.0, "queue": 0.0, "wait": 3.0, "model": 2.0, "gc": 4.0,
             "respond": 0.07, "receive": 5.0}
    assert set(found) == set(PARTS) == set(truth)
    for name, value in truth.items():
        assert np.allclose(found[name], value, atol=0.002), name
    assert whole(seen, found) == 1


def test_a_setup_that_tells_more_than_it_took_is_not_believed() -> None:
    columns = rows_of(World(even(100, 5)))
    columns["model_us"] = columns["model_us"] * 10
    seen = flights(columns, np.zeros(0))
    assert not seen.told
    assert not seen.tells
    assert whole(seen, parts_ms(seen)) == 1


def test_one_answer_that_tells_too_much_is_seen_in_the_sum() -> None:
    columns = rows_of(World(even(100, 20)))
    columns["model_us"][7] *= 10
    seen = flights(columns, np.zeros(0))
    assert seen.told
    assert whole(seen, parts_ms(seen)) == pytest.approx(1 - 1 / 2000)


def test_what_is_unknown_is_said(why: Callable[..., Explanation]) -> None:
    said = " ".join(why(World(BUSY, tells=("model",), bytes=(0,)), rate=200.0).cannot)
    for word in ("does not tell its queue", "garbage collector", "lengths of the payloads", "Connecting was not timed"):
        assert word in said
    everything = World(BUSY, tells=("queue", "wait", "model", "gc"), connect_ms=some(N, 80, 1.0))
    assert why(everything, rate=200.0).cannot == ()


def test_a_long_input_without_known_lengths_is_a_slow_model(seen: Seen) -> None:
    columns = rows_of(World(even(100, 20), per_kb_ms=2.0, bytes=(100,) * 59 + (20_000,), workers=3))
    found = explained(seen(columns), columns, np.zeros(0, np.int32), {})
    assert next(iter(found.shares)) == "model"
    assert any("lengths of the payloads were not recorded" in line for line in found.cannot)


def test_a_pause_of_the_generators_core_alone_does_not_excuse_the_server(why: Callable[..., Explanation]) -> None:
    world = World(BUSY, slow_ms=some(N, 80, 30.0), workers=3)
    pauses = [[at * MS, (at + 400) * MS] for at in range(0, 20_000, 500)]  # while the server went on answering
    found = why(world, rate=200.0, generator={"hiccup_pauses_ns": pauses})
    assert next(iter(found.shares)) == "model"
    assert found.shares.get("host_pause", 0.0) < 0.05


def test_failures_are_counted_and_not_explained(seen: Seen) -> None:
    columns = rows_of(World(BUSY, slow_ms=some(N, 80, 30.0), workers=3))
    columns["status"][10:60] = 500
    found = explained(seen(columns), columns, np.zeros(0, np.int32), {})
    assert (found.failed, found.answered) == (50, N - 50)


def test_too_few_answers_are_one_sentence(seen: Seen) -> None:
    columns = rows_of(World(even(10, 5)))
    with pytest.raises(TailraceError, match="50 requests were answered"):
        explained(seen(columns), columns, np.zeros(0, np.int32), {})


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=8)


@settings(max_examples=60, deadline=None)
@given(spans=SPANS, at=st.tuples(st.integers(-5, 70), st.integers(-5, 70)).map(sorted))
def test_time_within_stretches_is_counted_once(spans: list[list[int]], at: list[int]) -> None:
    covered = {tick for start, end in spans for tick in range(start, end)}
    found = stretches([start * MS, end * MS] for start, end in spans)
    within = found.within(np.array([at[0] * MS]), np.array([at[1] * MS]))
    assert within.tolist() == [float(len(covered & set(range(*at))))]
    assert found.total_ms == len(covered)


@settings(max_examples=40, deadline=None)
@given(gaps=st.lists(st.integers(0, 5), min_size=3, max_size=40),
       stays=st.lists(st.integers(1, 20), min_size=40, max_size=40))
def test_a_backlog_is_what_came_and_did_not_leave(gaps: list[int], stays: list[int]) -> None:
    due = np.cumsum(gaps) / 1e3
    n = len(due)
    columns = rows_of(World(due))
    columns["done_ns"] = columns["due_ns"] + np.asarray(stays[:n]) * MS
    columns["sent_ns"] = columns["first_byte_ns"] = columns["due_ns"]
    seen = flights(columns, np.zeros(0))
    every = np.arange(n)
    truth = [sum(seen.done_ns[j] > seen.due_ns[i] for j in range(i)) for i in range(n)]
    assert seen.ahead.tolist() == truth
    met = backlog(seen, every, lambda at_ns: at_ns / MS)
    assert met.ahead.tolist() == truth
    assert np.all(met.since_ns <= seen.due_ns)
    there = met.ahead - met.came - met.left
    assert np.all(there <= np.maximum(met.ahead // 2, 0) + 1e-9)
    assert np.allclose(there, np.rint(there))


def test_a_line_is_found_through_noise_and_a_few_that_were_held_up() -> None:
    rng = np.random.default_rng(5)
    size, length = rng.integers(1, 9, 3000).astype(float), rng.uniform(50, 500, 3000)
    truth = 2 + 0.5 * size + 0.01 * length * size
    y = truth * rng.lognormal(0, 0.1, 3000)
    y[::100] += 500
    found = line(y, size=size, bytes=length, size_bytes=size * length)
    fitted = found.at(size=size, bytes=length, size_bytes=size * length)
    assert np.quantile(np.abs(fitted / truth - 1), 0.95) < 0.06


def test_planned_arrivals_follow_stages_and_warm_up(seen: Seen) -> None:
    columns = rows_of(World(poisson(100, 20)))
    view = seen(columns, {"stage": [{"arrivals": "poisson", "rate": 100.0, "rate_end": 200.0, "duration_s": 10.0},
                                    {"arrivals": "constant", "rate": 50.0, "duration_s": 10.0}]})
    planned = plan_of(view.scenario, flights(columns, np.zeros(0)))
    at_s = np.array([-1.0, 0.0, 10.0, 12.0, 30.0])
    assert planned(np.rint(at_s * 1e9).astype(np.int64)).tolist() == pytest.approx([-100, 0, 1500, 1600, 2000])
