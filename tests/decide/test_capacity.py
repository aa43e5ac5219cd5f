"""A capacity search against a simulated server whose boundary is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog.slo import parse_promise
from harness.decide.capacity import Probe, Result, Search, Settings, search
from harness.decide.capacity_boundary import boundary, tuned
from harness.decide.capacity_verdict import limited, overloaded, verdict_of
from harness.decide.twin import Clients, Service, Structure, Twin, ceiling, faster, play, poisson_s
from harness.decide.twin_seen import Seen, most_answered
from harness.errors import TailraceError

pytestmark = pytest.mark.simulated

SERVICE_S, LIMIT_S = 0.005, 0.05
NOISE = np.random.default_rng(3).standard_exponential((2, 50_000))
SERVER = Twin(Structure(), Service(np.array([0.0, SERVICE_S]), np.ones(2), NOISE / NOISE.mean(axis=1, keepdims=True),
                                   np.zeros(1)), Clients(timeout_s=30.0))
TRUTH = 1 / SERVICE_S + math.log(0.01) / LIMIT_S
PROMISE = (parse_promise("p(99)", "< 50ms"),)


def asked(probe: Probe, server: Twin = SERVER) -> Result:
    due = poisson_s(probe.rate, int(probe.requests * 1.2) + 50, probe.seed + 30)
    due = due[due < probe.duration_s]
    seen = play(server, due, probe.seed + 60)
    return Result(Seen(f"run-{probe.seed}", len(due) / probe.duration_s, due, seen.latency_s,
                       np.ones(len(due), dtype=bool), seen.batch, seen.served_s, seen.served_s + seen.queue_s))


def test_an_exponential_server_is_known_to_within_a_few_percent() -> None:
    """M/M/1: p99 = ln(100) / (µ − λ), so the promise ends at µ − ln(100) / limit."""
    found = search(asked, PROMISE, Structure(), Clients(timeout_s=30.0),
                   Settings(plan=((0.98, 12_000),)))
    assert found.rate.value == pytest.approx(TRUTH, rel=0.06)
    assert found.rate.low < found.rate.value < found.rate.high
    assert len(found.sent) <= 6
    assert found.requests <= 50_000
    assert (found.binding, found.shape) == ("latency", "smooth")
    assert not found.last_passed > 1.02 * TRUTH
    assert not found.first_failed < 0.98 * TRUTH
    assert most_answered([each.result.seen for each in found.sent]) == pytest.approx(1 / SERVICE_S, rel=0.05)
    assert math.isnan(most_answered([]))


def flood(probe: Probe) -> Result:
    """What a probe records of a server that answers all at once; warm-up included."""
    due = poisson_s(probe.rate, int(probe.requests * 1.5 + 2 * probe.rate) + 50, probe.seed) - 1.0
    due = due[due < probe.duration_s]
    zero = np.full(len(due), 1e-6)
    return Result(Seen(f"run-{probe.seed}", float((due >= 0).sum()) / probe.duration_s, due, zero, due >= 0,
                       np.ones(len(due), dtype=np.int64), zero, zero))


@given(st.lists(st.floats(5.0, 60_000.0), max_size=6), st.integers(1_000, 60_000), st.sampled_from([0.5, 1.0, 4.0]))
@settings(max_examples=30, deadline=None)
def test_the_budget_of_requests_is_kept_at_any_speed(rates: list[float], budget: int, least_s: float) -> None:
    """Poisson counts are some more than expected: 2 %, and four deviations of the budget."""
    under = Search(flood, PROMISE, Structure(), Clients(), Settings(requests=budget, least_s=least_s))
    for rate in rates:
        wanted = min(rate, under.reach)
        if under.affords_s(wanted) >= least_s:
            under.send("load", wanted, 12_000)
    assert sum(len(each.result.seen.due_s) for each in under.sent) <= budget * 1.02 + 4 * math.sqrt(budget)


def test_a_setup_beyond_what_the_requests_can_show_has_no_capacity() -> None:
    found = search(flood, PROMISE, Structure(), Clients(timeout_s=30.0), Settings(requests=1_500, plan=()))
    assert math.isnan(found.rate.value)
    assert "more than 1,500 requests can show" in found.why
    assert found.requests <= 1_500


def test_a_disturbed_probe_neither_certifies_nor_shifts_what_calm_ones_say() -> None:
    plan = Settings(plan=((0.9, 4_000), (0.9, 4_000)))

    def disturbed(probe: Probe) -> Result:
        result = asked(probe)
        if len(sent) == 3:
            slow = replace(result.seen, latency_s=result.seen.latency_s + 5.0)
            result = Result(slow, "the host paused", "host")
        sent.append(probe)
        return result

    sent: list[Probe] = []
    shaken = search(disturbed, PROMISE, Structure(), Clients(timeout_s=30.0), plan)
    assert len(sent) == 4
    assert shaken.sent[3].verdict == "invalid"
    assert shaken.rate.value == pytest.approx(TRUTH, rel=0.08)


def test_a_disturbed_light_probe_is_sent_once_more() -> None:
    def shaken(probe: Probe) -> Result:
        result = asked(probe)
        sent.append(probe.kind)
        slow = replace(result.seen, latency_s=result.seen.latency_s + 1.0)
        return Result(slow, "the host paused", "host") if len(sent) == 1 else result

    sent: list[str] = []
    found = search(shaken, PROMISE, Structure(), Clients(timeout_s=30.0), Settings(plan=((0.98, 12_000),)))
    assert sent[:3] == ["light", "light", "burst"]
    assert found.rate.value == pytest.approx(TRUTH, rel=0.06)


def test_the_burst_saturates_a_server_whose_batches_wait_for_company() -> None:
    """A lone request takes 28 ms, 25 of them waiting; full batches of eight carry 1 260 a second."""
    law = Service(0.0026 + 0.00047 * np.arange(9), np.ones(2), np.ones((2, 100)), np.zeros(1))
    waiting = Twin(Structure(max_batch=8, wait_s=0.025), law, Clients(timeout_s=30.0))
    found = search(lambda probe: asked(probe, waiting), PROMISE, waiting.structure, waiting.clients, Settings(plan=()))
    assert sum(each.probe.kind == "burst" for each in found.sent) <= 2
    assert found.sent[-1].result.seen.saturated


def test_a_server_that_drowns_is_judged_by_the_loads_it_carries() -> None:
    """Under a tenth more than it can carry it works a third slower, as one does that must also keep connections."""
    def drowning(probe: Probe) -> Result:
        return asked(probe, replace(SERVER, service=replace(SERVER.service, curve_s=SERVER.service.curve_s * 1.5))
                     if probe.rate > 1.1 / SERVICE_S else SERVER)

    found = search(drowning, PROMISE, Structure(), Clients(timeout_s=30.0),
                   Settings(plan=((0.98, 12_000), (1.3, 4_000), (0.98, 12_000))))
    assert found.rate.value == pytest.approx(TRUTH, rel=0.06)


def test_what_it_carries_for_a_moment_is_not_its_capacity() -> None:
    """Bursts are answered twice as fast as loads: until the first hiccup, which no probe so short meets."""
    hasty = replace(SERVER, service=replace(SERVER.service, curve_s=SERVER.service.curve_s / 2))
    found = search(lambda probe: asked(probe, hasty if probe.kind == "burst" else SERVER), PROMISE, Structure(),
                   Clients(timeout_s=30.0))
    assert found.rate.value <= 1.03 / SERVICE_S
    assert found.rate.low <= found.rate.value <= found.rate.high <= found.first_failed


def test_a_generator_that_gives_out_in_the_burst_does_not_end_the_search() -> None:
    """More is sent than can be carried, on purpose: what limits it does not matter while loads can be sent."""
    def late(probe: Probe) -> Result:
        result = asked(probe)
        return Result(result.seen, "its CPU was full", "generator") if probe.kind == "burst" else result

    found = search(late, PROMISE, Structure(), Clients(timeout_s=30.0), Settings(plan=((0.9, 3_000), (0.98, 8_000))))
    assert found.rate.value == pytest.approx(TRUTH, rel=0.06)


@given(st.floats(1.3, 5.0), st.integers(1_500, 6_000), st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_a_load_that_drowns_the_server_fails_without_a_steady_state(load: float, n: int, seed: int) -> None:
    rate = load / SERVICE_S
    due = poisson_s(rate, n, seed)
    drowned = play(SERVER, due, seed)
    counted = np.ones(n, dtype=bool)
    seen = Seen("run", n / float(due[-1]), due, drowned.latency_s, counted, drowned.batch, drowned.served_s,
                drowned.served_s + drowned.queue_s)
    assert overloaded(seen, PROMISE)
    assert verdict_of(seen, PROMISE) == "fail"


@given(st.floats(0.05, 0.7), st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_a_load_that_is_carried_is_never_called_too_much(load: float, seed: int) -> None:
    due = poisson_s(load / SERVICE_S, 3_000, seed)
    carried = play(SERVER, due, seed)
    seen = Seen("run", 3_000 / float(due[-1]), due, carried.latency_s, np.ones(3_000, dtype=bool), carried.batch,
                carried.served_s, carried.served_s + carried.queue_s)
    assert not overloaded(seen, PROMISE)


def kept(rate: float, late_s: float, answered: float | None = None, every: int = 80) -> Seen:
    """A load of ten seconds of which one in so many took `late_s`; or that drowned, and answered fewer than came."""
    due = np.arange(int(10 * rate)) / rate
    latency = np.where(np.arange(len(due)) % every == 0, late_s, 0.001)
    if answered is not None:
        latency = due * (rate / answered - 1) + 1.0
    none = np.full(len(due), np.nan)
    return Seen("run", rate, due, latency, np.ones(len(due), bool), np.zeros(len(due), np.int64), none, none)


@pytest.mark.parametrize(("loads", "at_most"), [
    ([], 200.0),
    ([kept(150.0, 0.02)], 200.0),
    ([kept(150.0, 0.02), kept(180.0, 0.09)], 200.0),  # 1.25 % broke it: chance
    ([kept(150.0, 0.02), kept(180.0, 0.09, every=30)], 180.0),
    ([kept(150.0, 0.02), kept(220.0, 0.02, answered=190.0)], 190.0),
    ([kept(150.0, 0.02), kept(160.0, 0.02, answered=140.0)], 150.0),     # carried more than a flood left of it
    ([kept(150.0, 0.02, answered=120.0), kept(180.0, 0.02)], 200.0),     # what a higher load kept is kept
])
def test_nothing_is_promised_above_a_load_that_broke_the_promise_with_none_above_that_kept_it(
        loads: list[Seen], at_most: float) -> None:
    twins = boundary(SERVER, PROMISE, 10_000)
    assert limited(replace(twins, rate=200.0), loads, PROMISE).rate == pytest.approx(at_most, rel=0.01)


def test_loads_of_a_machine_that_changes_its_speed_weigh_alike_and_are_known_less_well() -> None:
    """Of a server 20 % faster for one load and 20 % slower for the next nobody knows the speed to 2 %."""
    even = [asked(Probe("load", 150.0, 40.0, seed)).seen for seed in range(3)]
    moody = [asked(Probe("load", 150.0, 40.0, seed), faster(SERVER, speed)).seen
             for seed, speed in enumerate((0.85, 1.0, 1.18))]
    steady, known = tuned(SERVER, even, 0.99)
    between, guessed = tuned(SERVER, moody, 0.99)
    assert ceiling(steady) == pytest.approx(1 / SERVICE_S, rel=0.03)
    assert ceiling(between) == pytest.approx(1 / SERVICE_S, rel=0.08)
    assert guessed > 2 * known


def test_a_generator_at_its_limit_is_refused() -> None:
    def late(probe: Probe) -> Result:
        result = asked(probe)
        return result if probe.rate < 100 else Result(result.seen, "requests went out late", "generator")

    found = search(late, PROMISE, Structure(), Clients(timeout_s=30.0))
    assert found.binding == "generator"
    assert math.isnan(found.rate.value)
    assert "generator" in found.why


def test_a_host_that_disturbs_the_generator_is_not_called_its_limit() -> None:
    """Whose fault it is stands in `blames`, whatever the sentence names."""
    def unanswered(probe: Probe) -> Result:
        seen = asked(probe).seen
        return Result(replace(seen, latency_s=np.full(len(seen.due_s), np.inf)),
                      "other processes used 93% of the generator's CPUs", "host")

    found = search(unanswered, PROMISE, Structure(), Clients(timeout_s=30.0))
    assert found.binding == "latency"
    assert found.why == "other processes used 93% of the generator's CPUs"


def test_a_promise_broken_at_every_load_has_no_capacity() -> None:
    found = search(asked, (parse_promise("p(99)", "< 6ms"),), Structure(), Clients(timeout_s=30.0),
                   Settings(plan=((0.9, 1_000),)))
    assert math.isnan(found.rate.value)
    assert "every load" in found.why


def test_goodput_cannot_be_searched_for() -> None:
    with pytest.raises(TailraceError, match="latency or errors"):
        search(asked, (parse_promise("goodput", "> 100"),), Structure(), Clients())
