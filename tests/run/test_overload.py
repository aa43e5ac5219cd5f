"""When a run is stopped for asking too much: a queue that only grows, and nothing else."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from harness.catalog.scenario import Scenario
from harness.run.generators import Progress
from harness.run.overload import Overload

STEADY: dict[str, Any] = {"arrivals": "poisson", "rate": 500, "duration_s": 60}


def scenario(*stages: dict[str, Any], limit: str = "< 100ms") -> Scenario:
    return Scenario.model_validate({"name": "x", "title": "x", "question": "x", "seed": 1, "stage": stages or [STEADY],
                                    "slo": {"p(99)": limit}})


def stopped_at(asked: Scenario, sent: Callable[[float], float], done: Callable[[float], float],
               times_s: Iterable[float] = tuple(np.arange(-1, 60, 0.5))) -> float:
    watch = Overload(asked)
    for t_s in times_s:
        n = int(sent(t_s + 1))
        if watch.stop_now(Progress(t_s, n, min(n, int(done(t_s + 1))), 0, math.nan, math.nan)):
            return float(t_s)
    return math.inf


def test_a_queue_that_only_grows_is_stopped_early_and_says_so() -> None:
    assert 2 <= stopped_at(scenario(), lambda t: 500 * t, lambda t: 400 * t) < 8
    watch = Overload(scenario())
    said = [watch.stop_now(Progress(t, int(500 * t), int(300 * t), 0, math.nan, math.nan))
            for t in np.arange(0.5, 10, 0.5)]
    assert next(filter(None, said)).startswith("over capacity: ")


def test_a_queue_that_would_not_wait_long_goes_on() -> None:
    assert stopped_at(scenario(), lambda t: 500 * t, lambda t: 499 * t) == math.inf
    assert stopped_at(scenario(limit="< 20s"), lambda t: 500 * t, lambda t: 400 * t) > 50


def test_a_stall_a_hang_and_a_burst_are_not_taken_for_it() -> None:
    def stalled(t: float) -> float:
        return 500 * t if t < 5 else max(2500, 500 * (t - 5) * 2 - 1000) if t < 9 else 500 * t

    assert stopped_at(scenario(), lambda t: 500 * t, stalled) == math.inf
    assert stopped_at(scenario(), lambda t: 500 * t, lambda t: min(500 * t, 2000)) == math.inf
    assert stopped_at(scenario(), lambda t: 500 * t + (2000 if t > 5 else 0), lambda t: 550 * t) == math.inf


@pytest.mark.parametrize("seed", range(5))
def test_random_stable_queues_go_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    waiting = np.abs(np.cumsum(rng.normal(0, 30, 200)))
    assert stopped_at(scenario(), lambda t: 500 * t + 1000, lambda t: 500 * t + 1000 - waiting[int(2 * t)]) == math.inf


def test_load_meant_to_go_beyond_is_never_stopped() -> None:
    ramp = scenario({**STEADY, "rate_end": 900})
    stages = scenario(STEADY, STEADY)
    closed = scenario({"arrivals": "closed", "users": 9, "duration_s": 60})
    for asked in (ramp, stages, closed):
        assert stopped_at(asked, lambda t: 500 * t, lambda t: 200 * t) == math.inf
