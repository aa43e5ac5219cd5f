"""From folders to verdicts: what is on disk is what is said, and no verdict promises more than the rows hold."""

import itertools
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analyse.model import Analysis, Cell
from harness.analyse.summary import analyse, selected
from harness.errors import TailraceError
from harness.record.schema import RunMeta
from harness.record.write import Probe, RunWriter, write_machine

Columns = dict[str, NDArray[Any]]
Queue = Callable[..., Columns]
SLO = {"p(99)": "< 12ms", "errors": "< 1%"}


class Records:
    """A results folder to fill with simulated runs."""

    def __init__(self, folder: Path, meta: RunMeta, queue: Queue, generator: Callable[..., dict[str, Any]]) -> None:
        self.folder, self.meta, self.queue, self.generator = folder, meta, queue, generator
        write_machine(folder, "box", {"cpus": 4, "cpu": "simulated"})

    def add(self, setup: str, repetition: int, columns: Columns | None = None, *, slo: dict[str, str] | None = None,
            status: str = "ok", reason: str = "", service_ms: float = 1.0, seconds: float = 20.0,
            **changes: Any) -> None:
        scenario = {**self.meta.scenario_resolved, "slo": SLO if slo is None else slo,
                    "stage": [{"arrivals": "poisson", "duration_s": seconds, "rate": 500.0}]}
        with RunWriter(self.folder / "box", setup=setup, workload="echo", scenario="calm",
                       repetition=repetition) as writer:
            writer.server_log.write_text("")
            said = {"start_s": 2.0}
            if status in ("ok", "void"):
                rows = columns or self.queue(repetition, service_ms=service_ms, duration_s=seconds)
                writer.write_requests(rows)
                writer.write_probes([Probe(t * 10**9, "server", pid, "w", metric, value)
                                     for t in range(-1, 21) for pid in (7, 8)
                                     for metric, value in (("cpu_s", 0.75 * t), ("rss_mb", 100.0))])
                said["generators"] = [self.generator(len(rows["seq"]))]  # type: ignore[assignment]
            writer.finish(replace(self.meta, run_id=writer.run_id, setup=setup, repetition=repetition, status=status,
                                  reason=reason, scenario_resolved=scenario, facts=said, **changes))


@pytest.fixture
def records(tmp_path: Path, meta: RunMeta, queue: Queue, generator: Callable[..., dict[str, Any]]) -> Records:
    return Records(tmp_path / "results", meta, queue, generator)


def only(analysis: Analysis) -> Cell:
    assert len(analysis.cells) == 1
    return analysis.cells[0]


def test_five_repetitions_become_a_cell_with_what_was_simulated(records: Records) -> None:
    """An M/M/1 queue at half load: p99 is −ln(0.01)/(1000 − 500) s = 9.2 ms, and a request takes 2 ms in the mean."""
    for repetition in range(5):
        records.add("toy", repetition)
    cell = only(analyse(records.folder))
    assert cell.verdict == "pass", cell.verdict_reason
    assert cell.quantiles_ms[0.99].value == pytest.approx(9.21, rel=0.12)
    assert cell.quantiles_ms[0.99].low < 9.3
    assert cell.quantiles_ms[0.99].high > 9.0
    assert cell.goodput.value == pytest.approx(500 * (1 - math.exp(-0.5 * 12)), rel=0.02)
    assert sum(cell.time_ms.values()) == pytest.approx(2.0, rel=0.1)
    assert cell.time_ms["model"] == pytest.approx(1.0, rel=0.05)
    assert cell.batches == {1: 1.0}
    assert cell.cpu_cores == pytest.approx(1.5)
    assert cell.rss_mb == 200.0
    assert cell.start_s == 2.0
    assert cell.good_ms == 12.0
    assert [run.repetition for run in cell.runs] == [0, 1, 2, 3, 4]
    assert all(run.effective < run.n / 3 for run in cell.runs), "a queue's requests are not independent"


