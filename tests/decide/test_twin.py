"""The twin against queues whose truth is known in closed form or by another recursion."""

import math
import multiprocessing

import numpy as np
import pytest
from scipy import special

from harness.decide.twin import (
    Clients,
    Service,
    Structure,
    Twin,
    at_rate,
    at_rates,
    ceiling,
    play,
    poisson_s,
    requests_for,
)

pytestmark = pytest.mark.simulated

EXPONENTIAL = np.random.default_rng(5).standard_exponential((2, 200_003))
EXPONENTIAL /= EXPONENTIAL.mean(axis=1, keepdims=True)
CONSTANT = np.ones((2, 1))
NO_WAY = np.zeros(1)


def service(noise: np.ndarray, *curve_s: float, stretch: tuple[float, ...] = (1.0,)) -> Service:
    return Service(np.array([0.0, *curve_s]), np.array([1.0, *stretch]), noise, NO_WAY)


def test_one_server_follows_lindley_request_by_request() -> None:
    due = poisson_s(90.0, 5_000, 3)
    twin = Twin(Structure(), service(EXPONENTIAL, 0.01))
    random = np.random.default_rng(3)
    services = 0.01 * EXPONENTIAL[0][random.integers(EXPONENTIAL.shape[1], size=len(due))]
    done, expected = 0.0, []
    for arrival, seconds in zip(due, services, strict=True):
        done = max(done, arrival) + seconds
        expected.append(done - arrival)
    np.testing.assert_allclose(play(twin, due, 3).latency_s, expected, rtol=1e-9)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_exponential_server_has_the_closed_form_p99(load: float) -> None:
    seen = at_rate(Twin(Structure(), service(EXPONENTIAL, 0.01)), load * 100, 400_000)
    assert seen.quantile_s(0.99) == pytest.approx(-math.log(0.01) / (100 - 100 * load), rel=0.06)
    assert seen.busy == pytest.approx(load, rel=0.02)


def test_constant_service_waits_half_as_long_as_exponential() -> None:
    seen = at_rate(Twin(Structure(), service(CONSTANT, 0.01)), 80.0, 150_000)
    assert float(seen.queue_s.mean()) == pytest.approx(0.8 * 0.01 / (2 * 0.2), rel=0.05)


@pytest.mark.parametrize(("workers", "load"), [(3, 0.7), (12, 0.85)])
def test_a_shared_queue_makes_as_many_wait_as_erlang_says(workers: int, load: float) -> None:
    offered = workers * load
    terms = [offered**k / special.factorial(k) for k in range(workers)]
    last = offered**workers / special.factorial(workers) / (1 - load)
    waits = last / (sum(terms) + last)
    seen = at_rate(Twin(Structure(workers=workers), service(EXPONENTIAL, 0.01)), offered * 100, 300_000)
    assert float(np.mean(seen.queue_s > 1e-12)) == pytest.approx(waits, rel=0.05)
    assert float(seen.queue_s.mean()) == pytest.approx(waits * 0.01 / (workers * (1 - load)), rel=0.1)


def test_random_replicas_are_queues_of_their_own() -> None:
    seen = at_rate(Twin(Structure(replicas=20, balancer="random"), service(EXPONENTIAL, 0.01)), 20 * 70, 200_000)
    assert seen.quantile_s(0.99) == pytest.approx(-math.log(0.01) / 30, rel=0.06)


def test_a_balancer_that_looks_does_better_than_one_that_turns_and_that_than_chance() -> None:
    p99 = {name: at_rate(Twin(Structure(replicas=10, balancer=name), service(EXPONENTIAL, 0.01)), 850,
                         60_000).quantile_s(0.99) for name in ("random", "round_robin", "least", "connections")}
    assert p99["random"] > p99["round_robin"] > p99["least"]
    assert p99["connections"] < p99["random"]


def test_the_power_of_two_choices_at_scale() -> None:
    """Mitzenmacher (2001): with many replicas at load λ a share λ^(2^i − 1) of them holds i or more."""
    load = 0.9
    seen = at_rate(Twin(Structure(replicas=500, balancer="least"), service(EXPONENTIAL, 0.01)), 500 * 100 * load,
                   200_000)
    held = sum(load ** (2**i - 1) for i in range(1, 12))
    assert float(seen.latency_s.mean()) == pytest.approx(held / load * 0.01, rel=0.05)


