"""The recorded runs that a twin is fitted to, the twin, and the load a prediction starts from."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analyse.checks import checks_of
from harness.analyse.frames import read_view
from harness.catalog.discover import Catalog
from harness.catalog.scenario import Scenario
from harness.decide.demand import Curve, find_demand
from harness.decide.twin import Clients
from harness.decide.twin_predict import Fitted, learned
from harness.decide.twin_read import clients_of, mean_rate, scenario_of, seen, structure_of
from harness.decide.twin_seen import Seen
from harness.decide.twin_whatif import Change
from harness.errors import TailraceError, UsageError
from harness.record.read import StoredRun, find_runs
from harness.run.machine import this_machine

HOURS = {"lunch": 12.5, "noon": 12.0, "midnight": 0.0, "night": 3.0, "morning": 9.0, "evening": 19.0}


@dataclass(frozen=True)
class Known:
    """The runs that a twin is fitted to: of one setup, workload, machine and set of knobs, the newest's. `left_out`
    is how many more there are of that kind that the generator or the host spoiled."""

    runs: tuple[StoredRun, ...]
    left_out: int
    here: bool

    @property
    def newest(self) -> StoredRun:
        """The latest of them."""
        return self.runs[-1]


def known(results: Path, catalog: Catalog, setup: str, workload: str) -> Known:
    """The runs to fit: this machine's where there are any. Raises TailraceError when there are none."""
    catalog.setup(setup)
    catalog.workload(workload)
    runs = [run for run in find_runs(results).runs
            if (run.meta.setup, run.meta.workload, run.meta.status) == (setup, workload, "ok")
            and run.has_rows and not scenario_of(run.meta).closed]
    if not runs:
        raise TailraceError(f"{results}: no run of {setup} on {workload} to fit a twin to",
                            "measure some loads with `tailrace capacity` or `tailrace run --load`")
    here = this_machine().id
    runs = [run for run in runs if run.meta.machine_id == here] or runs
    last = runs[-1].meta
    same = [run for run in runs if (run.meta.machine_id, run.meta.device, run.meta.knobs, run.meta.hashes.get("setup"))
            == (last.machine_id, last.device, last.knobs, last.hashes.get("setup"))]
    sound = tuple(run for run in same if not spoiled(run))
    if not sound:
        raise TailraceError(f"{results}: no run of {setup} on {workload} is valid; of the newest, {spoiled(same[-1])}",
                            "measure them again on a quieter machine")
    return Known(sound, len(same) - len(sound), last.machine_id == here)


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
