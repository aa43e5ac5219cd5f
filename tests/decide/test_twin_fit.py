"""A fit finds what a simulated setup was made of; predictions know their range."""

from dataclasses import replace

import numpy as np
import pytest

from harness.decide.twin import ENDLESS, Clients, Service, Structure, Twin, ceiling, play, poisson_s
from harness.decide.twin_fit import fitted
from harness.decide.twin_law import shown
from harness.decide.twin_predict import learned, loads, p99_of, predicted, seen_p99
from harness.decide.twin_read import seen_of
from harness.decide.twin_seen import Seen, batches
from harness.decide.twin_warm import Warmth
from harness.decide.twin_weights import Lengths, Weights
from harness.record.schema import ABSENT, SCHEMA, RunMeta

pytestmark = pytest.mark.simulated

NO_LENGTHS = np.zeros(0, dtype=np.int64)
CLIENTS = Clients(timeout_s=30.0)
NOISE = np.random.default_rng(2).lognormal(0, 0.2, (2, 20_000))
NOISE /= NOISE.mean(axis=1, keepdims=True)
OVERHEAD = np.full(50, 0.001)
BATCHING = Twin(Structure(workers=2, max_batch=8), Service(
    0.004 + 0.002 * np.arange(9) - np.eye(9)[0] * 0.004, np.array([1.0, 1.0, 1.2]), NOISE, OVERHEAD), CLIENTS)
KEPT = Twin(Structure(replicas=3, balancer="connections", per_machine=3),
            Service(np.array([0.0, 0.008]), np.array([1.0, 1.0, 1.1, 1.3]), NOISE, OVERHEAD), CLIENTS)


def recorded(twin: Twin, rate: float, n: int, tells: bool, seed: int = 0, lengths: Lengths = NO_LENGTHS) -> Seen:
    due = poisson_s(rate, n, seed)
    seen = play(twin, due, seed + 50, lengths=lengths)
    nothing = np.full(n, np.nan)
    return Seen(f"run-{rate:g}-{seed}", rate, due, seen.latency_s, np.ones(n, dtype=bool),
                seen.batch if tells else np.zeros(n, dtype=np.int64), seen.served_s if tells else nothing,
                seen.served_s + seen.queue_s if tells else nothing, lengths)


def test_batches_are_put_together_again_from_their_members() -> None:
    run = recorded(BATCHING, 500.0, 4_000, tells=True)
    size, busy, seconds, length = batches(run, 2)
    assert not length.any()
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


def test_the_tail_of_a_law_untold_is_that_of_lone_requests_at_every_load() -> None:
    """One in two hundred takes ten times as long: of the 150 of a light run seldom more than one."""
    rare = np.where(np.arange(20_000) % 200, 1.0, 10.0)
    law = Service(np.array([0.0, 0.008]), np.ones(2), np.tile(rare / rare.mean(), (2, 1)), np.zeros(1))
    runs = [recorded(Twin(Structure(), law, CLIENTS), rate, n, tells=False, seed=3)
            for rate, n in ((5.0, 150), (80.0, 20_000))]
    noise = fitted(runs, Structure(), CLIENTS, factors=np.ones(1)).service.noise
    assert noise.shape[1] > 2_000
    assert np.mean(noise[0] > 5) == pytest.approx(1 / 200, rel=0.5)


def test_a_load_moves_the_usual_way_there_and_back_and_not_its_tail() -> None:
    """1 ms usually, 4 ms for one in fifty; at a tenth of the load 1.5 ms usually, and 4.5 ms for that one."""
    way = np.where(np.arange(20_000) % 50, 0.001, 0.004)
    law = Service(np.array([0.0, 1e-5]), np.ones(2), np.ones((2, 10)), way,
                  warm=Warmth(beside=((20.0, 1.5), (200.0, 1.0))))
    runs = [recorded(Twin(Structure(), law, CLIENTS), rate, n, tells=True, seed=4)
            for rate, n in ((20.0, 3_000), (200.0, 10_000))]
    for run, usual, tail in zip(runs, (0.0015, 0.001), (0.0045, 0.004), strict=True):
        assert run.quantiles_s((0.5, 0.99)) == pytest.approx([usual, tail], rel=0.05)
    found = fitted(runs, Structure(), CLIENTS, factors=np.ones(1)).service
    assert len(found.overhead_s) > 10_000
    assert np.quantile(found.overhead_s, (0.5, 0.99)) == pytest.approx([0.001, 0.004], rel=0.05)


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


def texts(n: int, seed: int) -> Lengths:
    """Bytes of payloads of which a few are long."""
    return np.asarray(np.random.default_rng(seed).lognormal(4.0, 0.7, n), dtype=np.int64)


