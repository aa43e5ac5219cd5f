"""Runs without a fault, and whether the machine did anything else beside them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.analyse import probe_figures as probed
from harness.analyse.checks import checks_of
from harness.analyse.frames import RunView, read_view
from harness.audit.lab import Lab, named
from harness.errors import TailraceError
from harness.record.read import StoredRun

OTHER_SHARE = 0.1
STOLEN_SHARE = 0.01
WAITED_SHARE = 0.1
PAUSE_MS = 2.0
ACCUSING = ("warning", "invalid")


@dataclass(frozen=True)
class Clean:
    """Pairs of runs of one setup under two names, and all those runs beside which the machine did nothing else."""

    pairs: tuple[tuple[StoredRun, StoredRun], ...]
    idle: tuple[StoredRun, ...]
    disturbed: int


def clean_runs(place: Lab, wanted: int, until_s: float, say: Callable[[str], None]) -> Clean:
    """Pairs of clean runs (ABBA, each pair with one schedule) until so many runs were made on an idle machine, or the
    monotonic time `until_s` has come; two pairs at least.

    Raises TailraceError for a run that fails.
    """
    pairs: list[tuple[StoredRun, StoredRun]] = []
    idle: list[StoredRun] = []
    while len(pairs) < 2 or (len(idle) < wanted and time.monotonic() < until_s):
        pair = _pair(place, len(pairs))
        pairs.append(pair)
        idle += [run for run in pair if not disturbances(read_view(run))]
        say(f"clean runs: {len(idle)} of {2 * len(pairs)} on an idle machine")
    quiet = {run.meta.run_id for run in idle}
    both = tuple(pair for pair in pairs if all(run.meta.run_id in quiet for run in pair))
    return Clean(both if len(both) > 1 else tuple(pairs), tuple(idle), 2 * len(pairs) - len(idle))


def disturbances(view: RunView) -> list[str]:
    """What gauges beside the run, not the run's own latencies, tell of the machine: other processes on its CPUs, CPUs
    stolen, tasks waiting for disk or memory, a pause of the host that a realtime meter saw."""
    window_s = view.window_s
    cpus = {"server": len(view.meta.server_cpus), "load": len(view.meta.load_cpus)}
    seen = [f"other work on the {scope} CPUs" for scope, n in cpus.items()
            if probed.other_share(view.probes, scope, n, window_s) > OTHER_SHARE]
    stolen_s = sum(probed.passed(view.probes, scope, "cores_stolen_s", window_s) for scope in cpus)
    seen += ["stolen CPUs"] if stolen_s > STOLEN_SHARE * window_s * sum(cpus.values()) else []
    seen += [f"waiting for {kind}" for kind in ("memory", "io")
             if probed.passed(view.probes, "host", f"pressure_{kind}_s", window_s) > WAITED_SHARE * window_s]
    paused = any(end - start > PAUSE_MS * 1e6 for each in view.generators if each.get("hiccup_realtime")
                 for start, end in each.get("hiccup_pauses_ns", []))
    return [*seen, *(["a pause of the host"] if paused else [])]


def accusations(run: StoredRun) -> list[tuple[str, str, str]]:
    """(run, code, words) of every warning or worse that the checks have about a run."""
    return [(run.meta.run_id, check.code, f"{check.severity}: {check.message}")
            for check in checks_of(read_view(run)) if check.severity in ACCUSING]


def _pair(place: Lab, number: int) -> tuple[StoredRun, StoredRun]:
    found = {}
    for name in ("a", "b") if number % 2 == 0 else ("b", "a"):
        attempt = place.attempt(seed=100 + number)
        found[name] = run = place.run(replace(attempt, setup=named(attempt.setup, f"faultless-{name}")))
        if run.meta.status != "ok" or not run.has_rows:
            raise TailraceError(f"a clean run did not work: {run.meta.reason}",
                                "look at what else this machine does, then run the audit again")
    return found["a"], found["b"]
