"""The queue's oracle against closed forms and a plain recursion."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.load.calibrate import BLOCK_NS, service_times_ns
from harness.load.oracle import departures

queues = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=60)


def plainly(arrivals: list[int], services: list[int], stall_from: int, stall: int) -> list[int]:
    left, last = [], 0
    for arrival, service in zip(arrivals, services, strict=True):
        start = max(arrival, last)
        if stall_from <= start < stall_from + stall:
            start = stall_from + stall
        last = start + service
        left.append(last)
    return left


@given(queues, st.integers(0, 20_000), st.integers(0, 5000))
def test_departures_follow_the_recursion(queue: list[tuple[int, int]], stall_from: int, stall: int) -> None:
    arrivals = np.cumsum([gap for gap, _ in queue])
    services = np.array([service for _, service in queue])
    expected = plainly(arrivals.tolist(), services.tolist(), stall_from, stall)
    assert departures(arrivals, services, stall_from, stall).tolist() == expected


def test_mm1_sojourn_is_exponential() -> None:
    """P(T > t) = exp(−(µ − λ)t) in an M/M/1 queue."""
    random, n = np.random.default_rng(1), 2_000_000
    arrivals = np.cumsum(random.exponential(1 / 500, n) * 1e9).astype(np.int64)
    services = (random.exponential(1 / 1000, n) * 1e9).astype(np.int64)
    p99_s = np.quantile(departures(arrivals, services) - arrivals, 0.99) / 1e9
    assert abs(p99_s / (-math.log(0.01) / 500) - 1) < 0.05


def test_now_and_then_a_request_takes_long() -> None:
    rate = np.concatenate([np.full(4000, 2000.0), np.full(1000, 500.0)])
    service_ns = service_times_ns(rate, 1)
    assert np.flatnonzero(service_ns >= BLOCK_NS).tolist() == [375, 1875, 3375, 4093, 4468, 4843]
