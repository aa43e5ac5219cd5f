"""What figures need of rows is there of every run whose figures count, and is what the run's own rows say."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.explain import explain
from harness.analyse.model import Analysis
from harness.decide.service_curve import service_curve
from harness.decide.twin_read import seen
from harness.decide.twin_seen import batches
from harness.record.read import StoredRun, find_runs
from harness.report import rows
from harness.report.options import Options
from harness.report.rows import Drawings, chosen, of_cell, opened
from harness.report.traces import BINS

Opened = tuple[Analysis, Drawings, dict[str, StoredRun]]


@pytest.fixture(scope="module", params=[rows.LARGE, 0], ids=["side by side", "large ones one by one"])
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
         write_race: Callable[[Path, Any], None], race: Any, simulated: Any) -> Opened:
    """Three setups: one as it should be, one whose load was sent late (no run of it is valid), one that failed."""
    results = tmp_path_factory.mktemp("results")
    setups = {"zmq": simulated(4.0, batch=8), "late": simulated(4.0, lag_ms=30.0),
              "gone": simulated(4.0, status="failed", reason="it crashed")}
    write_race(results, race("embed", 400.0, 60.0, setups, repetitions=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "LARGE", request.param)
        return *opened(Options(str(results))), {run.meta.run_id: run for run in find_runs(results).runs}


def test_every_run_that_counts_is_there_and_no_other(read: Opened) -> None:
    analysis, drawn, _ = read
    verdicts = {cell.setup: (cell.verdict, len(of_cell(cell, drawn))) for cell in analysis.cells}
    assert verdicts["late"] == ("invalid", 3)
    assert verdicts["zmq"][1] == 3
    assert set(drawn) == {name for cell in analysis.cells for name in chosen(cell)}


def test_tails_and_grids_are_those_of_the_run_alone(read: Opened) -> None:
    _, drawn, stored = read
    for name, found in drawn.items():
        assert found.tail is not None
        assert asdict(found.tail) == asdict(explain(stored[name]))
        counted = stored[name].columns("stage")["stage"] >= 0
        assert found.grid.sum() == np.count_nonzero(counted)
        assert found.grid[:, BINS].sum() == found.tail.failed


def test_batches_are_those_of_whole_runs(read: Opened) -> None:
    analysis, drawn, stored = read
    names = [name for cell in analysis.cells if cell.setup == "zmq" for name in chosen(cell)]
    whole, last = (service_curve(each) for each in ([batches(seen(stored[name]), 3) for name in names],
                                                    [drawn[name].batched for name in names]))
    assert whole is not None
    assert last is not None
    assert last.law_ms == whole.law_ms
