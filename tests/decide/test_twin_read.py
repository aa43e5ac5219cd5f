"""Recorded runs as the twin sees them."""

from pathlib import Path

from harness.decide.twin_read import seen
from harness.record.read import find_runs

RECORDS = Path(__file__).resolve().parents[2] / "results" / "twin"


def test_a_run_that_was_stopped_early_kept_its_core_busy_as_long_as_it_was_sent_to() -> None:
    """Records of one core under more than it carries: those stopped half-way are as busy as the rest."""
    runs = [run for run in find_runs(RECORDS).runs if run.meta.load in (5.0, 12.0)]
    assert sum("stopped" in run.meta.facts for run in runs) == 8
    assert all(0.94 < seen(run).busy < 1.02 for run in runs)
