"""`tailrace check`: the contracts of setups, point by point, stored for the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from harness.catalog.device import device_of
from harness.catalog.discover import find_catalog
from harness.catalog.setup import Knob, Setup
from harness.catalog.workload import Workload
from harness.cli.show import dump, screen
from harness.errors import Exit, TailraceError, UsageError
from harness.plan.expand import resolve_knobs
from harness.record.conformance import Conformance, Point, read_answers, write_conformance
from harness.record.write import write_machine
from harness.run.conformance import Findings
from harness.run.conformance import check as prove
from harness.run.cores import split
from harness.run.locks import only_harness
from harness.run.machine import this_machine
from harness.run.provenance import nouns

_TONES = {"passed": "green", "failed": "red"}


@dataclass(frozen=True)
class Asked:
    """What to prove: setups (every one where none is named), the workloads they serve meanwhile, knobs by setup."""

    setups: list[str]
    workloads: list[str]
    knobs: dict[str, dict[str, Knob]]
    device: str = "cpu"


def check(asked: Asked, results: Path, as_json: bool) -> int:
    """Checks each setup with each workload on the device and stores what was seen; 99 when a point fails."""
    found, device = find_catalog(), device_of(asked.device)
    setups = [found.setup(name) for name in asked.setups or found.setup_names()]
    served = [found.workload(name) for name in asked.workloads]
    _refuse_unknown_knobs(setups, asked.knobs, device)
    machine, checks = this_machine(), []
    with only_harness():
        write_machine(results, machine.id, machine.facts)
        for workload in served:
            for setup in setups:
                checks.append(_check(setup, workload, asked.knobs.get(setup.name, {}), device, results / machine.id,
                                     as_json))
                if not as_json:
                    _show(checks[-1])
    if as_json:
        dump([asdict(each) for each in checks])
    return Exit.BROKEN_PROMISE if any(each.failed for each in checks) else Exit.OK


def _refuse_unknown_knobs(setups: Sequence[Setup], knobs: Mapping[str, Mapping[str, Knob]], device: str) -> None:
    """Raises TailraceError for a knob of a setup that is not checked, or that the setup does not have."""
    for stranger in sorted(knobs.keys() - {setup.name for setup in setups}):
        raise UsageError(f"--knob {stranger}.…: that setup is not checked", "name it before the options")
    for setup in setups:
        given = knobs.get(setup.name, {})
        setup.with_knobs(given)
        resolve_knobs(setup, given, len(split().server), device)


def _check(setup: Setup, workload: Workload, knobs: Mapping[str, Knob], device: str, folder: Path,
           as_json: bool) -> Conformance:
    log = screen(stderr=as_json)
    hashes = nouns(setup, workload)
    try:
        findings = prove(setup, workload, lambda line: log.print(f"  {line}", markup=False, highlight=False),
                         read_answers(folder, workload.name, _hashes_now(workload)), device, knobs)
    except TailraceError as error:  # the others can be checked all the same
        findings = Findings((Point("environment", "failed", str(error)),))
    checked = Conformance(setup.name, workload.name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), hashes,
                          findings.points, findings.versions, device=device, knobs=dict(knobs),
                          raised=findings.raised)
    write_conformance(folder, checked, findings.answers)
    return checked


def _hashes_now(workload: Workload) -> Callable[[str], Mapping[str, str]]:
    """What setups that serve the workload are now, by name; nothing of one that is gone. Answers of other code prove
    nothing."""
    found = find_catalog()
    names = set(found.setup_names())
    return lambda name: nouns(found.setup(name), workload) if name in names else {}


def _show(checked: Conformance) -> None:
    given = "".join(f" {name}={value}" for name, value in checked.knobs.items())
    raised = "".join(f", {name} raised to {value} for this check" for name, value in checked.raised.items())
    title = escape(f"{checked.arm}{given} serving {checked.workload}{raised}")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for head in ("point", "", "what was seen"):
        table.add_column(head)
    for point in checked.points:
        tone = _TONES.get(point.verdict, "dim")
        table.add_row(point.code, f"[{tone}]{point.verdict}[/]", escape(point.message))
    screen().print(table)
