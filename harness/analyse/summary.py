"""From a folder of records to everything a report shows; reads only what is on disk."""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analyse.arms import accuse_arms, told_apart
from harness.analyse.cells import cell
from harness.analyse.compare import against, compare
from harness.analyse.figures import RunFigures, figures
from harness.analyse.frames import NEEDED, Columns, RunView, read_view
from harness.analyse.memory import keep_freed
from harness.analyse.model import Analysis, Cell
from harness.analyse.relative import with_relative
from harness.analyse.upkeep import contracts, upkeep
from harness.analyse.words import sentence
from harness.errors import TailraceError
from harness.record.read import StoredRun, find_runs, read_machine
from harness.record.schema import RunMeta

Key = tuple[str, ...]

RUNS_AT_ONCE = 3  # reading and sorting release the interpreter's lock; each run in work takes some 100 B a row


@dataclass(frozen=True)
class Beside:
    """What else is made of rows while the analysis has them in memory: `take` is called, from several threads, with
    every valid run, its view and its columns, those of `names` and those that analysis needs."""

    names: tuple[str, ...]
    take: Callable[[StoredRun, RunView, Columns], None]


def analyse(results: Path, plan: str | None = None, baseline: str | None = None, *, force: bool = False,
            title: str = "", question: str = "", beside: Beside | None = None) -> Analysis:
    """What the runs below `results` say, those of `plan` alone where one is named.

    `baseline` replaces the one the runs were planned with. Where a cell was measured again with other content (code,
    model, load), only the newest content counts, and of one repetition only the newest run. `beside` is what else is
    made of the rows. Raises TailraceError when there is no run, or when unlike machines or workloads would be compared
    (unless forced).
    """
    keep_freed()
    runs = [run for run in find_runs(results).runs if plan is None or run.meta.plan == plan]
    if not runs:
        raise TailraceError(f"{results}: no finished run" + (f" of plan '{plan}'" if plan else "") + " here",
                            "measure something with `tailrace run`")
    newest = runs[-1].meta
    groups = _groups(runs)
    cells = told_apart(_cells(groups, beside))
    cells = accuse_arms(cells)
    base = baseline if baseline is not None else newest.baseline
    comparisons = compare(against(cells, base), force)
    cells = with_relative(cells, base)
    machine = {"machine_id": newest.machine_id, **read_machine(runs[-1].folder.parent)}
    return Analysis(
        newest.plan, title or newest.plan, question, machine, cells, comparisons,
        skipped=_reasons(group for group in groups if all(run.meta.status == "skipped" for run in group)),
        failed=_reasons(group for group in groups if not any(_measured(run) or run.meta.status == "skipped"
                                                             for run in group)),
        sentence=sentence(cells, comparisons),
        contracts=contracts(runs), upkeep=upkeep(runs, cells),
    )


def selected(results: Path, plan: str | None = None) -> tuple[StoredRun, ...]:
    """The runs with rows that `analyse` counts, in its order: for figures that need rows again."""
    runs = [run for run in find_runs(results).runs if plan is None or run.meta.plan == plan]
    return tuple(run for group in _groups(runs) for run in group if _measured(run))


def _groups(runs: Sequence[StoredRun]) -> list[list[StoredRun]]:
    """Runs by cell, in order of first appearance; within a cell one run per repetition, all of the newest content."""
    found: dict[Key, list[StoredRun]] = {}
    for run in runs:
        found.setdefault(_place(run.meta), []).append(run)
    groups = []
    for group in found.values():
        content = _content(group[-1].meta)
        alike = [run for run in group if _content(run.meta) == content]
        best: dict[int, StoredRun] = {}
        for run in alike:
            if run.meta.status == "ok" or best.get(run.meta.repetition, run).meta.status != "ok":
                best[run.meta.repetition] = run
        groups.append([best[repetition] for repetition in sorted(best)])
    return groups


def _place(meta: RunMeta) -> Key:
    return (meta.workload, meta.scenario, f"{meta.load!r}", meta.arm, _text(meta.knobs), meta.machine_id)


def _content(meta: RunMeta) -> Key:
    """What must be the same for two runs to be repetitions of one cell."""
    asked = {name: meta.scenario_resolved.get(name) for name in ("stage", "slo", "profile", "deadline_ms", "timeout_s")}
    return (*(meta.hashes.get(noun, "") for noun in ("setup", "workload", "lock")), _text(asked))


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _measured(run: StoredRun) -> bool:
    return run.meta.status in ("ok", "void") and run.has_rows


def _cells(groups: Sequence[Sequence[StoredRun]], beside: Beside | None) -> list[Cell]:
    """The cells of the groups that have rows; the next one's runs are read while one is judged."""
    made = []
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        def begin(group: Sequence[StoredRun]) -> list[Future[RunFigures]]:
            return [pool.submit(_figures, run, beside) for run in group if _measured(run)]

        begun = begin(groups[0])
        for group, following in zip(groups, (*groups[1:], ()), strict=True):
            ready, begun = begun, begin(following)
            measured = [found for each in ready if len((found := each.result()).ordered_ms)]
            if measured:
                made.append(cell(measured, [run.meta for run in group if run.meta.status == "failed"]))
    return made


def _figures(run: StoredRun, beside: Beside | None) -> RunFigures:
    columns = run.columns(*dict.fromkeys((*NEEDED, *(beside.names if beside else ()))))
    view = read_view(run, columns)
    found = figures(view, view.probes)
    if beside and found.valid:
        beside.take(run, view, columns)
    return found


def _reasons(groups: Iterable[Sequence[StoredRun]]) -> dict[str, str]:
    return {f"{group[-1].meta.arm} × {group[-1].meta.workload}": group[-1].meta.reason for group in groups if group}
