"""What a replica carries within another promise than the one its capacity was searched for: predicted, not searched.

A twin fitted to the search's recorded probes says where either promise ends; the searched capacity is scaled by the
ratio of the two, so that where the twin is off at both alike it does not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.catalog.slo import Promise, parse_promise
from harness.decide.bill_question import parse_slo
from harness.decide.capacity_boundary import boundary
from harness.decide.capacity_probe import believed
from harness.decide.twin import Clients, Structure, Twin
from harness.decide.twin_fit import fitted
from harness.decide.twin_read import clients_of, scenario_of, structure_of
from harness.decide.twin_seen import Seen, most_answered
from harness.errors import TailraceError
from harness.record.capacity import Capacity
from harness.record.read import find_runs

TRUSTED = 1.25  # times that the twin's boundary may be above or below the searched capacity
BURST = "capacity-burst"


@dataclass(frozen=True)
class Refit:
    """A twin of a searched replica, the load at which it says that the searched promise ends, and how many times that
    load a replica carries at most: what was answered flat out, or the load itself."""

    twin: Twin
    own: float
    most: float


def refitted(search: Capacity, results: Path) -> Refit | None:
    """The twin of a search's probes that lie below `results`; None where not all of them do, where they cannot be
    read, or where the twin does not come near the searched capacity."""
    found = {run.meta.run_id: run for run in find_runs(results).runs if run.meta.run_id in search.run_ids}
    probes = [found[run] for run in search.run_ids if run in found and found[run].has_rows]
    if not probes or len(probes) < len(search.run_ids):
        return None
    promises = promises_of(parse_slo([search.promise]))
    limit_ms = min((each.limit / 1e6 for each in promises if each.metric == "latency"), default=math.inf)
    meta = probes[0].meta
    try:
        told = [(run.meta.scenario, believed(run, limit_ms)) for run in probes]
        calm = [each.seen for name, each in told if not each.refused or (name == BURST and each.blames != "generator")]
        hint = structure_of(meta.knobs, meta.setup_facts, len(meta.server_cpus), meta.device)
        return refit(calm, hint, clients_of(scenario_of(meta)), promises, search.rate.value)
    except (TailraceError, ValueError):
        return None


def refit(runs: Sequence[Seen], hint: Structure, clients: Clients, promises: Sequence[Promise],
          searched: float) -> Refit | None:
    """The twin of these probes, whose capacity within `promises` was found to be `searched` requests a second; None
    where it says something else. Raises ValueError where no run holds an answer."""
    twin = fitted(runs, hint, clients, factors=np.ones(1))
    own = boundary(twin, promises).rate
    if not searched / TRUSTED <= own <= searched * TRUSTED:
        return None
    return Refit(twin, own, max(1.0, float(np.nan_to_num(most_answered(runs))) / searched))


def share_within(fit: Refit, slo: Mapping[str, str]) -> float:
    """How many times the searched capacity is carried within another promise; 0 where no load keeps it."""
    return min(boundary(fit.twin, promises_of(slo)).rate / fit.own, fit.most)


def promises_of(slo: Mapping[str, str]) -> tuple[Promise, ...]:
    """The clauses of a promise."""
    return tuple(parse_promise(metric, bound) for metric, bound in slo.items())
