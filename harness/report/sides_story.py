"""What the notebook `devices` calls, and the report that executes it: two results folders beside each other."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness.analyse.model import Analysis
from harness.analyse.sides import Side, sides
from harness.errors import TailraceError, UsageError
from harness.record import layout
from harness.record.plain import plain
from harness.report import gpu, method
from harness.report import sides as drawn
from harness.report.canvas import Chart
from harness.report.html import page
from harness.report.notebook import SOURCES, execute
from harness.report.options import Options, analysed
from harness.report.sides import Across, across
from harness.report.story import Shown
from harness.report.validity import conclusion
from harness.report.words import clean, escaped
from harness.report.write import as_json, portable_text, write_files

ENVIRONMENT = "TAILRACE_DEVICES"  # options of each folder as JSON, for the notebook's kernel
FILES = ("devices.ipynb", "devices.html", "devices.md", "devices.json")


@dataclass(frozen=True)
class Devices:
    """The analyses of every machine found, and what they say beside each other."""

    analyses: tuple[Analysis, ...] = field(repr=False)
    across: Across


def devices(options: Options, against: Sequence[Path]) -> Devices:
    """The records of `options` as seen from those `against`, whose first side is the base; one machine after the other.

    Raises TailraceError when there are no records, UsageError when they are all of one machine and device.
    """
    analyses = tuple(analysed(replace(options, results=str(machine), baseline="", force=True))
                     for folder in (*against, Path(options.results)) for machine in machines(folder))
    found = sides(analyses)
    if len(found) < 2:
        raise UsageError("there is one machine and one device in these records, so nothing stands against it",
                         "name the results of another machine with --against")
    return Devices(analyses, across(found))


def machines(folder: Path) -> list[Path]:
    """The machines' folders below a results folder, or the one that it is. Raises TailraceError when there is none."""
    found = [folder] if (folder / layout.MACHINE).is_file() else sorted(
        path.parent for path in folder.glob(f"*/{layout.MACHINE}"))
    if not found:
        raise TailraceError(f"{folder}: no machine's results here", "name a folder that `tailrace run` wrote")
    return found


def summary(told: Devices) -> dict[str, object]:
    """Sides, pairs and sentences as plain values for JSON."""
    found = told.across
    return {"schema": 1, "sides": [_plain(side) for side in (found.base, *found.others)],
            "met": [plain(each) for each in found.met], "sentences": list(drawn.sentences(found)),
            "missing": list(found.missing)}


def report(options: Options, against: Sequence[Path], out: Path) -> Devices:
    """Executes the notebook `devices` and writes FILES into `out`. Raises TailraceError."""
    told = devices(options, against)
    asked = json.dumps({"options": {**asdict(options), "results": str(Path(options.results).resolve())},
                        "against": [str(folder.resolve()) for folder in against]})
    notebook = execute(SOURCES / "devices.py", {ENVIRONMENT: asked})
    results = Path(options.results)
    executed = json.loads(portable_text(as_json(notebook), results))
    write_files({FILES[0]: as_json(executed), FILES[1]: page(executed, told.across.title).encode(),
                 FILES[2]: portable_text(drawn.markdown(told.across).encode(), results),
                 FILES[3]: portable_text(as_json(summary(told)), results)}, out)
    return told


def open_devices() -> Devices:
    """The records that the environment names (`tailrace report --against` sets it). Raises TailraceError."""
    told = os.environ.get(ENVIRONMENT)
    if told is None:
        raise TailraceError(f"${ENVIRONMENT} is not set", "make the notebook with `tailrace report A --against B`")
    table = json.loads(told)
    options = {**table["options"], "prices": tuple(table["options"]["prices"])}
    return devices(Options(**options), [Path(folder) for folder in table["against"]])


def headline(told: Devices) -> Shown:
    """What stands against what, and what each setup gains."""
    said = drawn.sentences(told.across) or ("No setup was measured under the same promise on both.",)
    items = "".join(f"<li>{escaped(line)}</li>" for line in said)
    html = f"<h1>{escaped(told.across.title)}</h1><ul class='found'>{items}</ul>"
    return Shown(({"text/html": html, "text/plain": "\n".join(said)},))


def comparison(told: Devices) -> Shown:
    """The tables, how to read them, and what only one side has."""
    tables = [{"text/html": drawn.html(table), "text/plain": table.title} for table in drawn.tables(told.across)]
    below = _list(drawn.notes(told.across)) + _list(told.across.missing)
    return Shown((*tables, {"text/html": below, "text/plain": f"{len(told.across.missing)} not shared"}))


def frontier(told: Devices) -> Shown:
    """p99 against goodput of everything measured."""
    return _charts([drawn.frontier(told.across, workload) for workload in _workloads(told)])


def time_spent(told: Devices) -> Shown:
    """In which part of its way a request spends its time, on each side."""
    return _charts([drawn.time_spent(told.across, workload) for workload in _workloads(told)])


def energy(told: Devices) -> Shown:
    """What the GPUs did and what their energy costs."""
    html = "".join(gpu.html(each) for each in told.analyses)
    said = "Nothing here ran on a GPU, so no energy was measured."
    return Shown(({"text/html": html or f"<p class='conclusion'>{said}</p>", "text/plain": said if not html else ""},))


def trust(told: Devices) -> Shown:
    """How many runs of each machine may be trusted."""
    lines = [f"{each.machine.get('machine_id')}: {conclusion(each)}" for each in told.analyses]
    return Shown(({"text/html": _list(lines), "text/plain": "\n".join(lines)},))


def how_measured(told: Devices) -> Shown:
    """The machines."""
    html = "".join(f"<h3>{escaped(each.machine.get('machine_id', ''))}</h3>{method.facts(each.machine)}"
                   for each in told.analyses)
    return Shown(({"text/html": html, "text/plain": f"{len(told.analyses)} machines"},))


def _workloads(told: Devices) -> list[str]:
    return list(dict.fromkeys(each.workload for each in told.across.met))


def _charts(charts: Sequence[Chart]) -> Shown:
    bundles = []
    for chart in charts:
        bundles += [{"image/svg+xml": chart.svg, "text/plain": chart.title},
                    {"text/html": f"<p class='conclusion'>{escaped(chart.caption)}</p>", "text/plain": chart.caption}]
    return Shown(tuple(bundles))


def _list(lines: Sequence[str]) -> str:
    return f"<ul class='notes'>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>" if lines else ""


def _plain(side: Side) -> dict[str, object]:
    return {"name": clean(side.name), "device": side.device, "machine": plain(dict(side.machine))}