def test_a_broken_promise_fails_and_a_near_one_is_left_open(records: Records) -> None:
    for repetition in range(5):
        records.add("slow", repetition, service_ms=1.5)
        records.add("near", repetition, slo={"p(99)": "< 9.2ms"})
    cells = {cell.setup: cell for cell in analyse(records.folder).cells}
    assert cells["slow"].verdict == "fail"
    assert cells["near"].verdict == "inconclusive"
    assert "more seconds" in cells["near"].verdict_reason or "too close" in cells["near"].verdict_reason


@pytest.mark.parametrize(("slo", "seconds", "runs", "why"), [
    ({"p(99)": "< 1000ms"}, 0.6, 1, "more seconds: 0 of"),
    ({"p(99.9)": "< 1000ms"}, 3.0, 5, "effective requests where 2000"),
    ({"errors": "< 0.01%"}, 3.0, 5, "needed to promise"),
])
def test_too_little_is_never_a_pass(records: Records, slo: dict[str, str], seconds: float, runs: int, why: str) -> None:
    for repetition in range(runs):
        records.add("toy", repetition, slo=slo, seconds=seconds)
    cell = only(analyse(records.folder))
    assert cell.verdict == "inconclusive"
    assert why in cell.verdict_reason


@pytest.mark.parametrize(("share", "verdict"), [(0.002, "pass"), (0.05, "fail")])
def test_failed_requests_count_as_infinitely_late(records: Records, share: float, verdict: str) -> None:
    for repetition in range(5):
        columns = records.queue(repetition, service_ms=0.2)
        bad = np.random.default_rng(repetition).random(len(columns["seq"])) < share
        columns["status"][bad] = 503
        records.add("toy", repetition, columns, slo={"p(99)": "< 12ms"})
    cell = only(analyse(records.folder))
    assert cell.verdict == verdict, cell.verdict_reason
    assert math.isinf(cell.quantiles_ms[0.99].value) is (verdict == "fail")
    assert cell.error_rate == pytest.approx(share, rel=0.15)


def test_failures_in_one_repetition_are_judged_by_share(records: Records) -> None:
    for repetition in range(5):
        columns = records.queue(repetition, service_ms=0.2)
        if repetition == 3:
            columns["status"][::9] = 500
        records.add("toy", repetition, columns, slo={"p(99)": "< 12ms"})
    cell = only(analyse(records.folder))
    assert cell.verdict == "inconclusive"
    assert "slower or failed" in cell.verdict_reason


def test_a_few_spoilt_runs_are_left_out_and_many_spoil_the_cell(records: Records) -> None:
    for repetition in range(5):
        for setup, spoilt in (("few", 1), ("many", 3)):
            records.add(setup, repetition, load_cpus=[0] if repetition < spoilt else [3])
    cells = {cell.setup: cell for cell in analyse(records.folder).cells}
    assert cells["few"].verdict == "pass"
    assert "1 of 5 runs left out" in cells["few"].verdict_reason
    assert cells["many"].verdict == "invalid"


def test_one_run_of_wrong_answers_spoils_the_setup(records: Records) -> None:
    for repetition in range(5):
        columns = records.queue(repetition)
        if repetition == 0:
            columns["judged"] *= 2
        records.add("liar", repetition, columns)
    assert only(analyse(records.folder)).verdict == "invalid"


