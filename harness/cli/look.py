"""`tailrace list`, `prepare` and `verify`."""

from pathlib import Path

from rich.table import Table

from harness.catalog.device import device_of, why_not_on
from harness.catalog.discover import find_catalog
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.cli.show import dump, screen
from harness.errors import Exit
from harness.record.read import run_named
from harness.record.verify import verify as problems_of
from harness.run.ahead import make_ahead
from harness.run.environments import environment, environments
from harness.run.machine import lacking
from harness.run.prepare import prepare as prepare_workload


def catalog(as_json: bool) -> None:
    """Setups, workloads, scenarios and plans."""
    found = find_catalog()
    setups = [found.setup(name) for name in found.setup_names()]
    workloads = [found.workload(name) for name in found.workload_names()]
    scenarios = [found.scenario(name) for name in found.scenario_names()]
    plans = [found.plan(name) for name in found.plan_names()]
    if as_json:
        dump({"setups": [setup.model_dump(mode="json", exclude={"folder"}) for setup in setups],
              "workloads": [workload.model_dump(mode="json", exclude={"folder"}) for workload in workloads],
              "scenarios": [scenario.model_dump(mode="json") for scenario in scenarios],
              "plans": [plan.model_dump(mode="json") for plan in plans]})
        return
    rows: list[tuple[str, list[tuple[str, str, str]]]] = [
        ("Setups", [(s.name, s.tier, s.title) for s in setups]),
        ("Workloads", [(w.name, w.modality, w.title) for w in workloads]),
        ("Scenarios", [(s.name, f"{s.duration_s:g} s", s.title) for s in scenarios]),
        ("Plans", [(p.name, f"{p.repetitions} repetitions", p.title) for p in plans]),
    ]
    for title, lines in rows:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False,
                      padding=(0, 2))
        for line in lines:
            table.add_row(*line)
        screen().print(table)


def prepare(workloads: list[str], setups: list[str], device: str = "cpu") -> None:
    """Models, and the environments of `setups` (of every setup when none is named) that can serve them on the device,
    whether it is here or not."""
    found, out, device = find_catalog(), screen(), device_of(device)

    def say(line: str) -> None:
        out.print(f"  {line}", markup=False, highlight=False)

    chosen = [found.workload(name) for name in workloads or found.workload_names()]
    served = [found.setup(name) for name in setups or found.setup_names()]

    def fits(workload: Workload, setup: Setup) -> bool:
        said = why_not_on(device, workload.name, workload.devices, setup.name, setup.devices)
        return not (said or workload.name in setup.limits or lacking(setup.needed.model_dump(), setup.folder))

    make_ahead([(workload, setup) for workload in chosen for setup in served if fits(workload, setup)], say)
    for workload in chosen:
        made = prepare_workload(workload, say)
        environment([workload.lock], say)
        out.print(f"{workload.name}: ready in {made.folder}", markup=False, highlight=False)
        for setup in served:
            if fits(workload, setup):
                environments(setup, workload, say)


def verify(run: Path, results: Path, as_json: bool) -> int:
    """What is wrong with a record; 111 when anything is."""
    folder = run_named(run, results)
    problems = problems_of(folder)
    if as_json:
        dump({"run": folder.name, "problems": problems})
    else:
        for line in problems or ["the record is whole and unaltered"]:
            screen().print(f"{folder.name}: {line}", markup=False, highlight=False)
    return Exit.INVALID if problems else Exit.OK
