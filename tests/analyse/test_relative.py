"""Promises against a baseline: pairs of repetitions against the promised multiple, corrected together."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.analyse.model import Cell, Interval, PromiseVerdict, RunSummary
from harness.analyse.relative import with_relative

NONE = Interval(math.nan, math.nan, math.nan)
BASE = np.array([100.0, 112, 91, 105, 96])


def made(setup: str, p99s: np.ndarray, *texts: str, **changes: object) -> Cell:
    runs = tuple(RunSummary(f"r{i}", i, "ok", "", (), 1000, 100.0, 100.0, 1e4 / p99, 0.0, {0.5: p99 / 4, 0.99: p99})
                 for i, p99 in enumerate(p99s))
    promises = tuple(PromiseVerdict(text, "inconclusive", NONE, 1.1, "there is no baseline beside it")
                     for text in texts)
    cell = Cell(setup, "embed", "steady", 1.0, 100.0, False, runs, {}, NONE, NONE, 0.0, "inconclusive", "", promises,
                {}, {}, 1.0, 1.0, 1.0, None, machine_id="box", hashes={"workload": "w", "scenario": "s"})
    return replace(cell, **changes)  # type: ignore[arg-type]


NOISE = np.array([1.01, 0.99, 1.02, 0.98, 1.0])
P99 = "p(99) < baseline * 1.1"


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "pass"), (1.04, "pass"), (1.1, "inconclusive"), (1.2, "fail")])
def test_the_ratio_is_judged_against_the_promised_multiple(ratio: float, verdict: str) -> None:
    cells = with_relative([made("base", BASE, P99), made("new", BASE * ratio * NOISE, P99)], "base")
    base, new = cells
    [said] = new.promises
    assert (base.verdict, base.promises[0].reason) == ("pass", "it is the baseline")
    assert (said.verdict, new.verdict) == (verdict, verdict)
    assert said.value.value == pytest.approx(ratio * float(np.exp(np.log(NOISE).mean())))
    expected = stats.ttest_1samp(np.log(ratio * NOISE), math.log(1.1)).pvalue
    assert f"p = {expected:.2g}" in said.reason
    if verdict == "inconclusive":
        assert "would have been told" in said.reason
        assert said.more_s > 0


def test_goodput_must_stay_above_its_share() -> None:
    text = "goodput > baseline * 0.95"
    cells = with_relative([made("base", BASE, text), made("new", BASE * 1.2 * NOISE, text)], "base")
    assert cells[1].promises[0].verdict == "fail"


def test_several_such_promises_are_corrected_together_and_say_so() -> None:
    others = [made(f"new{i}", BASE * 1.07 * NOISE, P99) for i in range(6)]
    alone = with_relative([made("base", BASE, P99), others[0]], "base")[1]
    among = with_relative([made("base", BASE, P99), *others], "base")[1]
    assert alone.promises[0].verdict == "pass"
    assert among.promises[0].verdict == "inconclusive"
    assert "corrected over 6 such promises (Holm)" in among.promises[0].reason


def test_without_a_baseline_nothing_is_said() -> None:
    [cell] = with_relative([made("new", BASE, P99)], "base")
    assert cell.promises[0].verdict == "inconclusive"
    assert "no baseline" in cell.promises[0].reason


def test_other_promises_and_cells_stay_as_they_are() -> None:
    cell = made("new", BASE, "p(99) < 10ms")
    assert with_relative([made("base", BASE), cell], "base")[1] is cell


@pytest.mark.parametrize(("ours", "theirs", "verdict"), [
    (BASE * math.inf, BASE, "fail"),
    (np.array([math.inf, *BASE[1:] * 2]), BASE, "fail"),
    (np.array([math.inf, *BASE[1:]]), BASE, "inconclusive"),
    (BASE[:4] * math.inf, BASE[:4], "inconclusive"),
    (BASE * math.inf, BASE * math.inf, "inconclusive"),
])
def test_a_p99_without_end_breaks_a_promise_that_the_baseline_keeps(ours: np.ndarray, theirs: np.ndarray,
                                                                    verdict: str) -> None:
    [said] = with_relative([made("base", theirs, P99), made("new", ours, P99)], "base")[1].promises
    assert (said.verdict, "no finite" in said.reason) == (verdict, True)
    assert ("sign test, p = 0.031" in said.reason) == (verdict == "fail")
