"""Captions say what the figures say: known answers in, known words out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.model import Analysis
from harness.analyse.summary import analyse
from harness.report import breakdown, captions
from harness.report.select import climbs, matches, typical
from harness.report.traces import Timeline

Write = Callable[[Path, Any], None]


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, write_race: Write, race: Any, simulated: Any) -> Analysis:
    folder = tmp_path_factory.mktemp("results")
    write_race(folder, race("embed", 240, 100, {
        "slow": simulated(9.5), "quick": simulated(3, batch=8), "twin": simulated(3, batch=1),
        "broken": simulated(9.5, break_s=1.0), "late": simulated(4, lag_ms=3.0)}))
    return analyse(folder)


def test_the_shortest_tail_is_named_with_the_ratio_that_rows_give(raced: Analysis) -> None:
    match = matches(raced)[0]
    quick, slow = (next(c for c in match.cells if c.setup == name) for name in ("quick", "slow"))
    said = captions.tails(match)
    assert said.startswith(("quick and twin cannot be told apart", "twin and quick cannot be told apart"))
    measured = slow.quantiles_ms[0.99].value / quick.quantiles_ms[0.99].value
    told = float(said.split("slow takes ")[1].split("×")[0])
    assert told == pytest.approx(measured, rel=0.15)


def test_what_is_not_valid_is_said_and_not_ranked(raced: Analysis) -> None:
    said = captions.tails(matches(raced)[0])
    assert "late was not measured validly" in said
    assert "late takes" not in said


def test_failures_end_the_tail(raced: Analysis) -> None:
    assert "broken fails more than one request in a hundred" in captions.tails(matches(raced)[0])


def test_identical_setups_are_inconclusive(tmp_path: Path, write_race: Write, race: Any, simulated: Any) -> None:
    write_race(tmp_path, race("embed", 240, 100, {"one": simulated(5), "two": simulated(5)}))
    said = captions.tails(matches(analyse(tmp_path))[0])
    assert said.startswith("~ Inconclusive")
    assert "shortest" not in said


def test_a_closed_loop_is_no_promise(tmp_path: Path, write_race: Write, race: Any, simulated: Any) -> None:
    write_race(tmp_path, race("embed", 240, 100, {"one": simulated(5)}, closed=True))
    assert "Closed loop" in captions.tails(matches(analyse(tmp_path))[0])


def test_batches_and_parts_are_told_apart_from_silence(raced: Analysis) -> None:
    match = typical(raced)[0]
    batches, parts = captions.batches(match), captions.parts(match)
    assert "twin serves one request at a time" in batches
    assert "quick serves half its requests in batches of" in batches
    assert "8 at most" in batches
    assert "do not tell the size of a batch" in batches
    assert "Most of the time goes into the model in" in parts
    assert "do not tell their parts" in parts


def test_what_only_counters_tell_is_starred(raced: Analysis) -> None:
    match = typical(raced)[0]
    counted = replace(match, cells=tuple(
        replace(cell, counted=("queue", "model", "batches")) if cell.setup == "quick" else cell
        for cell in match.cells))
    said = "from the server's own counters over the whole load, warm-up included, not told per request: quick."
    assert f"* the queue and the model are means {said}" in captions.parts(counted)
    assert f"* The sizes are {said}" in captions.batches(counted)
    assert "*" not in captions.parts(match) + captions.batches(match)
    assert "ms *" in breakdown.times(counted).svg
    assert "ms *" not in breakdown.times(match).svg


def test_loads_name_the_last_one_that_held(tmp_path: Path, write_race: Write, race: Any, simulated: Any) -> None:
    for load in (0.5, 1.0, 4.0):
        write_race(tmp_path, race("embed", 200, 100, {"one": simulated(5)}, load=load, seconds=5.0))
    analysis = analyse(tmp_path)
    climb, = climbs(analysis)
    verdicts = [match.cells[0].verdict for match in climb]
    assert verdicts[:2] == ["pass", "pass"]
    assert verdicts[2] != "pass"
    assert "one keeps the promise up to 200/s" in captions.loads(climb)
    assert "at 800/s" in captions.loads(climb)


def line(p50: list[float], p99: list[float], errors: list[int]) -> Timeline:
    n = len(p50)
    return Timeline(np.arange(n, dtype=float), np.arange(n, dtype=float) + 1, np.array(p50), np.array(p99),
                    np.full(n, 1000), np.array(errors))


@pytest.mark.parametrize(("seen", "expected", "absent"), [
    (line([5] * 8, [9] * 8, [0] * 8), "holds", "spikes"),
    (line([5, 5, 6, 8, 11, 15, 20, 25], [40] * 8, [0] * 8), "rises from 5.00 ms in the first quarter to 22.5", "holds"),
    (line([5] * 8, [9, 9, 9, 90, 9, 9, 9, 9], [0] * 8), "spikes to 90.0 ms around 3.5 s", "failed"),
    (line([5] * 8, [9] * 8, [0, 0, 7, 2, 0, 0, 0, 0]), "failed 9 requests, between 2.0 s and 4.0 s", "spikes"),
    (line([5] * 8, [9] * 8, [1] * 8), "failed 8 requests, spread over the run", "between 0"),
    (line([5], [9], [0]), "~ Too few requests", "holds"),
])
def test_over_time(raced: Analysis, seen: Timeline, expected: str, absent: str) -> None:
    said = captions.over_time(matches(raced)[0], {"slow": seen})
    assert expected in said
    assert absent not in said
