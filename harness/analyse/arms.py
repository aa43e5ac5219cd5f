"""Did all arms of a repetition meet the same load, and what are they called? What no single run can tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.analyse.model import Cell, Check, RunSummary

MOST_NAMED = 3  # knobs that a name tells of
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


def told_apart(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells, those named by their knobs, too, that would bear another's name beside it: `zmq-batching (gpu)
    precision=half`. The plain name stays with the knobs that most of an arm's cells have (of as many, the first)."""
    alike: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.setup, cell.workload), []).append(cell)
    return tuple(_named(cell, alike[cell.setup, cell.workload]) for cell in cells)


def _named(cell: Cell, alike: Sequence[Cell]) -> Cell:
    places = Counter((each.machine_id, each.scenario, each.load) for each in alike)
    counted = Counter(tuple(sorted(each.knobs.items())) for each in alike)
    usual = dict(counted.most_common(1)[0][0])
    if cell.knobs == usual or max(places.values()) == 1:
        return cell
    changed = [f"{name}={value}" for name, value in sorted(cell.knobs.items()) if usual.get(name) != value]
    more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
    return replace(cell, setup=f"{cell.setup} {' '.join(changed[:MOST_NAMED])}{more}")
