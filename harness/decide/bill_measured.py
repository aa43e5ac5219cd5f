"""What was measured of each setup, judged by the promise asked for: of one machine (or each setup's own, where it is
said), and of one setting of its knobs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from harness.analyse.cells import cell
from harness.analyse.figures import RunFigures, figures
from harness.analyse.frames import RunView, read_view
from harness.analyse.model import Cell
from harness.analyse.probe_figures import Probes
from harness.analyse.summary import selected
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob
from harness.catalog.toml import validate
from harness.decide.bill import UNKNOWN, Latency
from harness.decide.prices import PriceList
from harness.errors import TailraceError
from harness.record.capacity import Capacity, find_capacities
from harness.record.read import StoredRun
from harness.record.schema import RunMeta

PROBED = "capacity"  # the plan of the probes of `tailrace capacity`
STAMP = 19           # characters of a run's or a search's id that tell its time

Setting = tuple[str, str, int]  # knobs as text, machine, CPUs of the server


@dataclass(frozen=True)
class Asked:
    """The question: a workload, its promise (clause to bound), and what money is known.

    `prices` are USD an hour by setup, `instances` names of the price list by setup, `speeds` assumed factors by setup,
    `carries` requests a second by setup where nothing was measured, `machines` the machine by setup whose records alone
    count for it. `today` dates the prices' age. `usual` has the default knobs of every setup that may be named,
    recorded or not.
    """

    workload: str
    slo: Mapping[str, str]
    list_: PriceList
    today: date
    setups: Sequence[str] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)
    carries: Mapping[str, float] = field(default_factory=dict)
    usual: Mapping[str, Mapping[str, Knob]] = field(default_factory=dict)
    machines: Mapping[str, str] = field(default_factory=dict)

    def wants(self, arm: str, machine: str) -> bool:
        """Whether records of this setup on that machine count."""
        return (not self.setups or arm in self.setups) and self.machines.get(arm, machine) == machine

    @property
    def promise(self) -> str:
        """The promise as one text."""
        return " and ".join(f"{metric} {bound}" for metric, bound in self.slo.items())


@dataclass(frozen=True)
class Opened:
    """A run with its rows and probes in memory."""

    run: StoredRun
    view: RunView
    probes: Probes


@dataclass(frozen=True)
class Measured:
    """One setup's cells of one setting, judged by the promise asked for; the figures of their runs, cell by cell; the
    newest run; the searches of this setting, oldest first; its knobs that are not at their defaults (`workers=1`); and
    how many runs and searches of other settings are left out."""

    cells: tuple[Cell, ...]
    runs: tuple[Sequence[RunFigures], ...]
    newest: StoredRun | None
    searches: tuple[Capacity, ...]
    changed_knobs: str
    left_out: int

    @property
    def best(self) -> int:
        """The place in `cells` of the highest load at which the promise was kept; of the lowest where it never was."""
        places = range(len(self.cells))
        kept = [place for place in places if self.cells[place].verdict == "pass"]
        if kept:
            return max(kept, key=lambda place: self.cells[place].offered_rate)
        return min(places, key=lambda place: self.cells[place].offered_rate)

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """The p99 of each load that was measured validly."""
        return tuple(Latency(place_of(runs[-1].meta), each.offered_rate, each.quantiles_ms.get(0.99, UNKNOWN),
                             each.verdict) for each, runs in zip(self.cells, self.runs, strict=True)
                     if each.verdict != "invalid")


def place_of(meta: RunMeta) -> str:
    """The load of a run as one text: equal where the same arrivals were asked for."""
    asked = [meta.scenario_resolved.get(name) for name in ("stage", "profile")]
    return f"{meta.scenario} x{meta.load:g} {hashlib.sha256(_text(asked).encode()).hexdigest()[:8]}"


def setting_of(meta: RunMeta) -> Setting:
    """What may be pooled: knobs, machine, CPUs."""
    return _text(meta.knobs), meta.machine_id, len(meta.server_cpus)


def opened(results: Path, asked: Asked) -> tuple[Opened, ...]:
    """The open-loop runs of the workload and setups asked for, with their rows: read once, judged by many promises."""
    runs = selected(results) if results.is_dir() else ()
    wanted = [run for run in runs if run.meta.workload == asked.workload
              and asked.wants(run.meta.arm, run.meta.machine_id)
              and not any(stage["arrivals"] == "closed" for stage in run.meta.scenario_resolved["stage"])]
    return tuple(Opened(run, read_view(run), run.probes()) for run in told(wanted))


def told(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Without the probes of capacity searches, which go to saturation and back, of setups (and settings) that have
    other runs."""
    loaded = {(run.meta.arm, setting_of(run.meta)) for run in runs if run.meta.plan != PROBED}
    return [run for run in runs if run.meta.plan != PROBED or (run.meta.arm, setting_of(run.meta)) not in loaded]