def test_what_a_payload_s_length_costs_is_found_and_tells_a_run_s_own_tail() -> None:
    """Half of the time of a mean payload goes with its bytes; a run with few long ones has a shorter tail."""
    slope, every = 0.5, texts(50_000, 1)
    weighing = replace(BATCHING, service=replace(BATCHING.service, weights=Weights(slope, every)))
    runs = [recorded(weighing, rate, 3_000, tells=True, seed=int(rate), lengths=texts(3_000, int(rate)))
            for rate in (30.0, 150.0, 400.0)]
    twin = fitted(runs, Structure(workers=2, max_batch=8), CLIENTS)
    assert twin.service.weights.slope == pytest.approx(slope, rel=0.05)
    assert float(twin.service.noise[0].std()) == pytest.approx(0.2, rel=0.1)
    for most in (60, 10_000):
        run = recorded(weighing, 90.0, 3_000, tells=True, seed=8, lengths=np.minimum(texts(3_000, 8), most))
        assert p99_of(twin, [run]) == pytest.approx(seen_p99([run]), rel=0.06)


def test_payloads_unlike_in_length_that_cost_alike_weigh_alike() -> None:
    runs = [recorded(BATCHING, rate, 3_000, tells=True, seed=int(rate)) for rate in (30.0, 150.0, 400.0)]
    runs = [replace(run, lengths=texts(3_000, 5)) for run in runs]
    assert fitted(runs, Structure(workers=2, max_batch=8), CLIENTS).service.weights.slope == pytest.approx(0, abs=0.03)


def test_a_server_that_is_slower_when_it_idles_is_found() -> None:
    """Serving takes 1.7 times as long at a hundredth of the heaviest load, the way there and back 2.2 times; most of
    either is gained at one step between two of the loads."""
    warm = Warmth(((10.0, 1.7), (60.0, 1.6), (250.0, 1.05), (1_000.0, 1.0)),
                  beside=((10.0, 2.2), (60.0, 2.0), (250.0, 1.0), (1_000.0, 1.0)))
    cold = Twin(Structure(), Service(np.array([0.0, 0.0006]), np.ones(2), NOISE, np.full(50, 0.0004), warm=warm),
                CLIENTS)
    runs = [recorded(cold, rate, 3_000, tells=True, seed=int(rate)) for rate in (10.0, 60.0, 250.0, 1_000.0)]
    twin = fitted(runs, Structure(), CLIENTS, factors=np.ones(1))
    for rate in (10.0, 60.0, 250.0):
        assert twin.service.warm.factors(rate) == pytest.approx(warm.factors(rate), rel=0.07)
    assert twin.service.warm.factors(1.0) == pytest.approx(twin.service.warm.factors(10.0), rel=0.01)
    assert ceiling(twin) == pytest.approx(ceiling(cold), rel=0.03)
    run = recorded(cold, 120.0, 3_000, tells=True, seed=3)
    assert p99_of(twin, [run]) == pytest.approx(seen_p99([run]), rel=0.06)
    assert play(twin, run.due_s, 0).quantile_s(0.5) == pytest.approx(float(np.median(run.latency_s)), rel=0.03)


def test_what_a_request_costs_the_core_beside_predicting_is_read_from_how_busy_it_was() -> None:
    """One core: 0.1 ms of predicting, and 0.65 ms beside it at 200 requests a second but 0.2 ms at 4 000; it tells of
    the former only. A twin that takes that for a way which holds nobody up has queues too short."""
    costs = {200.0: 6.5e-4, 500.0: 5e-4, 1_000.0: 4e-4, 4_000.0: 2e-4}
    dearer = tuple((rate, each - 2e-4) for rate, each in costs.items())
    beside = tuple((rate, (each + 1e-4) / 3e-4) for rate, each in costs.items())
    one = Twin(Structure(), Service(np.array([0.0, 1e-4]), np.ones(2), NOISE, np.full(50, 1e-4), each_s=2e-4,
                                    warm=Warmth(beside=beside, dearer_s=dearer)), CLIENTS)

    def seen(rate: float, n: int) -> Seen:
        run, each_s = recorded(one, rate, n, tells=True, seed=int(rate)), 2e-4 + one.service.warm.more_s(rate)
        return replace(run, model_s=run.model_s - each_s, inside_s=run.inside_s - each_s, cores=1,
                       busy=min(rate * (1e-4 + each_s), 1.0))

    runs, held = [seen(rate, 8_000) for rate in (200.0, 500.0, 4_000.0)], [seen(1_000.0, 8_000)]
    assert [run.saturated for run in (*runs, *held)] == [False, False, True, False]
    twin = fitted(runs, Structure(), CLIENTS)
    assert twin.service.each_s + twin.service.warm.more_s(500.0) == pytest.approx(5e-4, rel=0.1)
    assert p99_of(twin, held) == pytest.approx(seen_p99(held), rel=0.12)
    taken = fitted([*runs[:-1], replace(runs[-1], busy=0.5)], Structure(), CLIENTS)
    assert taken.service.each_s + taken.service.warm.more_s(500.0) == pytest.approx(5e-4, rel=0.1), "full is full"
    blind = fitted([replace(run, cores=0) for run in runs], Structure(), CLIENTS, factors=np.ones(1))
    assert p99_of(blind, held) < 0.8 * seen_p99(held)


