"""Quantiles against closed forms, scipy, and repeated simulation."""

import heapq
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.analyse.quantiles import (
    effective_size,
    kth_smallest,
    mean_interval,
    median,
    needed_samples,
    order_statistic_interval,
    pooled_quantile,
    quantile,
    rank,
)

Stay = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
latencies = st.lists(st.one_of(st.floats(0, 1e6, width=32), st.just(math.inf)), min_size=1, max_size=60)
shares = st.floats(0.001, 0.999)


def ordered(values: Any) -> NDArray[np.float32]:
    return np.sort(np.asarray(values, dtype=np.float32))


@pytest.mark.parametrize("n", [1, 2, 999, 40_000, 40_001])
@pytest.mark.parametrize("kind", ["random", "rising", "beat", "few values", "failed", "alike"])
def test_order_statistics_are_those_of_a_whole_sort(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    values = {"random": rng.exponential(size=n), "rising": np.arange(n) / 7, "beat": np.arange(n) % 16 + 0.25,
              "few values": rng.integers(0, 3, n), "alike": np.full(n, 1.5),
              "failed": np.where(rng.random(n) < 0.6, np.inf, rng.random(n))}[kind]
    whole = np.sort(values)
    assert [kth_smallest(values, k) for k in (0, n // 2, n - 1)] == [whole[0], whole[n // 2], whole[-1]]
    assert median(values) == np.median(values)


@given(st.lists(latencies, min_size=1, max_size=5), shares)
def test_pooling_is_the_quantile_of_everything_together(runs: list[list[float]], q: float) -> None:
    together = ordered([value for run in runs for value in run])
    assert pooled_quantile([ordered(run) for run in runs], q) == quantile(together, q)


@given(latencies, shares)
def test_a_quantile_is_the_smallest_value_with_enough_below(values: list[float], q: float) -> None:
    data = ordered(values)
    found = quantile(data, q)
    assert np.mean(data <= found) >= q - 1e-9
    assert np.mean(data < found) < q
    assert rank(q, len(data)) <= len(data)


@given(latencies, shares, shares)
def test_a_greater_share_has_no_smaller_quantile(values: list[float], p: float, q: float) -> None:
    data = ordered(values)
    assert quantile(data, min(p, q)) <= quantile(data, max(p, q))


def test_a_quantile_of_nothing_is_none() -> None:
    assert math.isnan(pooled_quantile([], 0.5))


def test_needed_samples_are_those_of_the_field() -> None:
    assert needed_samples(0.99) == 368
    assert needed_samples(0.999) == 3688
    assert needed_samples(0.01) == needed_samples(0.99)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [40, 500, 3001])
def test_order_statistics_agree_with_scipy(n: int, q: float) -> None:
    data = ordered(np.random.default_rng(n).exponential(size=n))
    found = order_statistic_interval(data, q)
    expected = stats.quantile_test(data, p=q).confidence_interval(0.95)
    for ours, theirs in ((found.low, expected.low), (found.high, expected.high)):
        assert ours == theirs or (math.isnan(ours) and not math.isfinite(theirs))


def test_fewer_effective_requests_widen_the_interval() -> None:
    data = ordered(np.random.default_rng(1).exponential(size=5000))
    full, thinned = (order_statistic_interval(data, 0.9, effective=n) for n in (5000, 500))
    assert thinned.low < full.low
    assert full.high < thinned.high
    assert math.isnan(order_statistic_interval(data, 0.99, effective=100).high)


def test_independent_requests_count_fully() -> None:
    sizes = [effective_size(np.random.default_rng(seed).random(20_000) > 0.99) for seed in range(20)]
    assert np.mean(sizes) == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("n", [30_000, 400_000])
def test_effective_size_of_an_autoregression_is_its_closed_form(n: int) -> None:
    """Sign of an AR(1): correlation at lag k is 2/π·asin(ρᵏ) (Sheppard 1899)."""
    rho, rng, found = 0.9, np.random.default_rng(n), []
    truth = n / (1 + 2 * float(np.sum(2 / np.pi * np.arcsin(rho ** np.arange(1, 300)))))
    from scipy.signal import lfilter  # noqa: PLC0415
    for _ in range(5):
        found.append(effective_size(lfilter([1.0], [1.0, -rho], rng.normal(size=n)) > 0))
    assert np.mean(found) == pytest.approx(truth, rel=0.15)


@given(st.lists(st.booleans(), max_size=300))
def test_effective_size_is_between_one_and_all(above: list[bool]) -> None:
    size = effective_size(np.asarray(above, dtype=np.bool_))
    assert min(1, len(above)) <= size <= len(above)


def test_means_agree_with_scipy() -> None:
    data = [3.0, 4.5, 2.2, 5.1, 3.9]
    low, high = stats.t.interval(0.95, 4, np.mean(data), stats.sem(data))
    found = mean_interval(data)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_single_server_p99_is_the_closed_form(sojourn: Stay) -> None:
    """M/M/1: time in system is exponential with rate µ − λ (Kleinrock 1975, §5)."""
    mu, load, rng = 1000.0, 0.7, np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(1 / (mu * load), 2_000_000))
    stay = sojourn(arrivals, rng.exponential(1 / mu, len(arrivals)))
    found = quantile(ordered(stay * 1e3), 0.99)
    assert found == pytest.approx(-math.log(0.01) / (mu - mu * load) * 1e3, rel=0.03)


def test_many_servers_wait_as_erlang_says() -> None:
    """M/M/c: P(wait > t) = C(c, a)·exp(−(cµ − λ)t), C being Erlang's delay formula."""
    c, load, rng = 4, 0.6, np.random.default_rng(5)
    offered = c * load
    arrivals = np.cumsum(rng.exponential(1 / offered, 300_000))
    free, waits = [0.0] * c, np.empty(len(arrivals))
    for i, (arrival, service) in enumerate(zip(arrivals, rng.exponential(1.0, len(arrivals)), strict=True)):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + service)
        waits[i] = start - arrival
    terms = [offered**k / math.factorial(k) for k in range(c)]
    last = offered**c / math.factorial(c) / (1 - load)
    delayed = last / (sum(terms) + last)
    expected = math.log(delayed / 0.01) / (c - offered)
    assert quantile(ordered(waits), 0.99) == pytest.approx(expected, rel=0.05)
