"""Recorded runs as the twin's fit sees them, and what a setup's knobs say about its structure."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.analyse.frames import together
from harness.analyse.probe_figures import busy_cores
from harness.catalog.scenario import Scenario
from harness.catalog.toml import validate
from harness.decide.twin import ENDLESS, Clients, Structure
from harness.decide.twin_knobs import OWNERS, knob_names, modelled_of, reads_deadlines
from harness.decide.twin_seen import Seen
from harness.record.read import StoredRun
from harness.record.requests import Array
from harness.record.schema import ABSENT, RunMeta

NEEDED = ("seq", "stage", "due_ns", "done_ns", "status", "error", "batch", "queue_us", "wait_us", "model_us", "copy_us",
          "kernel_us")
US = 1e6


def seen(run: StoredRun) -> Seen:
    """The run's requests: `seen_of` its rows, and how busy its cores were. Raises TailraceError when it has none or its
    scenario cannot be read."""
    found = seen_of(run.meta, run.columns(*NEEDED), pool=run.payload_bytes())
    return replace(found, busy=busy_cores(run.probes(), "server", loaded_s(run.meta)))


def seen_of(meta: RunMeta, rows: Mapping[str, Array], last: int | None = None, pool: Array | None = None) -> Seen:
    """A run's requests from its rows, which hold NEEDED, and the bytes of each payload of its pool; only its `last`
    ones where so many are asked for. Of a run that was stopped early, those due before, of which those count that were
    waited for. Where a process of its own owns the device, a batch takes as long as that computes: preparing and
    finishing go on beside it.

    Raises TailraceError when its scenario cannot be read.
    """
    stopped_s = _stopped_s(meta)
    until_ns = min(stopped_s, 1e9) * 1e9
    order = np.argsort(rows["due_ns"], kind="stable")
    counting = order[(rows["due_ns"] < until_ns)[order]]
    if math.isfinite(stopped_s):
        until_ns = np.min(rows["due_ns"][np.isin(rows["error"], ("unsent", "aborted"))], initial=until_ns)
    rate = float(np.count_nonzero(rows["stage"][counting] >= 0)) / loaded_s(meta)
    kept = together(counting if last is None else counting[-last:])
    rows = {name: rows[name][kept] for name in NEEDED}
    good = (rows["error"] == "") & (rows["status"] >= 200) & (rows["status"] < 300) & (rows["done_ns"] != ABSENT)
    due_s = rows["due_ns"] / 1e9
    model_us = served_us(rows, meta.knobs, meta.device)
    told = good & (model_us >= 0)
    inside = np.maximum(rows["queue_us"], 0) + np.maximum(rows["wait_us"], 0) + model_us
    return Seen(
        meta.run_id, rate, due_s,
        np.where(good, np.maximum(rows["done_ns"] / 1e9 - due_s, 0.0), np.inf),
        np.asarray((rows["stage"] >= 0) & (rows["due_ns"] < until_ns)),
        rows["batch"].astype(np.int64), np.where(told, model_us / US, np.nan),
        np.where(told, inside / US, np.nan),
        pool[rows["seq"] % len(pool)].astype(np.int64) if pool is not None and len(pool) else np.zeros(0, np.int64),
        mean_rate(scenario_of(meta)), len(meta.server_cpus))


def loaded_s(meta: RunMeta) -> float:
    """Seconds of load that counted: the scenario's, or fewer where the run was stopped early. Raises TailraceError when
    its scenario cannot be read."""
    return min(scenario_of(meta).duration_s, _stopped_s(meta))


def _stopped_s(meta: RunMeta) -> float:
    return float((meta.facts.get("stopped") or {}).get("at_s", math.inf))


def served_us(rows: Mapping[str, Array], knobs: Mapping[str, Any], device: str) -> Array:
    """Microseconds that a request's batch kept its server busy, -1 where that is not told: on a GPU with owners its
    copying and computing, else all of the model's time."""
    on_device = device == "gpu" and OWNERS in knobs and bool(np.any(rows["kernel_us"] >= 0))
    if not on_device:
        return rows["model_us"]
    return np.where(rows["kernel_us"] >= 0, np.maximum(rows["copy_us"], 0) + rows["kernel_us"], -1)


def scenario_of(meta: RunMeta) -> Scenario:
    """What the run was asked to do. Raises TailraceError when it cannot be read."""
    return validate(Scenario, dict(meta.scenario_resolved), f"run {meta.run_id}: scenario_resolved")


def mean_rate(scenario: Scenario) -> float:
    """Requests a second over all stages of a resolved scenario, ramps at their middle."""
    sent = sum((stage.rate or 0.0) * stage.duration_s if stage.rate_end is None
               else ((stage.rate or 0.0) + stage.rate_end) / 2 * stage.duration_s for stage in scenario.stage)
    return sent / scenario.duration_s


def structure_of(knobs: Mapping[str, Any], facts: Mapping[str, Any], cpus: int, device: str = "cpu") -> Structure:
    """The structure that the knobs say (see twin_knobs) and the setup's `[twin]` table.

    Setups with a batcher have one queue unless that table says otherwise; of others the fit finds out who spreads the
    load. One that batches as pays does not hold requests back for company, whatever the longest wait it is allowed.
    """
    def number(name: str, empty: float) -> float:
        value = knobs.get(name, empty)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else empty

    names, modelled = knob_names(facts, knobs, device), modelled_of(facts)
    most = max(1, int(number(names["max_batch"], 1)))
    limit = int(number(names["queue"], math.inf)) if math.isfinite(number(names["queue"], math.inf)) else ENDLESS
    return Structure(
        workers=max(1, int(number(names["workers"], cpus))),
        balancer="shared" if most > 1 and not modelled.queue_per_worker else "connections", max_batch=most,
        wait_s=0.0 if modelled.adaptive or most == 1 else number(names["wait_ms"], 0.0) / 1e3,
        limit=limit, drops_late=reads_deadlines(facts))


def clients_of(scenario: Scenario) -> Clients:
    """Clients that wait as long as the scenario says."""
    deadline_s = math.inf if scenario.deadline_ms is None else scenario.deadline_ms / 1e3
    return Clients(timeout_s=scenario.timeout_s, deadline_s=deadline_s)