def test_a_batch_waits_for_company_no_longer_than_told() -> None:
    twin = Twin(Structure(max_batch=8, wait_s=0.02), service(CONSTANT, *(0.01,) * 8))
    seen = play(twin, np.array([0.0, 0.005, 1.0, 2.0, *(2.001,) * 7]), 0)
    assert seen.latency_s[:3] == pytest.approx([0.03, 0.025, 0.03])
    assert seen.batch.tolist() == [2, 2, 1, *(8,) * 8]
    assert seen.latency_s[3] == pytest.approx(0.011)


def test_a_full_queue_refuses_and_clients_try_again() -> None:
    due = np.zeros(5)
    twin = Twin(Structure(limit=2), service(CONSTANT, 1.0))
    assert play(twin, due, 0).status.tolist() == [200, 200, 503, 503, 503]
    again = play(Twin(twin.structure, twin.service, Clients(retries=1, backoff_s=1.5)), due, 0)
    assert sorted(again.status.tolist()) == [200, 200, 200, 503, 503]
    assert sorted(again.latency_s)[:3] == pytest.approx([1.0, 2.0, 3.0])


def test_a_hedge_wins_where_the_first_is_stuck() -> None:
    slow = service(np.array([[10.0, 1.0], [1.0, 1.0]]), 0.1)
    structure = Structure(replicas=2, balancer="round_robin")
    for seed in range(20):
        alone = play(Twin(structure, slow), np.array([0.0]), seed).latency_s[0]
        hedged = play(Twin(structure, slow, Clients(hedge_s=0.2)), np.array([0.0]), seed)
        assert hedged.latency_s[0] <= alone
        if alone == pytest.approx(1.0) and hedged.latency_s[0] < 0.9:
            assert hedged.latency_s[0] == pytest.approx(0.3)
            assert hedged.wasted == 1
            return
    pytest.fail("no seed met a slow first copy and a quick second one")


def test_what_is_late_is_dropped_only_by_a_setup_that_reads_deadlines() -> None:
    due = np.linspace(0.0, 0.04, 5)
    clients = Clients(timeout_s=0.25, deadline_s=0.25)
    worked = play(Twin(Structure(), service(CONSTANT, 0.1), clients), due, 0)
    dropped = play(Twin(Structure(drops_late=True), service(CONSTANT, 0.1), clients), due, 0)
    assert worked.status.tolist() == [200, 200, 0, 0, 0]
    assert dropped.status.tolist() == [200, 200, 0, 504, 504]


def test_busy_neighbours_slow_a_worker_down() -> None:
    twin = Twin(Structure(workers=2), service(CONSTANT, 0.1, stretch=(1.0, 2.0)))
    assert play(twin, np.array([0.0, 0.0]), 0).latency_s == pytest.approx([0.1, 0.2])
    assert ceiling(twin) == pytest.approx(10.0)


def test_many_configurations_at_once_are_the_same_as_one_by_one() -> None:
    twins = [Twin(Structure(workers=k), service(EXPONENTIAL, 0.01)) for k in (1, 2, 3)]
    together = at_rates(twins, [50.0, 100.0, 150.0], 2_000)
    for twin, rate, seen in zip(twins, (50.0, 100.0, 150.0), together, strict=True):
        np.testing.assert_array_equal(seen.latency_s, at_rate(twin, rate, 2_000).latency_s)


def test_a_pool_of_processes_gives_the_same_answers_and_plays_fleets_in_full() -> None:
    """Sixty requests for each worker of a fleet, less those that settle."""
    twins = [Twin(Structure(), service(EXPONENTIAL, 0.01)),
             Twin(Structure(replicas=1_000, balancer="least"), service(EXPONENTIAL, 0.01))]
    rates = [50.0, 70_000.0]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        there = at_rates(twins, rates, 2_000, over=pool.starmap)
    assert [len(seen.latency_s) for seen in there] == [1_800, 54_000]
    for seen, here in zip(there, at_rates(twins, rates, 2_000), strict=True):
        np.testing.assert_array_equal(seen.latency_s, here.latency_s)
        assert seen.busy == here.busy


def test_no_fleet_is_played_for_ever() -> None:
    fleet = Twin(Structure(replicas=40_000, workers=3, balancer="least"), service(CONSTANT, 0.01))
    assert requests_for(fleet, 20_000) == 1_000_000
    assert requests_for(Twin(Structure(), service(CONSTANT, 0.01)), 20_000) == 20_000
