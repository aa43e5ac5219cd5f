"""Traces keep what figures need: tails and times agree with the rows they came from."""

import numpy as np
import pytest

from harness.analyse.frames import Rows, counted
from harness.record.schema import COLUMNS
from harness.report.traces import BINS, ENOUGH, edges_ms, grid, slower, timeline, trace


def rows(latency_ms: np.ndarray, seconds: float, failed: np.ndarray | None = None) -> Rows:
    n = len(latency_ms)
    due = (np.arange(n) * seconds / n * 1e9).astype(np.int64)
    columns = {name: np.zeros(n, dtype=object if kind == "string" else kind) for name, kind in COLUMNS.items()}
    columns |= {"seq": np.arange(n, dtype=np.int32), "due_ns": due, "sent_ns": due, "error": np.full(n, "", object),
                "done_ns": due + (latency_ms * 1e6).astype(np.int64), "status": np.full(n, 200, np.int16)}
    if failed is not None:
        columns["status"][failed] = 503
    return counted(columns)


def test_the_tail_is_the_rows_tail_within_a_bin() -> None:
    latency = np.random.default_rng(1).lognormal(2, 0.8, 20_000)
    seen = trace([grid([rows(latency, 10.0)], 10.0)], 10.0)
    share = slower(seen.counts.sum(axis=0), float(seen.n.sum()))
    for quantile in (0.5, 0.9, 0.99, 0.999):
        drawn = edges_ms()[np.argmax(share <= 1 - quantile + 1e-12)]
        assert drawn == pytest.approx(np.quantile(latency, quantile, method="inverted_cdf"), rel=0.012)


def test_failures_are_slower_than_anything() -> None:
    failed = np.arange(1000) % 10 == 0
    seen = trace([grid([rows(np.full(1000, 5.0), 1.0, failed)], 1.0)], 1.0)
    assert slower(seen.counts[0], 1000.0)[-1] == pytest.approx(0.1)
    assert seen.grid[:, BINS].sum() == 100


def test_runs_add_up_and_stay_apart() -> None:
    whole = grid([rows(np.random.default_rng(2).lognormal(1, 0.5, 3000), 3.0)], 3.0)
    seen = trace([whole, 2 * whole], 3.0)
    assert (seen.grid == 3 * whole).all()
    assert (2 * seen.counts[0] == seen.counts[1]).all()
    assert list(seen.n) == [3000, 6000]


@pytest.mark.parametrize("n", [1, 50, 100, 450, 100_000])
def test_slices_cover_the_run_and_hold_enough(n: int) -> None:
    line = timeline(trace([grid([rows(np.full(n, 5.0), 2.0)], 2.0)], 2.0))
    assert line.n.sum() == n
    assert line.start_s[0] == 0
    assert line.end_s[-1] == pytest.approx(2.0)
    assert (line.start_s[1:] == line.end_s[:-1]).all()
    assert n < 2 * ENOUGH or line.n.min() >= ENOUGH / 2


def test_a_stall_shows_where_it_was() -> None:
    latency = np.full(10_000, 5.0)
    latency[5000:5500] = 500.0
    line = timeline(trace([grid([rows(latency, 10.0)], 10.0)], 10.0))
    slow = line.p50_ms > 100
    assert line.start_s[slow].min() == pytest.approx(5.0, abs=0.2)
    assert line.end_s[slow].max() == pytest.approx(5.5, abs=0.2)
