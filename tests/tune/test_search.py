"""The search for knobs against settings whose worth is known."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analyse.model import Interval
from harness.catalog.discover import find_catalog
from harness.catalog.setup import Knob, read_setup
from harness.errors import TailraceError
from harness.tune.ramp import FROM, TO, Scored, ramp, through_capacity
from harness.tune.search import candidates, most_runs, search, survivors

pytestmark = pytest.mark.simulated

ROOT = Path(__file__).resolve().parents[2]
CHOICES = {"batch": [1, 2, 4, 8], "wait": [0, 5]}
DEFAULT: dict[str, Knob] = {"batch": 8, "wait": 5, "port": 1}


class Bench:
    """Measures settings whose mean is known, with noise that all settings of a repetition share and some of their
    own."""

    def __init__(self, worth: dict[int, float], own: float = 0.02, shared: float = 0.3, seed: int = 0) -> None:
        self.worth, self.own, self.shared, self.seed = worth, own, shared, seed
        self.asked: list[tuple[Knob, int]] = []

    def __call__(self, knobs: dict[str, Knob], repetition: int) -> float:
        batch = int(knobs["batch"])
        self.asked.append((batch, repetition))
        alike = random.Random(f"{self.seed}/{repetition}").gauss(0, self.shared)
        mine = random.Random(f"{self.seed}/{repetition}/{batch}").gauss(0, self.own)
        return self.worth[batch] * math.exp(alike + mine)


def settings(*batches: int) -> list[dict[str, Knob]]:
    return [{"batch": batch} for batch in batches]


def test_the_best_is_found_and_its_gain_is_in_the_interval() -> None:
    inside = 0
    for seed in range(40):
        bench = Bench({8: 100, 1: 60, 2: 90, 4: 130, 16: 105, 32: 70}, seed=seed)
        found = search(settings(8, 1, 2, 4, 16, 32), bench)
        assert found.knobs == {"batch": 4}
        assert found.better
        inside += found.ratio.low <= 1.3 <= found.ratio.high
        assert found.runs == len(bench.asked) <= most_runs(6, 5)
    assert inside >= 34  # 95 % of 40, give or take three standard deviations


def test_it_ends_early_where_nothing_is_better() -> None:
    ended = [search(settings(8, 1, 2, 4), Bench({8: 100, 1: 50, 2: 60, 4: 70}, seed=seed)) for seed in range(20)]
    assert all(found.knobs == {"batch": 8} for found in ended)
    assert all(not found.better for found in ended)
    assert {found.why for found in ended} == {"nothing tried is credibly better than the default"}
    assert max(found.runs for found in ended) < most_runs(4, 5) - 10


def test_equals_are_seldom_called_better() -> None:
    """All alike: fresh runs claim a gain in at most a few of a hundred searches (2.5 % each way is what 95 % means)."""
    alike = dict.fromkeys((8, 1, 2, 4, 16), 100.0)
    claimed = sum(search(settings(8, 1, 2, 4, 16), Bench(alike, seed=seed)).better for seed in range(200))
    assert claimed <= 12


def test_fresh_runs_are_of_repetitions_that_the_search_never_used() -> None:
    bench = Bench({8: 100, 4: 130})
    found = search(settings(8, 4), bench, fresh=3)
    spent, confirming = bench.asked[:-6], bench.asked[-6:]
    assert {r for _, r in spent}.isdisjoint({r for _, r in confirming})
    assert found.fresh == 3
    assert sorted(batch for batch, _ in confirming) == [4, 4, 4, 8, 8, 8]


def test_a_setting_that_answers_nothing_is_no_error() -> None:
    found = search(settings(8, 1), lambda knobs, _: 0.0 if knobs["batch"] == 1 else 50.0)
    assert found.knobs == {"batch": 8}


def test_one_repetition_ranks_and_more_must_convince() -> None:
    assert survivors({0: [10.0], 1: [9.0], 2: [20.0], 3: [15.0]}, 2) == [0, 2, 3]
    assert survivors({0: [10.0, 11.0, 10.5], 1: [9.0, 9.9, 9.4], 2: [20.0, 22.0, 21.0]}, 2) == [0, 2]


@given(st.integers(0, 30), st.integers(0, 1000))
def test_candidates_are_distinct_and_start_with_the_default(count: int, seed: int) -> None:
    drawn = candidates(CHOICES, DEFAULT, count, seed)
    assert drawn[0] == DEFAULT
    assert len(drawn) == 1 + min(count, 7)
    assert len({tuple(sorted(each.items())) for each in drawn}) == len(drawn)
    assert all(each["port"] == 1 and each["batch"] in CHOICES["batch"] for each in drawn)
    assert drawn == candidates(CHOICES, DEFAULT, count, seed)


def test_knobs_are_changed_one_and_two_at_a_time_each_in_its_turn() -> None:
    choices = {"workers": [4, 1, 2], "batch": [8, 1, 16, 32], "wait": [0, 5], "queue": [64, 16]}
    default: dict[str, Knob] = {name: values[0] for name, values in choices.items()}
    for seed in range(20):
        changes = [{name for name in each if each[name] != default[name]}
                   for each in candidates(choices, default, 8, seed)[1:]]
        assert [len(each) for each in changes] == [1, 1, 1, 1, 2, 2, 2, 2]
        assert set().union(*changes[:4]) == set(choices)
        assert {sum(name in each for each in changes[4:]) for name in choices} <= {1, 2, 3}
    many = candidates(choices, default, 40, 3)
    assert len({tuple(sorted(each.items())) for each in many}) == 41


def test_pairs_that_were_not_measured_validly_are_dropped() -> None:
    bench = Bench({8: 100, 4: 130, 2: 90})

    def some(knobs: dict[str, Knob], repetition: int) -> float:
        score = bench(knobs, repetition)
        return math.nan if (repetition % 4 == 2 and knobs["batch"] == 4) or repetition == 8 else score

    found = search(settings(8, 4, 2), some)
    assert found.knobs == {"batch": 4}
    assert 2 <= found.fresh < 5
    none = search(settings(8, 4), lambda *_: math.nan)
    assert (none.knobs, none.better) == ({"batch": 8}, False)
    assert none.why == "0 of 5 fresh pairs were measured validly, too few to tell"


def test_four_in_five_gains_of_the_named_size_are_told() -> None:
    found = [search(settings(8, 4), Bench({8: 100, 4: 105}, seed=seed), rungs=((1, 1),)) for seed in range(100)]
    least = sorted(each.detectable for each in found)[50]
    assert least == pytest.approx(1.05, abs=0.01)
    assert 68 <= sum(each.better for each in found) <= 92  # 80 of 100, give or take three standard deviations


@pytest.mark.parametrize("capacity", [0.3, 1.0, 2.5, 7.0])
def test_the_ramp_is_laid_through_what_can_be_carried(capacity: float) -> None:
    def measured(times: float) -> Scored:
        share = min(1.0, max(0.0, (capacity / times - FROM) / (TO - FROM)))
        return Scored(100 * share, share)

    times = through_capacity(measured)
    assert FROM * times < capacity < TO * times * 1.2


def test_the_ramp_keeps_the_promise_and_rises() -> None:
    scenario = find_catalog(ROOT).scenario("embed-steady").resolved(3)
    made = ramp(scenario, 5.0, 2.0)
    [stage] = made.stage
    assert (stage.rate, stage.rate_end, stage.duration_s) == (0.4 * 300, 2.0 * 300, 5.0)
    assert made.slo == scenario.slo


def test_what_is_searched_is_a_knob_and_its_values_can_be_given() -> None:
    catalog = find_catalog(ROOT)
    for name in catalog.setup_names():
        setup = catalog.setup(name)
        for knob, values in setup.tune.items():
            assert len(set(values)) == len(values) > 1, (name, knob)
            assert setup.knobs[knob] in values, (name, knob)


def test_an_interval_at_one_is_not_better() -> None:
    assert not search(settings(8), lambda *_: 1.0).better
    assert search(settings(8), lambda *_: 1.0).ratio == Interval(1.0, 1.0, 1.0)


def test_a_stranger_among_the_knobs_to_search_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    text = (ROOT / "setups" / "flask" / "setup.toml").read_text("utf-8").replace("[tune]", "[tune]\nworker = [1, 2]")
    (folder / "setup.toml").write_text(text)
    with pytest.raises(TailraceError, match=r"setup\.toml: \[tune\] names 'worker', which is no knob; did you mean"):
        read_setup(folder)
