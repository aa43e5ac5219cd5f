"""What setups take to run and to keep, and which points of their contract they were seen to keep; read from records."""

import math
from collections.abc import Iterable, Sequence

from harness.analyse.model import Cell, Contract, Upkeep
from harness.record.conformance import Conformance, read_conformance
from harness.record.read import StoredRun
from harness.record.schema import RunMeta


def upkeep(runs: Sequence[StoredRun], cells: Sequence[Cell]) -> tuple[Upkeep, ...]:
    """One per setup and device, in order of first appearance; what is not known of it is NaN or empty. Facts of the
    setup itself are those of its newest run that knows them."""
    metas = [run.meta for run in runs]
    return tuple(_upkeep(setup, [meta for meta in metas if meta.arm == setup],
                         [cell for cell in cells if cell.setup == setup])
                 for setup in dict.fromkeys(meta.arm for meta in metas))


def contracts(runs: Iterable[StoredRun]) -> tuple[Contract, ...]:
    """What `tailrace check` found, on the runs' machines, about the setups and workloads that ran; `current` where it
    was found with the very code that ran last. A check with knobs speaks for runs with the same ones alone."""
    newest: dict[tuple[str, str], StoredRun] = {(run.meta.arm, run.meta.workload): run for run in runs}
    folders = dict.fromkeys(run.folder.parent for run in newest.values())
    checked = [found for folder in folders for found in read_conformance(folder)]
    nearest: dict[tuple[str, str], Conformance] = {}
    for found in sorted(checked, key=lambda each: len(each.knobs)):
        pair = found.arm, found.workload
        if pair in newest and found.knobs.items() <= newest[pair].meta.knobs.items():
            nearest[pair] = found
    return tuple(_contract(nearest[pair], newest[pair].meta) for pair in sorted(nearest))


def _upkeep(setup: str, metas: Sequence[RunMeta], cells: Sequence[Cell]) -> Upkeep:
    told = metas[-1].setup_facts
    facts = {name: value for meta in metas for name, value in meta.facts.items() if value}
    sizes = [float(meta.facts["env_bytes"]) / 1e6 for meta in metas if meta.facts.get("env_bytes")]
    return Upkeep(
        setup, str(told.get("title", "")), str(told.get("tier", "")),
        memory_mb={workload: _memory(cells, workload) for workload in dict.fromkeys(cell.workload for cell in cells)},
        start_s={cell.workload: cell.start_s for cell in cells},
        environment_mb=max(sizes, default=math.nan),
        code_lines=int(facts.get("code_lines", 0)), processes=dict(facts.get("processes", {})),
        versions={str(name): str(version) for name, version in facts.get("engine_versions", {}).items()},
        mlops={str(name): value for name, value in (told.get("mlops") or {}).items()},
        limits={str(name): str(why) for name, why in (told.get("limits") or {}).items()})


def _memory(cells: Sequence[Cell], workload: str) -> float:
    """The most MB that any cell of the workload used."""
    return max((cell.pss_mb for cell in cells if cell.workload == workload and math.isfinite(cell.pss_mb)),
               default=math.nan)


def _contract(found: Conformance, meta: RunMeta) -> Contract:
    kept = sum(point.verdict == "passed" for point in found.points)
    current = all(meta.hashes.get(noun) == found.hashes.get(noun) for noun in ("setup", "workload", "lock"))
    return Contract(found.arm, found.workload, found.checked_utc, kept,
                    {point.code: point.message for point in found.failed},
                    {point.code: point.message for point in found.points if point.verdict == "skipped"},
                    tuple(point.code for point in found.points), current)
