"""Pairs of repetitions tell what requests alone would not, and no more than they can."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analyse.compare import against, between, compare, holm, paired
from harness.analyse.model import Cell, Check, Comparison, Interval, RunSummary
from harness.errors import TailraceError

NONE = Interval(math.nan, math.nan, math.nan)


def run(repetition: int, p99: float, goodput: float = 100.0, checks: tuple[Check, ...] = ()) -> RunSummary:
    return RunSummary(f"r{repetition}", repetition, "ok", "", checks, 1000, 100.0, 100.0, goodput, 0.0,
                      {0.5: p99 / 4, 0.99: p99})


def made(setup: str, p99s: list[float], **changes: object) -> Cell:
    cell = Cell(setup, "embed", "steady", 1.0, 100.0, False, tuple(run(i, p99) for i, p99 in enumerate(p99s)), {}, NONE,
                NONE, 0.0, "pass", "", (), {}, {}, 1.0, 1.0, 1.0, None, machine_id="box",
                hashes={"workload": "w", "scenario": "s"})
    return replace(cell, **changes)  # type: ignore[arg-type]


def by_metric(found: tuple[Comparison, ...]) -> dict[str, Comparison]:
    return {each.metric: each for each in found}


def test_a_clear_difference_is_told_with_its_ratio() -> None:
    cells = [made("flask", [100, 110, 90, 105, 95]), made("zmq", [50, 56, 45.5, 52, 48])]
    found = by_metric(compare(against(cells, "flask")))
    assert found["p99"].told
    assert found["p99"].ratio.value == pytest.approx(0.503, abs=0.01)
    assert found["p99"].ratio.low < 0.503 < found["p99"].ratio.high < 0.6
    assert found["p99"].pairs == 5
    assert not found["goodput"].told


def test_the_test_is_students_on_the_pairs() -> None:
    ours, theirs = np.array([51.0, 48, 61, 55, 50]), np.array([50.0, 47, 57, 54, 52])
    _, likelihood, _ = paired(list(np.log(ours / theirs)))
    assert likelihood == pytest.approx(float(stats.ttest_rel(np.log(ours), np.log(theirs)).pvalue))


def test_shared_noise_does_not_hide_a_small_difference() -> None:
    noise = [1.0, 1.6, 0.7, 1.3, 0.9]
    cells = [made("flask", [100 * n for n in noise]),
             made("zmq", [95 * n * e for n, e in zip(noise, (1.001, 0.999, 1.002, 1, 0.998), strict=True)])]
    assert by_metric(compare(against(cells, "flask")))["p99"].told


def test_no_difference_says_what_could_have_been_seen() -> None:
    found = by_metric(compare(against([made("a", [100, 90, 110, 95, 105]), made("b", [97, 104, 93, 108, 99])], "a")))
    assert not found["p99"].told
    assert 1.1 < found["p99"].detectable < 2


def test_what_is_detectable_is_detected_four_times_in_five() -> None:
    rng, trials, spread = np.random.default_rng(1), 2000, 0.07
    _, _, detectable = paired(list(spread * np.array([-1.0, 1, -0.9, 0.9, 0.5])))
    real = spread * float(np.std([-1.0, 1, -0.9, 0.9, 0.5], ddof=1))
    told = sum(paired(list(rng.normal(math.log(detectable), real, 5)))[1] < 0.05 for _ in range(trials))
    assert told / trials == pytest.approx(0.8, abs=0.08)


def test_identical_setups_are_rarely_called_different() -> None:
    rng = np.random.default_rng(2)
    false = sum(paired(list(rng.normal(0, 0.07, 5)))[1] < 0.05 for _ in range(2000))
    assert false / 2000 == pytest.approx(0.05, abs=0.015)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_is_that_of_the_book(p_values: list[float]) -> None:
    made_ = Comparison("a", "b", "w", "s", 1.0, "p99", NONE, 0.0, False, 1.0, 5)
    found = holm([replace(made_, p_value=p) for p in p_values])
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = []
    for place, index in enumerate(order):
        if p_values[index] * (len(p_values) - place) >= 0.05:
            break
        rejected.append(index)
    assert sorted(rejected) == [i for i, each in enumerate(found) if each.told]
    assert all(each.p_value >= p for each, p in zip(found, p_values, strict=True))


def test_a_setup_without_finite_p99_is_said_to_have_none() -> None:
    cells = [made("flask", [100, 110, 90]), made("zmq", [50, math.inf, 45])]
    found = by_metric(compare(against(cells, "flask")))["p99"]
    assert not found.told
    assert math.isnan(found.p_value)
    assert "zmq in 1 of 3" in found.note


def test_what_would_have_been_told_is_told_at_the_corrected_level() -> None:
    """With m left untold, the p-value needed is 5 % ÷ m: a shift of that size brings the p-value below it."""
    noise = np.array([1.03, 0.98, 1.02, 0.99, 1.0])
    pairs = [(made(f"s{i}", list(100 * noise)), made("base", [100.0] * 5)) for i in range(4)]
    found = [each for each in compare(pairs) if each.metric == "p99"]
    assert {each.family for each in found} == {12}
    _, _, alone = paired(list(np.log(noise)))
    assert found[0].detectable > alone
    _, likelihood, _ = paired(list(np.log(noise * found[0].detectable)))
    assert likelihood < 0.05 / 12


def test_invalid_runs_are_left_out_of_pairs() -> None:
    spoilt = made("zmq", [50, 50, 50])
    bad = replace(spoilt.runs[1], checks=(Check("lag", "invalid", "late"),))
    spoilt = replace(spoilt, runs=(spoilt.runs[0], bad, spoilt.runs[2]))
    assert by_metric(compare(against([made("flask", [90, 91, 92]), spoilt], "flask")))["p99"].pairs == 2


@pytest.mark.parametrize(("change", "noun"), [({"machine_id": "other"}, "machine"),
                                              ({"hashes": {"workload": "x", "scenario": "s"}}, "workload"),
                                              ({"hashes": {"workload": "w", "scenario": "x"}}, "scenario")])
def test_unlike_cells_are_refused_unless_forced(change: dict[str, object], noun: str) -> None:
    pairs = against([made("flask", [90, 91, 92]), made("zmq", [50, 51, 52], **change)], "flask")
    with pytest.raises(TailraceError, match=noun):
        compare(pairs)
    assert compare(pairs, force=True)


def test_cells_meet_their_like_only() -> None:
    cells = [made("flask", [1.0]), made("flask", [2.0], load=2.0),
             made("zmq", [3.0], load=2.0), made("zmq", [3.0], load=3.0)]
    assert [(a.setup, a.load, b.load) for a, b in against(cells, "flask")] == [("zmq", 2.0, 2.0)]
    assert len(between(cells, cells)) == 4


def test_a_ratio_that_would_have_shown_is_named_only_where_it_says_something() -> None:
    wide = Comparison("a", "b", "w", "s", 1.0, "p99", Interval(1.0, 0.1, 10.0), 0.6, False, 1e16, 2)
    assert holm([wide])[0].detectable == math.inf
