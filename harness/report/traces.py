"""Rows reduced to what figures of latency need: small arrays out, whatever the number of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analyse.frames import Rows, stopped_s
from harness.analyse.model import Cell
from harness.record.read import StoredRun

BINS_PER_DECADE = 200
LOWEST_LOG10_MS = -3.0         # 1 µs
DECADES = 8                    # up to 100 s
BINS = BINS_PER_DECADE * DECADES
SLICES = 60
ENOUGH = 100                   # requests that a slice of a timeline has at least

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """The repetitions of one cell as figures see them.

    `counts[r, b]` are the good answers of repetition r whose latency falls into log bin b (see `edges_ms`), so that
    `n[r] − sum(counts[r])` requests failed. `grid[k, b]` are the same over all repetitions by due time, in slices of
    `width_s`; its last column counts the failed ones.
    """

    counts: Counts
    n: Counts
    width_s: float
    grid: Counts


@dataclass(frozen=True)
class Timeline:
    """Slices over time, each of at least ENOUGH requests: when it starts and ends, its quantiles in ms (infinite where
    failures reach them), how many requests it has and how many failed."""

    start_s: Floats
    end_s: Floats
    p50_ms: Floats
    p99_ms: Floats
    n: Counts
    errors: Counts


def edges_ms() -> Floats:
    """Upper edges of the latency bins in ms; each is 1.16 % above the one before."""
    return np.power(10.0, LOWEST_LOG10_MS + np.arange(1, BINS + 1) / BINS_PER_DECADE)


def grid(rows: Iterable[Rows], duration_s: float) -> Counts:
    """One run's answers, [SLICES, BINS + 1] by due time and log latency, from its counted rows, whole or in parts; the
    last column counts the failed ones. `duration_s` is the length of the counted load."""
    total = np.zeros((SLICES, BINS + 1), dtype=np.int64)
    for chunk in rows:
        total += _grid(chunk, _width_s(duration_s))
    return total


def trace(grids: Sequence[Counts], duration_s: float) -> Trace:
    """The trace of a cell from its runs' grids."""
    counts = np.array([each[:, :BINS].sum(axis=0) for each in grids], dtype=np.int64).reshape(-1, BINS)
    n = np.array([each.sum() for each in grids], dtype=np.int64)
    return Trace(counts, n, _width_s(duration_s), sum(grids, start=np.zeros((SLICES, BINS + 1), dtype=np.int64)))


def key(cell: Cell) -> Key:
    """What tells a cell from every other: its runs."""
    return tuple(run.run_id for run in cell.runs)


def duration_s(run: StoredRun) -> float:
    """Seconds of counted load."""
    asked_s = sum(float(stage["duration_s"]) for stage in run.meta.scenario_resolved["stage"])
    return min(asked_s, stopped_s(run.meta))


def slower(counts: Counts, n: float) -> Floats:
    """Share of all n requests that took longer than each edge; a failed request took longer than any."""
    return np.asarray(1.0 - np.cumsum(counts) / max(n, 1.0), dtype=np.float64)


def timeline(seen: Trace) -> Timeline:
    """The trace over time; neighbouring slices are merged until each has ENOUGH requests."""
    each = seen.grid.sum(axis=1)
    group = np.floor(np.cumsum(each) * _slices(each) / max(each.sum(), 1) - 1e-9).astype(np.int64)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    grid = np.add.reduceat(seen.grid, starts, axis=0)
    ends = np.append(starts[1:], SLICES)
    width = np.float64(seen.width_s)
    return Timeline(width * starts, width * ends, _quantile(grid, 0.5), _quantile(grid, 0.99),
                    grid.sum(axis=1), grid[:, BINS])


def _width_s(duration_s: float) -> float:
    return max(duration_s, 1e-9) / SLICES


def _slices(each: Counts) -> int:
    return int(np.clip(each.sum() // ENOUGH, 1, SLICES))


def _grid(rows: Rows, width_s: float) -> Counts:
    latency = rows.latency_ms
    good = np.isfinite(latency)
    position = (np.log10(np.maximum(latency, 1e-3), where=good, out=np.zeros_like(latency)) - LOWEST_LOG10_MS)
    column = np.where(good, np.clip((position * BINS_PER_DECADE).astype(np.int64), 0, BINS - 1), BINS)
    row = np.clip((rows.due_ns / 1e9 / width_s).astype(np.int64), 0, SLICES - 1)
    return np.bincount(row * (BINS + 1) + column, minlength=SLICES * (BINS + 1)).reshape(SLICES, BINS + 1)


def _quantile(grid: Counts, quantile: float) -> Floats:
    """The quantile of each row of counts, whose last column holds infinite latencies; NaN of an empty row."""
    total = grid.sum(axis=1)
    position = np.argmax(np.cumsum(grid, axis=1) >= np.ceil(quantile * total)[:, None], axis=1)
    values = np.append(edges_ms(), np.inf)[position]
    return np.where(total > 0, values, np.nan).astype(np.float64)
