"""A fit finds what a simulated setup was made of; predictions know their range."""

from dataclasses import replace

import numpy as np
import pytest

from harness.decide.twin import Clients, Service, Structure, Twin, ceiling, play, poisson_s
from harness.decide.twin_fit import Seen, batches, fitted
from harness.decide.twin_predict import learned, predicted

pytestmark = pytest.mark.simulated

CLIENTS = Clients(timeout_s=30.0)
NOISE = np.random.default_rng(2).lognormal(0, 0.2, (2, 20_000))
NOISE /= NOISE.mean(axis=1, keepdims=True)
OVERHEAD = np.full(50, 0.001)
BATCHING = Twin(Structure(workers=2, max_batch=8), Service(
    0.004 + 0.002 * np.arange(9) - np.eye(9)[0] * 0.004, np.array([1.0, 1.0, 1.2]), NOISE, OVERHEAD), CLIENTS)
KEPT = Twin(Structure(replicas=3, balancer="connections", per_machine=3),
            Service(np.array([0.0, 0.008]), np.array([1.0, 1.0, 1.1, 1.3]), NOISE, OVERHEAD), CLIENTS)


def recorded(twin: Twin, rate: float, n: int, tells: bool, seed: int = 0) -> Seen:
    due = poisson_s(rate, n, seed)
    seen = play(twin, due, seed + 50)
    nothing = np.full(n, np.nan)
    return Seen(f"run-{rate:g}-{seed}", rate, due, seen.latency_s, np.ones(n, dtype=bool),
                seen.batch if tells else np.zeros(n, dtype=np.int64), seen.served_s if tells else nothing,
                seen.served_s + seen.queue_s if tells else nothing)


def test_batches_are_put_together_again_from_their_members() -> None:
    run = recorded(BATCHING, 500.0, 4_000, tells=True)
    size, busy, seconds = batches(run, 2)
    assert float((size * 1.0).sum()) == pytest.approx(4_000, rel=0.02)
    assert set(np.unique(busy)) <= {1, 2}
    assert float(seconds[(size == 1) & (busy == 1)].mean()) == pytest.approx(0.006, rel=0.05)


def test_a_law_told_is_found() -> None:
    runs = [recorded(BATCHING, rate, 3_000, tells=True, seed=int(rate)) for rate in (30.0, 400.0, 3_000.0)]
    twin = fitted(runs, Structure(workers=2, max_batch=8), CLIENTS)
    assert twin.service.curve_s[1] == pytest.approx(0.006, rel=0.05)
    assert ceiling(twin) == pytest.approx(ceiling(BATCHING), rel=0.06)


def test_a_law_untold_is_found_from_lone_requests_and_a_burst() -> None:
    runs = [recorded(KEPT, rate, 3_000, tells=False, seed=int(rate)) for rate in (20.0, 900.0)]
    twin = fitted(runs, Structure(workers=3, balancer="connections"), CLIENTS)
    assert ceiling(twin) == pytest.approx(ceiling(KEPT), rel=0.05)


def test_a_server_that_tells_little_of_its_work_and_must_be_woken_is_found() -> None:
    """It tells a fifth of what a request costs it, and one that finds it idle waits 1.5 ms more."""
    quick = replace(KEPT, structure=Structure(), service=Service(np.array([0.0, 0.0005]), np.ones(2), NOISE, OVERHEAD))

    def seen(rate: float, n: int) -> Seen:
        due = poisson_s(rate, n, int(rate))
        played = play(quick, due, 7)
        told = played.served_s / 5
        return Seen(f"run-{rate:g}", rate, due, played.latency_s + 0.0015 * (played.queue_s <= 0),
                    np.ones(n, dtype=bool), np.ones(n, dtype=np.int64), told, told)

    twin = fitted([seen(20.0, 300), seen(1_200.0, 6_000), seen(6_000.0, 6_000)], Structure(), CLIENTS,
                  factors=np.ones(1))
    assert ceiling(twin) == pytest.approx(2_000.0, rel=0.03)
    assert twin.service.spared >= 1 / 3


def test_a_run_too_short_to_tell_its_throughput_is_fitted_all_the_same() -> None:
    twin = fitted([recorded(KEPT, 20.0, 25, tells=True)], Structure(workers=3, balancer="connections"), CLIENTS)
    assert twin.service.curve_s[1] == pytest.approx(0.008, rel=0.2)
    assert np.all(np.isfinite(twin.service.overhead_s))


def test_the_ceiling_is_not_that_of_a_run_that_drowned() -> None:
    """Under far too much load it answers half as fast as under a little too much."""
    drowning = replace(BATCHING, service=replace(BATCHING.service, stretch=BATCHING.service.stretch * 2))
    runs = [recorded(BATCHING, rate, 3_000, tells=True, seed=int(rate)) for rate in (30.0, 400.0, 900.0)]
    twin = fitted([*runs, recorded(drowning, 6_000.0, 3_000, tells=False, seed=1)], Structure(workers=2, max_batch=8),
                  CLIENTS)
    assert ceiling(twin) == pytest.approx(ceiling(BATCHING), rel=0.06)


def test_a_load_never_measured_is_predicted_within_its_error() -> None:
    hint = Structure(workers=3, balancer="connections")
    runs = [recorded(KEPT, rate, 4_000, tells=False, seed=int(rate)) for rate in (20.0, 120.0, 220.0, 900.0)]
    known = learned(runs, hint, CLIENTS)
    said = predicted(known, known.twin, 170.0)
    truth = play(KEPT, poisson_s(170.0, 200_000, 9), 9, 0.05).quantile_s(0.99) * 1e3
    assert said.abstains == ""
    assert said.p99_ms == pytest.approx(truth, rel=0.1)
    assert known.error < 0.15


def test_it_abstains_outside_its_range() -> None:
    hint = Structure(workers=3, balancer="connections")
    runs = [recorded(KEPT, rate, 2_000, tells=False, seed=int(rate)) for rate in (60.0, 120.0, 200.0, 900.0)]
    known = learned(runs, hint, CLIENTS)
    assert "without end" in predicted(known, known.twin, 600.0).abstains
    assert "below" in predicted(known, known.twin, 5.0).abstains
    assert "too few" in predicted(learned(runs[:2], hint, CLIENTS), known.twin, 120.0).abstains
    batching = learned([recorded(BATCHING, rate, 2_000, tells=True, seed=int(rate)) for rate in (50.0, 150.0, 250.0)],
                       Structure(workers=2, max_batch=8), CLIENTS)
    larger = replace(batching.twin, structure=replace(batching.twin.structure, max_batch=64, wait_s=0.2))
    assert "none above" in predicted(batching, larger, 250.0).abstains
