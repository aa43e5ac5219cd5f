"""Schedules: laws, determinism, and what may not depend on what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.catalog.scenario import Stage
from harness.errors import TailraceError
from harness.load.arrivals import due_times, expected_arrivals, share

rates = st.floats(0.5, 3000)
durations = st.floats(0.05, 5)
open_stages = st.one_of(
    st.builds(lambda kind, rate, d: Stage(arrivals=kind, rate=rate, duration_s=d),
              st.sampled_from(["constant", "poisson"]), rates, durations),
    st.builds(lambda kind, rate, end, d: Stage(arrivals=kind, rate=rate, rate_end=end, duration_s=d),
              st.sampled_from(["constant", "poisson"]), rates, rates, durations),
    st.builds(lambda rate, d, k: Stage(arrivals="burst", rate=rate, duration_s=d, burst=k), rates, durations,
              st.integers(1, 50)))
stage_lists = st.lists(open_stages, min_size=1, max_size=4)
seeds = st.integers(0, 2**31 - 1)


@given(stage_lists, seeds, st.floats(0, 3))
def test_ascending_and_inside_their_stages(stages: list[Stage], seed: int, warmup_s: float) -> None:
    due_ns, stage = due_times(stages, seed, warmup_s)
    assert due_ns.dtype == np.int64
    assert stage.dtype == np.int8
    assert (np.diff(due_ns) >= 0).all()
    assert (np.diff(stage) >= 0).all()
    start = 0
    for index, each in enumerate(stages):
        end = start + round(each.duration_s * 1e9)
        mine = due_ns[stage == index]
        assert ((mine >= start) & (mine < end)).all()
        start = end
    early = due_ns[stage == -1]
    assert ((early < 0) & (early >= -round(warmup_s * 1e9))).all()


@given(stage_lists, seeds, st.floats(0, 3), st.floats(0, 3))
def test_the_counted_schedule_ignores_the_warm_up(stages: list[Stage], seed: int, one: float, other: float) -> None:
    counted = []
    for warmup_s in (one, other):
        due_ns, stage = due_times(stages, seed, warmup_s)
        counted.append((due_ns[stage >= 0].tolist(), stage[stage >= 0].tolist()))
    assert counted[0] == counted[1]


@given(stage_lists, open_stages, seeds)
def test_a_stage_does_not_depend_on_later_ones(stages: list[Stage], more: Stage, seed: int) -> None:
    alone, _ = due_times(stages, seed, 0)
    longer, stage = due_times([*stages, more], seed, 0)
    assert longer[stage < len(stages)].tolist() == alone.tolist()


@given(stage_lists, seeds, st.integers(1, 8))
def test_workers_share_every_request_once(stages: list[Stage], seed: int, workers: int) -> None:
    due_ns, _ = due_times(stages, seed, 0.5)
    seqs = np.arange(len(due_ns))
    taken = np.concatenate([seqs[share(len(seqs), worker, workers)] for worker in range(workers)])
    assert sorted(taken.tolist()) == seqs.tolist()


@given(open_stages, seeds)
def test_counts(stage: Stage, seed: int) -> None:
    due_ns, _ = due_times([stage], seed, 0)
    mean = expected_arrivals(stage, stage.duration_s)
    if stage.arrivals == "constant":
        assert len(due_ns) == pytest.approx(mean, abs=1)
    elif stage.arrivals == "burst":
        assert len(due_ns) % stage.burst == 0
        assert 0 <= len(due_ns) - mean < stage.burst + 1e-6
        assert set(np.unique(due_ns, return_counts=True)[1].tolist()) <= set(range(0, len(due_ns) + 1, stage.burst))
    else:
        assert abs(len(due_ns) - mean) <= 7 * np.sqrt(mean) + 3


def test_same_seed_same_schedule_other_seed_another() -> None:
    stages = [Stage(arrivals="poisson", rate=200, duration_s=2)]
    assert due_times(stages, 7, 1)[0].tolist() == due_times(stages, 7, 1)[0].tolist()
    assert due_times(stages, 7, 1)[0].tolist() != due_times(stages, 8, 1)[0].tolist()


def test_the_seeded_schedule_is_the_one_of_earlier_releases() -> None:
    """A change here makes old and new runs incomparable: raise the record's schema with it."""
    due_ns, _ = due_times([Stage(arrivals="poisson", rate=100, rate_end=300, duration_s=1)], 7, 0)
    assert (len(due_ns), due_ns[:3].tolist()) == (216, [14_492_847, 15_645_136, 17_673_626])


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(seed: int) -> None:
    due_ns, _ = due_times([Stage(arrivals="poisson", rate=1000, duration_s=20)], seed, 0)
    assert stats.kstest(np.diff(due_ns) / 1e6, "expon").pvalue > 1e-3
    counts = np.bincount(due_ns // 100_000_000, minlength=200)
    assert 0.7 < counts.var() / counts.mean() < 1.4


@pytest.mark.parametrize("seed", range(3))
def test_a_poisson_ramp_is_poisson_in_its_own_time(seed: int) -> None:
    stage = Stage(arrivals="poisson", rate=100, rate_end=2000, duration_s=10)
    times_s = due_times([stage], seed, 0)[0] / 1e9
    rescaled = np.array([expected_arrivals(stage, t) for t in times_s])
    assert stats.kstest(np.diff(rescaled), "expon").pvalue > 1e-3
    first, second = (times_s < 5).sum(), (times_s >= 5).sum()
    assert second / first == pytest.approx(7625 / 2875, rel=0.1)


def test_a_constant_ramp_meets_its_beat() -> None:
    stage = Stage(arrivals="constant", rate=10, rate_end=30, duration_s=2)
    times_s = due_times([stage], 1, 0)[0] / 1e9
    assert len(times_s) == 40
    assert [expected_arrivals(stage, t) for t in times_s] == pytest.approx(range(40), abs=1e-6)


def test_constant_and_burst_are_exact() -> None:
    assert due_times([Stage(arrivals="constant", rate=4, duration_s=1)], 1, 0)[0].tolist() == [
        0, 250_000_000, 500_000_000, 750_000_000]
    assert due_times([Stage(arrivals="burst", rate=4, duration_s=1, burst=2)], 1, 0)[0].tolist() == [
        0, 0, 500_000_000, 500_000_000]


def test_warm_up_is_at_the_first_stages_rate() -> None:
    due_ns, stage = due_times([Stage(arrivals="constant", rate=100, rate_end=900, duration_s=1)], 1, 2)
    assert (stage == -1).sum() == 200
    assert np.diff(due_ns[stage == -1]).tolist() == [10_000_000] * 199


def test_what_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="closed"):
        due_times([Stage(arrivals="closed", users=3, duration_s=1)], 1, 0)
    with pytest.raises(ValueError, match="resolved"):
        due_times([Stage(arrivals="poisson", rate_per_core=3, duration_s=1)], 1, 0)
    with pytest.raises(TailraceError, match="lower the rate"):
        due_times([Stage(arrivals="poisson", rate=1e6, duration_s=3600)], 1, 0)


@settings(max_examples=20)
@given(st.floats(0.5, 50), seeds)
def test_a_flat_ramp_is_no_ramp(rate: float, seed: int) -> None:
    flat = Stage(arrivals="poisson", rate=rate, rate_end=rate, duration_s=2)
    steady = Stage(arrivals="poisson", rate=rate, duration_s=2)
    assert due_times([flat], seed, 0)[0].tolist() == due_times([steady], seed, 0)[0].tolist()
