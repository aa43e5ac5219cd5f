"""Did all arms of a repetition meet the same load? What no single run can tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.analyse.model import Cell, Check, RunSummary

Place = tuple[str, str, float, int]


def accuse_arms(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells, a check `schedule` added to each run of a repetition in which setups met unlike schedules or payload
    seeds: a warning for those that differ from most (of two, from the first); comparisons leave such pairs out."""
    met: dict[Place, list[str]] = {}
    for cell in cells:
        for run in cell.runs:
            if run.schedule:
                met.setdefault(_place(cell, run), []).append(run.schedule)
    usual = {place: Counter(schedules).most_common(1)[0][0] for place, schedules in met.items()
             if len(set(schedules)) > 1}
    return tuple(replace(cell, runs=tuple(_accused(cell, run, usual) for run in cell.runs)) for cell in cells)


def _accused(cell: Cell, run: RunSummary, usual: dict[Place, str]) -> RunSummary:
    expected = usual.get(_place(cell, run))
    if expected is None or not run.schedule or run.schedule == expected:
        return run
    check = Check("schedule", "warning", "it met another schedule than the other setups in this repetition, so the two "
                  "cannot be compared", "measure both in one plan, with one seed", "harness")
    return replace(run, checks=(*run.checks, check))


def _place(cell: Cell, run: RunSummary) -> Place:
    return cell.workload, cell.scenario, cell.load, run.repetition