def test_cores_show_what_a_request_costs_where_each_worker_has_one_and_a_run_filled_them() -> None:
    run = replace(recorded(KEPT, 100.0, 500, tells=True), cores=3, busy=2.8)
    assert not run.saturated
    assert shown([replace(run, busy=0.5), run], 3)
    assert not shown([replace(run, busy=0.5), replace(run, busy=2.0)], 3)
    assert not shown([run], 2)
    assert not shown([run, replace(run, busy=np.nan)], 3)


def test_what_a_lone_request_spends_in_a_queue_is_its_way_to_a_worker() -> None:
    """A broker takes 0.5 ms to hand a request over, and the setup counts that as its queue."""
    one = replace(KEPT, structure=Structure(), service=replace(KEPT.service, stretch=np.ones(2)))
    runs = [recorded(one, rate, 3_000, tells=True, seed=int(rate)) for rate in (10.0, 40.0, 80.0)]
    runs = [replace(run, latency_s=run.latency_s + 5e-4, inside_s=run.inside_s + 5e-4) for run in runs]
    found = fitted(runs, Structure(), CLIENTS, factors=np.ones(1)).service
    assert float(np.median(found.overhead_s)) + found.each_s == pytest.approx(0.0015, rel=0.05)


def test_the_largest_batch_that_a_setup_builds_is_seen_in_its_batches() -> None:
    """Allowed 32, it builds none above 1, as where batches do not pay; or builds what it may."""
    free = Structure(workers=1, max_batch=32)
    service = Service(0.004 * np.arange(33), np.ones(2), NOISE, OVERHEAD)
    for pays in (1, ENDLESS):
        builds = Twin(replace(free, pays=pays), service, CLIENTS)
        runs = [recorded(builds, rate, 3_000, tells=True, seed=int(rate)) for rate in (60.0, 130.0, 200.0)]
        twin = fitted(runs, free, CLIENTS)
        assert twin.structure.largest == min(32, pays)
        run = recorded(builds, 170.0, 3_000, tells=True, seed=6)
        assert p99_of(twin, [run]) == pytest.approx(p99_of(builds, [run]), rel=0.1)


def test_one_load_tells_nothing_of_others() -> None:
    runs = [recorded(BATCHING, 100.0, 1_000, tells=True, seed=seed) for seed in range(3)]
    assert fitted(runs, Structure(workers=2, max_batch=8), CLIENTS).service.warm.factors(1.0) == (1.0, 1.0)


def test_repetitions_of_a_load_are_held_out_together() -> None:
    runs = [recorded(KEPT, rate, 500, tells=False, seed=seed) for rate in (120.0, 20.0, 210.0) for seed in range(2)]
    runs = [replace(run, rate=run.rate * (1 + 0.04 * (i % 2))) for i, run in enumerate(runs)]
    assert [[run.run_id for run in load] for load in loads(runs)] == [
        ["run-20-0", "run-20-1"], ["run-120-0", "run-120-1"], ["run-210-0", "run-210-1"]]
    apart = [replace(runs[0], asked=120.0), replace(runs[1], asked=120.0, rate=1.2 * runs[0].rate),
             replace(runs[2], asked=140.0, rate=runs[0].rate)]
    assert [len(load) for load in loads(apart)] == [2, 1]


def stopped_at(at_s: float) -> RunMeta:
    """A run of a constant load that was stopped after so many seconds."""
    asked = {"name": "steady", "title": "Steady", "question": "?", "seed": 1,
             "stage": [{"arrivals": "constant", "duration_s": 60.0, "rate": 100.0}]}
    return RunMeta(
        schema=SCHEMA, run_id="run", status="ok", reason="", setup="toy", workload="echo", scenario="steady", load=1.0,
        repetition=0, block=0, order=0, started_utc="2026-11-23T00:00:00Z", finished_utc="2026-11-23T00:00:10Z",
        machine_id="m", plan="p", baseline="", knobs={}, scenario_resolved=asked, setup_facts={}, workload_facts={},
        seeds={}, server_cpus=[0], load_cpus=[1], hashes={}, versions={}, git={}, facts={"stopped": {"at_s": at_s}})


def test_of_a_load_stopped_early_all_answers_tell_the_throughput() -> None:
    """One request, due early, is left hanging while later ones are answered: they count in no quantile, but were
    served."""
    n = 400
    due_ns = np.arange(n) * 10_000_000
    late = np.arange(n) == 40
    rows = {"seq": np.arange(n), "stage": np.zeros(n, dtype=np.int64), "due_ns": due_ns,
            "done_ns": np.where(late, ABSENT, due_ns + 5_000_000), "status": np.where(late, 0, 200),
            "error": np.where(late, "aborted", "").astype(object), "batch": np.ones(n, dtype=np.int64),
            **{name: np.full(n, 3_000) for name in ("queue_us", "wait_us", "model_us")},
            **{name: np.full(n, ABSENT) for name in ("copy_us", "kernel_us")}}
    run = seen_of(stopped_at(4.0), rows, pool=np.array([10, 30]))
    assert run.rate == pytest.approx(100.0)
    assert run.asked == 100.0
    assert run.throughput() == pytest.approx(100.0, rel=0.01)
    assert int(run.counted.sum()) == 40
    assert run.lengths[:3].tolist() == [10, 30, 10]
