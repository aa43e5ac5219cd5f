"""The recorded runs that a twin is fitted to, the twin, how far off it is, and the load a prediction starts from."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.analyse.checks import checks_of
from harness.analyse.frames import read_view
from harness.catalog.discover import Catalog
from harness.catalog.scenario import Scenario
from harness.decide.demand import Curve, find_demand
from harness.decide.twin import Clients
from harness.decide.twin_evidence import DEADLINE, Others, evidence_of
from harness.decide.twin_knobs import knob_names, reads_deadlines
from harness.decide.twin_predict import LEAST_RUNS, Evidence, Fitted, learned
from harness.decide.twin_read import clients_of, mean_rate, scenario_of, seen, structure_of
from harness.decide.twin_seen import Seen
from harness.decide.twin_whatif import Change
from harness.errors import TailraceError, UsageError
from harness.record.read import StoredRun, find_runs
from harness.record.schema import RunMeta
from harness.run.machine import this_machine

HOURS = {"lunch": 12.5, "noon": 12.0, "midnight": 0.0, "night": 3.0, "morning": 9.0, "evening": 19.0}


@dataclass(frozen=True)
class Known:
    """The runs that a twin is fitted to: of one setup, workload, machine and settings (knobs, and the deadline that
    clients bring to a setup that reads it). `left_out` is how many more there are of that kind that the generator or
    the host spoiled; `others` are runs alike but for settings, those of one choice together. `here`: this machine's."""

    runs: tuple[StoredRun, ...]
    left_out: int
    here: bool
    others: tuple[tuple[StoredRun, ...], ...] = ()

    @property
    def newest(self) -> StoredRun:
        """The latest of them."""
        return self.runs[-1]


def known(results: Path, catalog: Catalog, setup: str, workload: str, machine: str | None = None) -> Known:
    """The runs to fit: of that machine, or this one, or of whatever machine has the newest where this one has none;
    of the newest settings under which enough were recorded. Raises TailraceError when there are none."""
    catalog.setup(setup)
    catalog.workload(workload)
    runs = [run for run in find_runs(results).runs
            if (run.meta.setup, run.meta.workload, run.meta.status) == (setup, workload, "ok")
            and run.has_rows and not scenario_of(run.meta).closed]
    if not runs:
        raise TailraceError(f"{results}: no run of {setup} on {workload} to fit a twin to",
                            "measure some loads with `tailrace capacity` or `tailrace run --load`")
    here = this_machine().id
    machines = sorted({run.meta.machine_id for run in runs})
    if machine is not None and machine not in machines:
        raise UsageError(f"--machine {machine}: {results} holds no run of {setup} on {workload} of that machine",
                         f"there are of {', '.join(machines)}")
    runs = [run for run in runs if run.meta.machine_id == (machine or here)] or runs
    last = runs[-1].meta
    groups: dict[str, list[StoredRun]] = {}
    for run in reversed(runs):
        if (run.meta.machine_id, run.meta.device, run.meta.hashes.get("setup")) == (
                last.machine_id, last.device, last.hashes.get("setup")):
            groups.setdefault(json.dumps(settings(run.meta), sort_keys=True), []).insert(0, run)
    group, sound = enough(list(groups.values()))
    if not sound:
        raise TailraceError(f"{results}: no run of {setup} on {workload} is valid; of the newest, {spoiled(runs[-1])}",
                            "measure them again on a quieter machine")
    return Known(sound, len(group) - len(sound), last.machine_id == here,
                 tuple(tuple(other) for other in groups.values() if other is not group))


def enough(groups: Sequence[list[StoredRun]]) -> tuple[list[StoredRun], tuple[StoredRun, ...]]:
    """The first of the groups with enough valid runs to fit, else the one with most, and those that are valid: a run
    or two of other knobs, as --verify makes them, are no ground to fit a twin to."""
    best = groups[0]
    most: tuple[StoredRun, ...] = ()
    for group in groups:
        valid = tuple(run for run in group if not spoiled(run))
        if len(valid) > len(most):
            best, most = group, valid
        if len(most) >= LEAST_RUNS:
            break
    return best, most


