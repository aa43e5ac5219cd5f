"""Runs that end once their promises are judged: stopped early, recorded whole, and judged alike from the record."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.analyse.figures import figures
from harness.analyse.frames import read_view
from harness.analyse.looking import certified
from harness.analyse.summary import analyse
from harness.cli.until import VERDICT, sitting, until
from harness.errors import UsageError
from harness.plan.attempt import Attempt
from harness.record.read import StoredRun, open_run
from harness.run.bench import Bench
from harness.run.race import race


def promising(attempt: Attempt, duration_s: float = 2.0, **slo: str) -> Attempt:
    names = {"p99": "p(99)", "errors": "errors"}
    stage = attempt.scenario.stage[0].model_copy(update={"rate": 200.0, "duration_s": duration_s})
    promised = {names[name]: bound for name, bound in slo.items()}
    scenario = attempt.scenario.model_dump() | {"stage": [stage.model_dump()], "slo": promised}
    return replace(attempt, scenario=type(attempt.scenario).model_validate(scenario))


@pytest.fixture
def measured(bench: Bench, watcher: Any) -> Callable[[Attempt], StoredRun]:
    def run(attempt: Attempt) -> StoredRun:
        judging = replace(bench, judge=sitting)
        [run_id] = race([attempt], judging, watcher)
        return open_run(judging.folder / run_id)

    return run


@pytest.mark.live
def test_a_run_ends_with_its_verdict_and_says_the_same_when_read(
        attempt: Callable[[str], Attempt], measured: Callable[[Attempt], StoredRun], bench: Bench,
        watcher: Any) -> None:
    [asked] = until(VERDICT, 40.0, [promising(attempt("calm"), p99="< 250ms", errors="< 5%")])
    run = measured(asked)
    kept = run.meta.facts["until"]
    assert run.meta.status == "ok"
    assert run.meta.reason.startswith("stopped after ")
    assert kept["why"] == "p(99) < 250ms: pass; errors < 5%: pass"
    assert kept["at_s"] < 25
    assert "stopped" not in run.meta.facts
    assert any("more seconds" in seen.judged or "pass" in seen.judged for seen in watcher.seen)
    read = figures(read_view(run), run.probes())
    assert read.stopped_by_looking
    due = run.columns("due_ns", "stage")
    counted = (due["stage"] >= 0) & (due["due_ns"] < kept["at_s"] * 1e9)
    assert len(read.latency_ms) == np.count_nonzero(counted)
    assert {said.verdict for said in certified(read).values()} == {"pass"}
    [cell] = analyse(bench.results).cells
    assert [promise.verdict for promise in cell.promises] == ["pass", "pass"], cell.verdict_reason
    assert all("95% confidence" in promise.reason for promise in cell.promises)


@pytest.mark.live
def test_a_broken_promise_aborts_the_run(attempt: Callable[[str], Attempt],
                                         measured: Callable[[Attempt], StoredRun], bench: Bench) -> None:
    run = measured(promising(attempt("calm"), 40.0, p99="< 10us abortOnFail"))
    assert run.meta.status == "ok"
    assert run.meta.facts["until"]["why"] == "p(99) < 10us: fail"
    assert run.meta.facts["until"]["at_s"] < 25
    [cell] = analyse(bench.results).cells
    assert [promise.verdict for promise in cell.promises] == ["fail"], cell.verdict_reason


@pytest.mark.live
def test_a_cap_without_a_verdict_is_inconclusive(attempt: Callable[[str], Attempt],
                                                 measured: Callable[[Attempt], StoredRun], bench: Bench) -> None:
    [asked] = until(VERDICT, 1.0, [promising(attempt("calm"), p99="< 250ms")])
    run = measured(asked)
    assert run.meta.status == "ok"
    assert run.meta.reason.startswith("no verdict within 1 s")
    [cell] = analyse(bench.results).cells
    [promise] = cell.promises
    assert promise.verdict == "inconclusive", cell.verdict_reason
    assert promise.more_s > 0
    assert re.match(r"about \d+ more seconds?: ", promise.reason)


def test_what_cannot_be_judged_on_the_way_is_refused(attempt: Callable[[str], Attempt]) -> None:
    relative = promising(attempt("calm"), p99="< baseline * 1.1")
    with pytest.raises(UsageError, match="keep or break"):
        until(VERDICT, 10.0, [relative])
    assert until(None, 10.0, [relative]) == [relative]
    with pytest.raises(UsageError, match="write --until verdict"):
        until("verdicts", 10.0, [relative])
    ramp = promising(attempt("calm"), p99="< 10ms abortOnFail")
    stage = ramp.scenario.stage[0].model_copy(update={"rate_end": 400.0})
    with pytest.raises(UsageError, match="changes while it runs"):
        until(None, 10.0, [replace(ramp, scenario=ramp.scenario.model_copy(update={"stage": (stage,)}))])
