"""How far off a twin is whose knobs were changed: runs that have other values of them are held out. Pure.

They are predicted by the twin of the other runs with those knobs changed, just as the prediction itself is made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.decide.twin import Clients, Twin
from harness.decide.twin_predict import LEAST_RUNS, Evidence, Fitted, loads, p99_error, tells_p99
from harness.decide.twin_seen import Seen
from harness.decide.twin_whatif import Change, Subject, changed

DEADLINE = "the clients' deadline"


@dataclass(frozen=True)
class Others:
    """Runs that are like the fitted ones, on the same machine, but for the settings in `values`: knobs by their names,
    and the `DEADLINE` in seconds, which is in `clients` too."""

    values: Mapping[str, float]
    runs: Sequence[Seen]
    clients: Clients


def evidence_of(fit: Fitted, start: Mapping[str, float], asked: Mapping[str, float], others: Sequence[Others],
                subjects: Mapping[str, Subject], machine_workers: int) -> Evidence:
    """How far off `fit.twin` is with the settings changed from their recorded values in `start` to those `asked`.

    Only `others` that differ in nothing else count. A value between those that were run is told, with the median error
    of the loads run with other values (the greatest of fewer than LEAST_RUNS), and no less than that over loads; one
    beyond them is not known. `subjects` says what the twin calls a knob, `machine_workers` how many workers stay on
    one machine.
    """
    moved = {name: value for name, value in asked.items() if value != start[name]}
    if not moved:
        return Evidence(fit.error)
    alike = [other for other in others if set(other.values) <= set(moved)]
    for name, value in moved.items():
        run = sorted({start[name], *(other.values[name] for other in alike if name in other.values)})
        if not run[0] <= value <= run[-1]:
            measured = f"{run[0]:g}" if len(run) == 1 else f"{run[0]:g} to {run[-1]:g}"
            return Evidence(math.nan, f"{name} would be {value:g}, and was {measured} in all runs otherwise like these")
    errors, largest = [], 0
    for other in alike:
        twin = _with(fit.twin, other, subjects, machine_workers)
        for load in loads(other.runs) if twin is not None else []:
            if twin is not None and tells_p99(load) and math.isfinite(error := p99_error(twin, load)):
                errors.append(error)
                largest = max(largest, *(int(run.batch.max(initial=0)) for run in load))
    names = " and ".join(sorted(moved))
    if not errors:
        return Evidence(math.nan, f"no run with another {names} was carried and long enough to hold out")
    typical = float(np.median(errors)) if len(errors) >= LEAST_RUNS else max(errors)
    return Evidence(max(fit.error, typical), basis=f"{len(errors)} load{'s' * (len(errors) > 1)} run with another "
                    f"{names}", largest_batch=largest)


def _with(twin: Twin, other: Others, subjects: Mapping[str, Subject], machine_workers: int) -> Twin | None:
    """The twin with the settings of the others; None where they would be a fleet, which those runs are not."""
    for name, value in other.values.items():
        if name in subjects:
            twin, _, assumed = changed(twin, 1.0, Change(subjects[name], value), machine_workers)
            if assumed:
                return None
    return replace(twin, clients=other.clients)
