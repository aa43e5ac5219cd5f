"""What figures need of each run's rows, made while the analysis has them in memory, so that none reads them again."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock

from harness.analyse.explain import Explanation, explained
from harness.analyse.explain_parts import COLUMNS
from harness.analyse.frames import NEEDED, Columns, RunView, counted, stopped_s, view
from harness.analyse.model import Analysis, Cell
from harness.analyse.summary import Beside, selected
from harness.decide.service_curve import ENOUGH_REQUESTS
from harness.decide.twin_read import NEEDED as BATCHED
from harness.decide.twin_read import seen_of, structure_of
from harness.decide.twin_seen import Batches, batches
from harness.errors import TailraceError
from harness.record.read import StoredRun
from harness.report.options import Options, analysed
from harness.report.traces import Counts, duration_s, grid

NAMES = tuple(dict.fromkeys((*NEEDED, *COLUMNS, *BATCHED)))
LARGE = 500_000     # rows, of which explaining takes some 400 bytes each
_LARGE = Lock()     # one such run at a time


@dataclass(frozen=True)
class Drawn:
    """One run: seconds of load that counts, its answers by due time and latency, why its slowest percent was slow
    (None where too few requests were answered to tell), and the batches of its last requests."""

    duration_s: float
    grid: Counts
    tail: Explanation | None
    batched: Batches


Drawings = Mapping[str, Drawn]


def opened(options: Options) -> tuple[Analysis, Drawings]:
    """The analysis of the records with costs; and, by run id, every run that its figures count, as far as it has rows.

    Raises TailraceError.
    """
    found: dict[str, Drawn] = {}

    def take(run: StoredRun, seen: RunView, columns: Columns) -> None:
        with _LARGE if len(seen.rows) > LARGE else nullcontext():
            found[run.meta.run_id] = drawn(run, seen, columns)

    analysis = analysed(options, Beside(NAMES, take))
    wanted = [name for cell in analysis.cells for name in chosen(cell)]
    for run in selected(options.folder, options.plan):
        if run.meta.run_id in wanted and run.meta.run_id not in found:  # of a cell without a valid run
            columns = run.columns(*NAMES)
            take(run, view(run.meta, columns), columns)
    return analysis, {name: found[name] for name in wanted if name in found}


def drawn(run: StoredRun, seen: RunView, columns: Columns) -> Drawn:
    """The run, from its view and its columns NAMES."""
    cut = len(seen.stages) > 1 and math.isfinite(stopped_s(run.meta))
    rows = counted(columns, stopped_s(run.meta)) if cut else seen.rows
    meta, seconds = run.meta, duration_s(run)
    workers = structure_of(meta.knobs, meta.setup_facts, len(meta.server_cpus), meta.device).workers
    batched = batches(seen_of(meta, columns, ENOUGH_REQUESTS), workers)
    try:
        tail = explained(seen, columns, run.payload_bytes(), run.probes())
    except TailraceError:   # too few answers
        tail = None
    return Drawn(seconds, grid([rows], seconds), tail, batched)


def chosen(cell: Cell) -> list[str]:
    """The ids of the runs that the cell's figures count; of all where none is valid."""
    return [run.run_id for run in cell.runs if run.valid] or [run.run_id for run in cell.runs]


def of_cell(cell: Cell, drawings: Drawings) -> list[Drawn]:
    """The cell's chosen runs, without those that have no rows."""
    return [drawings[name] for name in chosen(cell) if name in drawings]