def test_wrong_answers_are_no_goodput_and_errors(records: Records) -> None:
    for repetition in range(5):
        columns = records.queue(repetition, service_ms=0.2)
        judged = np.flatnonzero((columns["judged"] == 1) & (columns["stage"] >= 0))
        columns["judged"][judged[: len(judged) // 125]] = 2
        records.add("sloppy", repetition, columns)
    cell = only(analyse(records.folder))
    assert cell.error_rate == pytest.approx(0.008, rel=0.1)
    assert cell.goodput.value == pytest.approx(cell.offered_rate * 0.992, rel=0.002)


def test_a_failed_attempt_prevents_a_pass_until_it_is_repeated(records: Records) -> None:
    for repetition in range(4):
        records.add("toy", repetition)
    records.add("toy", 4, status="failed", reason="it crashed")
    cell = only(analyse(records.folder))
    assert (cell.verdict, len(cell.runs)) == ("inconclusive", 5)
    records.add("toy", 4)
    assert only(analyse(records.folder)).verdict == "pass"


def test_skipped_and_failed_setups_are_named_with_their_reason(records: Records) -> None:
    records.add("toy", 0)
    records.add("java", 0, status="skipped", reason="no java here")
    records.add("broken", 0, status="failed", reason="never ready")
    analysis = analyse(records.folder)
    assert analysis.skipped == {"java × echo": "no java here"}
    assert analysis.failed == {"broken × echo": "never ready"}
    assert [cell.setup for cell in analysis.cells] == ["toy"]


def test_only_the_newest_content_and_the_newest_run_count(records: Records) -> None:
    records.add("toy", 0, hashes={"setup": "old"}, service_ms=1.9)
    records.add("toy", 0, hashes={"setup": "new"}, service_ms=1.9)
    records.add("toy", 0, hashes={"setup": "new"})
    records.add("toy", 1, hashes={"setup": "new"})
    cell = only(analyse(records.folder))
    assert len(cell.runs) == 2
    assert max(run.quantiles_ms[0.5] for run in cell.runs) < 3
    assert {run.meta.run_id for run in selected(records.folder)} == {run.run_id for run in cell.runs}


def test_the_sentence_says_who_keeps_the_promise_and_how_sure(records: Records) -> None:
    for repetition in range(5):
        records.add("quick", repetition, service_ms=0.8)
        records.add("slow", repetition, service_ms=1.6)
    analysis = analyse(records.folder, baseline="slow")
    said = analysis.sentence
    assert said.startswith("On echo at ")
    assert "5 valid repetitions each: quick (p99 6." in said
    assert "95 % interval" in said
    assert ") keeps p(99) < 12ms and errors < 1%; slow (p99" in said
    assert ") does not; quick's p99 is 0.1" in said
    told = {each.metric: each for each in analysis.comparisons}
    assert told["p99"].told
    assert told["p99"].ratio.high < 1


def test_the_sentence_says_a_reason_once_for_all_who_share_it(records: Records) -> None:
    for repetition, setup in itertools.product(range(5), ("one", "two", "base")):
        records.add(setup, repetition, service_ms=0.8, slo={"errors": "< 0.01%"}, seconds=3.0)
    said = analyse(records.folder, baseline="base").sentence
    assert re.search(r"cannot be told yet for \w+, \w+ and \w+ \([^)]*needed to promise that\)", said), said
    assert said.count("needed to promise that") == 1


def test_a_clear_break_fails_however_few_requests_there_are(records: Records) -> None:
    for repetition in range(5):
        records.add("slow", repetition, slo={"p(99)": "< 1ms"}, service_ms=1.8, seconds=1.0)
    cell = only(analyse(records.folder))
    assert sum(run.effective for run in cell.runs) < 368
    assert cell.verdict == "fail"


def test_nothing_to_analyse_is_one_sentence(records: Records) -> None:
    with pytest.raises(TailraceError, match="no finished run"):
        analyse(records.folder)
    records.add("toy", 0)
    with pytest.raises(TailraceError, match="of plan 'other'"):
        analyse(records.folder, "other")


def test_short_runs_far_beyond_the_limit_fail_however_long_they_remember(tmp_path: Path) -> None:
    [machine] = (Path(__file__).parents[2] / "results" / "goodput").iterdir()
    shutil.copy(machine / "machine.json", tmp_path)
    for run in machine.glob("*-zmq-batching-embed-embed-busy@1.5-r?"):
        shutil.copytree(run, tmp_path / run.name)
    cell = only(analyse(tmp_path))
    assert math.isinf(cell.quantiles_ms[0.99].high) or math.isnan(cell.quantiles_ms[0.99].high)
    assert cell.verdict == "fail", cell.verdict_reason
    assert "slower or failed, 1.00% may" in cell.verdict_reason