def settings(meta: RunMeta) -> dict[str, Any]:
    """The run's knobs and, in seconds, the deadline its clients brought where its setup reads one."""
    deadline_s = clients_of(scenario_of(meta)).deadline_s
    return {**meta.knobs, **({DEADLINE: deadline_s} if reads_deadlines(meta.setup_facts) else {})}


def held_out_for(found: Known, fit: Fitted, moved: Mapping[str, float], machine_workers: int) -> Evidence:
    """How far off the twin is with these settings: see twin_evidence.evidence_of."""
    meta, others = found.newest.meta, []
    start = settings(meta)
    asked = {name: value for name, value in moved.items() if value != start.get(name)}
    for group in found.others:
        theirs = settings(group[-1].meta)
        unlike = {name: theirs.get(name) for name in start.keys() | theirs.keys()
                  if theirs.get(name) != start.get(name)}
        values = {name: float(value) for name, value in unlike.items() if isinstance(value, int | float)}
        if values.keys() == unlike.keys() <= asked.keys():
            others.append(Others(values, [seen(run) for run in group if not spoiled(run)],
                                 clients_of(scenario_of(group[-1].meta))))
    for name in asked:
        if not isinstance(start[name], int | float):
            return Evidence(math.nan, f"{name} is {start[name]} in the runs, which is no number")
    subjects = {name: subject for subject, name in knob_names(meta.setup_facts, meta.knobs, meta.device).items()}
    return evidence_of(fit, start, asked, others, subjects, machine_workers)


def spoiled(run: StoredRun) -> str:
    """Why its figures are not the setup's, but the generator's, the host's or the harness's; "" where they are."""
    return next((check.message for check in checks_of(read_view(run))
                 if check.severity == "invalid" and check.blames in ("generator", "host", "harness")), "")


def fit_of(found: Known, clients: Clients) -> Fitted:
    """The twin of the runs, under the clients asked for; timeout and deadline as recorded unless shorter ones are."""
    meta = found.newest.meta
    hint = structure_of(meta.knobs, meta.setup_facts, len(meta.server_cpus), meta.device)
    runs: list[Seen] = [seen(run) for run in found.runs]
    recorded = clients_of(scenario_of(found.newest.meta))
    try:
        fit = learned(runs, hint, recorded)
    except ValueError as error:
        raise TailraceError(f"{meta.setup} on {meta.workload}: {error}", "measure it again") from None
    return replace(fit, twin=replace(fit.twin, clients=under(clients, recorded)))


def under(asked: Clients, recorded: Clients) -> Clients:
    """The clients asked for, which wait no longer than the recorded ones did."""
    return replace(asked, timeout_s=min(asked.timeout_s, recorded.timeout_s),
                   deadline_s=min(asked.deadline_s, recorded.deadline_s))


def base_rate(catalog: Catalog, rate: float | None, demand: str | None, scenario: Scenario | None, found: Known,
              changes: Sequence[Change]) -> float:
    """The load to start from: as given, the demand's at the moment a change names or its busiest minute, the
    scenario's own, else the newest run's. Raises UsageError for a moment without a demand to read it from."""
    moment = next((change.when for change in changes if change.when), "")
    if moment and (demand is None or rate is not None):
        raise UsageError(f"'at {moment}' is a moment of a demand, and " + (
            "--rate says another load" if rate is not None else "none is given"),
            "name one with --demand, and leave --rate out")
    if rate is not None:
        return rate
    if demand is not None:
        curve = find_demand(catalog, demand)
        return at_moment(curve, moment) if moment else curve.peak
    return mean_rate(scenario) if scenario is not None else seen(found.newest).rate


def at_moment(curve: Curve, when: str) -> float:
    """The demand at a time of day (`12:30`, `lunch`), the most of any day. Raises UsageError."""
    clock = re.fullmatch(r"(\d{1,2})(?::(\d\d))?(?:\s*h)?", when)
    if clock is None and when not in HOURS:
        raise UsageError(f"'at {when}': no such time", f"write 12:30 or one of {', '.join(HOURS)}")
    hour = int(clock[1]) + int(clock[2] or 0) / 60 if clock else HOURS[when]
    minute = math.floor(hour * 60 + 0.5) % 1440
    return float(curve.rate[minute % len(curve.rate)::1440].max())
