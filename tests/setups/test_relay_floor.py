"""What benchmarks/relay_floor.py makes of rows: the floor of `remote`, and the rate up to which its relay keeps up."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.load.oracle import departures
from harness.load.rows import Columns

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from relay_floor import RATES, kept_up, most, quantiles_ms

SERVICE_NS = 500_000  # of a server that does 2,000 a second


def rows(due_ns: NDArray[np.int64], latency_ns: NDArray[np.int64], warmup: int = 0) -> Columns:
    return {"due_ns": due_ns, "done_ns": due_ns + latency_ns, "error": np.full(len(due_ns), "", "U9"),
            "stage": np.where(np.arange(len(due_ns)) < warmup, -1, 0)}


def second_of(rate: float) -> Columns:
    due_ns = (np.arange(int(rate)) * 1e9 / rate).astype(np.int64)
    return rows(due_ns, departures(due_ns, np.full(len(due_ns), SERVICE_NS, np.int64)) - due_ns)


def test_warm_up_is_in_no_quantile_and_a_failure_in_all() -> None:
    due_ns = np.arange(300, dtype=np.int64) * 5_000_000
    latency_ns = np.concatenate([np.full(100, 90_000_000), np.arange(1, 201) * 10_000])
    found = rows(due_ns, latency_ns, warmup=100)
    assert quantiles_ms(found) == (1.0, 1.98)
    found["error"][150] = "timeout"
    assert quantiles_ms(found) == (float("inf"), float("inf"))
    assert not kept_up(found)


def test_what_a_queue_of_known_speed_keeps_up_with_is_found() -> None:
    assert kept_up(second_of(2000))
    assert not kept_up(second_of(2200))
    assert most(RATES, lambda rate: kept_up(second_of(rate))) == 2000


def test_a_pause_in_the_middle_is_no_queue_that_grows() -> None:
    found = second_of(500)
    paused = (found["due_ns"] > 4e8) & (found["due_ns"] < 5e8)
    found["done_ns"][paused] = 500_000_000
    assert kept_up(found)


@pytest.mark.parametrize("reached", range(len(RATES) + 1))
def test_bisection_finds_every_rung(reached: int) -> None:
    highest = RATES[reached - 1] if reached else 0.0
    assert most(RATES, lambda rate: rate <= highest) == highest
