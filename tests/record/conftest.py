"""Rows as a queue would make them, and metas to go with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.record.read import StoredRun
from harness.record.schema import ABSENT, COLUMNS, SCHEMA, RunMeta
from harness.record.write import RunWriter, write_machine

META = RunMeta(schema=SCHEMA, run_id="", status="ok", reason="", setup="toy", workload="echo", scenario="calm",
               load=1.0, repetition=0, block=0, order=0, started_utc="", finished_utc="", machine_id="box",
               plan="p", baseline="", knobs={"workers": 3}, scenario_resolved={}, setup_facts={}, workload_facts={},
               seeds={"attempt": 7},
               server_cpus=[0], load_cpus=[1], hashes={}, versions={}, git={})


@pytest.fixture(scope="session")
def queue_rows() -> Callable[..., dict[str, np.ndarray[Any, Any]]]:
    """A function of (count, seed, rate) that makes the rows of a simulated queue."""
    return simulate


@pytest.fixture
def meta() -> RunMeta:
    """A meta whose run_id is still to be set."""
    return META


def simulate(count: int, seed: int = 1, rate: float = 500.0) -> dict[str, np.ndarray[Any, Any]]:
    """A Poisson stream through three workers' worth of lognormal service, ns clock, batches told by headers."""
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1e9 / rate, count)).astype(np.int64)
    model = 3.7e6 * rng.lognormal(0, 0.2, count)
    free_at, queued = 0.0, np.zeros(count)
    for i in range(count):
        queued[i] = max(0.0, free_at - due[i])
        free_at = due[i] + queued[i] + model[i] / 3
    sent = due + (137e3 * rng.lognormal(0, 0.35, count)).astype(np.int64)
    first = sent + (queued + model + 150e3 * rng.lognormal(0, 0.3, count)).astype(np.int64)
    done = first + (40e3 * rng.lognormal(0, 0.4, count)).astype(np.int64)
    rows = {
        "seq": np.arange(count), "stage": np.where(due < due[count // 20], -1, 0), "due_ns": due, "sent_ns": sent,
        "connected_ns": np.where(np.arange(count) < 20, sent + 40_000, ABSENT),
        "written_ns": np.where(np.arange(count) < 20, sent + 55_000, ABSENT),
        "first_byte_ns": first, "done_ns": done, "status": np.full(count, 200), "error": np.full(count, "", dtype="U9"),
        "bytes": rng.integers(3000, 3600, count), "batch": rng.integers(1, 9, count), "queue_us": queued / 1e3,
        "wait_us": np.where(rng.random(count) < 0.4, 0, rng.integers(0, 2000, count)), "model_us": model / 1e3,
        "gc_us": np.where(rng.random(count) < 0.01, 700, 0),
        "cold": np.arange(count) < 20, "judged": rng.random(count) < 0.05,
    }
    lost = rng.random(count) < 0.002
    rows["first_byte_ns"] = np.where(lost, ABSENT, first)
    rows["status"] = np.where(lost, 0, 200)
    rows["error"] = np.where(lost, "timeout", "")
    return {name: values if COLUMNS[name] == "string" else values.astype(COLUMNS[name])
            for name, values in rows.items()}


@pytest.fixture
def written(tmp_path: Path) -> StoredRun:
    """A finished run of 1 000 rows below tmp_path/results/box."""
    results = tmp_path / "results"
    write_machine(results, "box", {"schema": SCHEMA, "cpus": 4})
    with RunWriter(results / "box", setup="toy", workload="echo", scenario="calm") as writer:
        writer.server_log.write_text("hello\n")
        writer.write_requests(simulate(1000))
        writer.write_probes([])
        return writer.finish(replace(META, run_id=writer.run_id, facts={"rows": 1000}))
