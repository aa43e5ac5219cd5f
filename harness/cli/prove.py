"""`tailrace check`: the contracts of setups, point by point, stored for the report."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from harness.catalog.device import device_of
from harness.catalog.discover import find_catalog
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.cli.show import dump, screen
from harness.errors import Exit
from harness.record.conformance import Conformance, read_answers, write_conformance
from harness.record.write import write_machine
from harness.run.conformance import check as prove
from harness.run.locks import only_harness
from harness.run.machine import Machine, this_machine
from harness.run.provenance import nouns

_TONES = {"passed": "green", "failed": "red"}


def check(names: list[str], workloads: list[str], device: str, results: Path, as_json: bool) -> int:
    """Checks each setup (every one where none is named) with each workload on the device and stores what was seen; 99
    when a point fails."""
    found, device = find_catalog(), device_of(device)
    setups = [found.setup(name) for name in names or found.setup_names()]
    served = [found.workload(name) for name in workloads]
    machine, checks = this_machine(), []
    with only_harness():
        write_machine(results, machine.id, machine.facts)
        for workload in served:
            for setup in setups:
                checks.append(_check(setup, workload, device, machine, results, as_json))
                if not as_json:
                    _show(checks[-1])
    if as_json:
        dump([asdict(each) for each in checks])
    return Exit.BROKEN_PROMISE if any(each.failed for each in checks) else Exit.OK


def _check(setup: Setup, workload: Workload, device: str, machine: Machine, results: Path,
           as_json: bool) -> Conformance:
    log = screen(stderr=as_json)
    folder = results / machine.id
    hashes = nouns(setup, workload)
    findings = prove(setup, workload, lambda line: log.print(f"  {line}", markup=False, highlight=False),
                     read_answers(folder, workload.name, _hashes_now(workload)), device)
    checked = Conformance(setup.name, workload.name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), hashes,
                          findings.points, findings.versions, device=device)
    write_conformance(folder, checked, findings.answers)
    return checked


def _hashes_now(workload: Workload) -> Callable[[str], Mapping[str, str]]:
    """What setups that serve the workload are now, by name; nothing of one that is gone. Answers of other code prove
    nothing."""
    found = find_catalog()
    names = set(found.setup_names())
    return lambda name: nouns(found.setup(name), workload) if name in names else {}


def _show(checked: Conformance) -> None:
    table = Table(title=f"{checked.arm} serving {checked.workload}", title_justify="left", box=None, padding=(0, 2))
    for head in ("point", "", "what was seen"):
        table.add_column(head)
    for point in checked.points:
        tone = _TONES.get(point.verdict, "dim")
        table.add_row(point.code, f"[{tone}]{point.verdict}[/]", escape(point.message))
    screen().print(table)