def measured(results: Path, asked: Asked, runs: Sequence[Opened]) -> dict[str, Measured]:
    """What is known of each setup: of its newest setting alone, for settings are not repetitions of each other. Raises
    TailraceError where the records of setups whose machine is not said are of two machines."""
    found = [each for each in (find_capacities(results) if results.is_dir() else ())
             if each.workload == asked.workload and same_promise(each.promise, asked.slo) and each.rate.value > 0
             and asked.wants(each.arm, each.machine_id)]
    _one_machine(results, asked, [*((each.run.meta.machine_id, each.run.meta.arm) for each in runs),
                                  *((each.machine_id, each.arm) for each in found)])
    names = dict.fromkeys([*(each.run.meta.arm for each in runs), *(each.arm for each in found)])
    return {name: _of_newest(asked, [each for each in runs if each.run.meta.arm == name],
                             [each for each in found if each.arm == name]) for name in names}


def same_promise(text: str, slo: Mapping[str, str]) -> bool:
    """Whether a capacity's promise is the one asked for, however it is spaced and ordered."""
    clauses = text.replace(" and ", ",").replace(";", ",").split(",")
    plain = {"".join(clause.split()) for clause in clauses if clause.strip()}
    return plain == {"".join(f"{metric}{bound}".split()) for metric, bound in slo.items()}


def _one_machine(results: Path, asked: Asked, seen: Sequence[tuple[str, str]]) -> None:
    machines = sorted({machine for machine, arm in seen
                       if machine and arm not in asked.carries and arm not in asked.machines})
    if len(machines) > 1:
        raise TailraceError(f"{results}: the records of {asked.workload} are of {len(machines)} machines "
                            f"({', '.join(machines[:3])}), and a bill compares setups on one",
                            f"name one machine's folder, --results {results / machines[0]}, or say whose records count "
                            f"for which setup: --machine SETUP={machines[0]}")


def _of_newest(asked: Asked, runs: Sequence[Opened], searches: Sequence[Capacity]) -> Measured:
    """The newest setting's; probes say which it is only where there is nothing else."""
    dated = [(each.run.meta.run_id[:STAMP], setting_of(each.run.meta)) for each in runs
             if each.run.meta.plan != PROBED]
    dated += [(each.id[:STAMP], _searched_with(each)) for each in searches]
    dated = dated or [(each.run.meta.run_id[:STAMP], setting_of(each.run.meta)) for each in runs]
    setting = max(dated)[1]
    own = [each for each in runs if setting_of(each.run.meta) == setting]
    kept = tuple(each for each in searches if _searched_with(each) == setting)
    groups: dict[str, list[RunFigures]] = {}
    for each in own:
        said = {**each.view.scenario.model_dump(), "slo": dict(asked.slo)}
        judged = replace(each.view, scenario=validate(Scenario, said, f"run {each.run.meta.run_id}"))
        groups.setdefault(place_of(each.run.meta), []).append(figures(judged, each.probes))
    others = sum(each.run.meta.plan != PROBED and setting_of(each.run.meta) != setting for each in runs)
    return Measured(tuple(cell(group, ()) for group in groups.values()), tuple(groups.values()),
                    max((each.run for each in own), key=lambda run: run.meta.run_id, default=None), kept,
                    _changed(asked, setting, runs, searches), others + len(searches) - len(kept))


def _changed(asked: Asked, setting: Setting, runs: Sequence[Opened], searches: Sequence[Capacity]) -> str:
    arm = runs[0].run.meta.arm if runs else searches[0].arm
    usual = {name: setting[2] if value == "cores" else value for name, value in asked.usual.get(arm, {}).items()}
    return ", ".join(f"{name}={value}" for name, value in json.loads(setting[0]).items()
                     if name in usual and usual[name] != value)


def _searched_with(search: Capacity) -> Setting:
    return _text(search.knobs), search.machine_id, search.replica_cpus


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
