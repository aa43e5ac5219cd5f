"""Warm-up, drift, pauses and queues that only grow, in streams whose answer is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.analyse.steady import growth, mser5, stalls, trend, warm_up

Sojourn = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def mm1(sojourn: Sojourn, seed: int, utilisation: float, n: int = 4000) -> NDArray[np.float64]:
    """Sojourn times in ms at one exponential server of mean 1 ms that starts empty."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1e-3 / utilisation, n))
    return np.asarray(sojourn(arrivals, rng.exponential(1e-3, n)) * 1e3)


def brute_mser5(values: NDArray[np.float64]) -> int:
    means = values[:len(values) // 5 * 5].reshape(-1, 5).mean(axis=1)
    errors = [means[d:].var() / (len(means) - d) for d in range(len(means) - 5)]
    return int(np.argmin(errors)) * 5


@given(st.integers(0, 10_000), st.integers(100, 400), st.floats(0, 3))
def test_mser5_is_the_truncation_of_least_standard_error(seed: int, n: int, step: float) -> None:
    values = np.random.default_rng(seed).normal(size=n) + step * (np.arange(n) < n // 4)
    assert mser5(values) == brute_mser5(values)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cold", [60, 300, 900])
def test_a_cold_start_is_cut_where_it_ends(seed: int, cold: int) -> None:
    rng = np.random.default_rng(seed)
    found = warm_up(rng.lognormal(0, 0.4, 2400) * np.where(np.arange(2400) < cold, 2.5, 1.0))
    assert found.settled
    assert abs(found.requests - cold) <= 15
    assert found.ratio == pytest.approx(2.5, rel=0.2)


def test_what_never_settles_is_said_so() -> None:
    rng = np.random.default_rng(1)
    found = warm_up(rng.lognormal(0, 0.3, 2000) * np.where(np.arange(2000) < 1100, 6.0, 1.0))
    assert found.requests == 1000
    assert not found.settled


def test_queues_that_start_empty_have_no_warm_up_to_cut(sojourn: Sojourn) -> None:
    found = [warm_up(mm1(sojourn, seed, utilisation)).requests
             for utilisation in (0.2, 0.5, 0.8, 0.9) for seed in range(60)]
    assert np.count_nonzero(found) <= 2


def test_failed_requests_are_left_out_of_the_search() -> None:
    rng = np.random.default_rng(2)
    latency = rng.lognormal(0, 0.3, 2000) * np.where(np.arange(2000) < 400, 3.0, 1.0)
    latency[::7] = np.inf
    assert abs(warm_up(latency).requests - 400) <= 20
    assert warm_up(np.full(500, np.inf)).requests == 0


def test_a_drift_is_told_with_its_size() -> None:
    rng = np.random.default_rng(3)
    line = trend(rng.lognormal(0, 0.4, 4000) * np.linspace(1, 1.6, 4000))
    assert line is not None
    assert line.p_value < 1e-4
    assert line.ratio == pytest.approx(1.6, rel=0.1)
    bent = trend(rng.lognormal(0, 0.3, 500) * (1.6 + 8e-3 * np.arange(500)))
    assert bent is not None
    assert bent.p_value < 1e-4
    assert trend(np.ones(399)) is None


def test_what_wanders_does_not_drift(sojourn: Sojourn) -> None:
    accused = [line for utilisation in (0.3, 0.7, 0.9) for seed in range(100)
               if (line := trend(mm1(sojourn, seed, utilisation))) and line.p_value < 1e-4]
    assert len(accused) <= 2


def test_a_queue_beyond_capacity_grows_and_one_below_does_not(sojourn: Sojourn) -> None:
    over, under = growth(mm1(sojourn, 4, 1.15)), growth(mm1(sojourn, 4, 0.8))
    assert over is not None
    assert under is not None
    assert over.p_value < 1e-6
    assert over.ratio > 5
    assert under.p_value > 1e-3 or under.ratio < 2


def test_what_failed_all_along_does_not_grow() -> None:
    failed = growth(np.full(2000, np.inf))
    assert failed is not None
    assert failed.ratio == 1


def stream(pauses_s: list[float], length_s: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """500 requests a second of 2 ms for 4 s; what is in a pause is answered at its end, one every 0.1 ms."""
    sent = np.arange(2000) / 500
    done = sent + 2e-3
    for start in pauses_s:
        inside = (done > start) & (sent < start + length_s)
        done[inside] = start + length_s + np.arange(np.count_nonzero(inside)) * 1e-4
    return (sent * 1e9).astype(np.int64), (done * 1e9).astype(np.int64)


def test_pauses_are_found_with_their_beat() -> None:
    beat = stalls(*stream([0.3, 0.9, 1.5, 2.1, 2.7, 3.3], 0.06))
    assert len(beat.spans_ns) == 6
    assert beat.every_s == pytest.approx(0.6, abs=0.01)
    assert np.diff(beat.spans_ns).mean() / 1e6 == pytest.approx(60, abs=5)
    once = stalls(*stream([1.0], 0.5))
    assert len(once.spans_ns) == 1
    assert np.isnan(once.every_s)
    uneven = stalls(*stream([0.3, 0.5, 1.6, 1.9, 3.5], 0.06))
    assert len(uneven.spans_ns) == 5
    assert np.isnan(uneven.every_s)


def test_batches_answered_together_are_no_pauses_and_a_stall_of_most_of_the_run_is_one() -> None:
    sent = np.arange(2000) * 2_000_000
    batches = (sent // 64_000_000 + 2) * 64_000_000 + np.arange(2000) % 32 * 10_000
    assert len(stalls(sent, batches).spans_ns) == 0
    frozen = np.where((sent > 10**9) & (sent < 35 * 10**8), 35 * 10**8 + np.arange(2000) * 100, sent + 2_000_000)
    [[start, end]] = stalls(sent, frozen).spans_ns
    assert (start / 1e9, end / 1e9) == (pytest.approx(1.0, abs=0.01), pytest.approx(3.5, abs=0.01))


def test_a_lull_without_requests_is_no_pause(sojourn: Sojourn) -> None:
    sent, done = stream([], 0)
    keep = (sent < 1e9) | (sent > 2e9)
    assert len(stalls(sent[keep], done[keep]).spans_ns) == 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        arrivals = np.cumsum(rng.exponential(2e-3, 2000))
        stay = sojourn(arrivals, rng.exponential(1.6e-3, 2000))
        assert len(stalls((arrivals * 1e9).astype(np.int64), ((arrivals + stay) * 1e9).astype(np.int64)).spans_ns) == 0
