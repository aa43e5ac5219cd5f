"""Records of simulated runs, written by the record's own writer: a seeded queue per setup; the answer is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.record.schema import ABSENT, RunMeta
from harness.record.write import RunWriter, write_machine

MACHINE = "vm-4-cores"


@dataclass(frozen=True)
class Simulated:
    """A setup as a queue of `workers` with lognormal service of median `service_ms`; from `break_s` on for 0.3 s every
    answer is a 500; `lag_ms` makes the generator late, `batch` is the largest batch told (0: nothing told)."""

    service_ms: float
    workers: int = 3
    sigma: float = 0.35
    break_s: float | None = None
    lag_ms: float = 0.02
    batch: int = 0
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Race:
    workload: str
    rate: float
    promise_ms: float
    setups: Mapping[str, Simulated]
    load: float = 1.0
    seconds: float = 2.0
    repetitions: int = 5
    title: str = "Simulated race"
    closed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def write_race() -> Callable[[Path, Race], None]:
    """Writes every run of a race below a results folder."""
    return _write_race


@pytest.fixture(scope="session")
def simulated() -> type[Simulated]:
    return Simulated


@pytest.fixture(scope="session")
def race() -> type[Race]:
    return Race


def _write_race(results: Path, asked: Race) -> None:
    write_machine(results, MACHINE, {"cpu": "Simulated CPU", "cpus": 4, "memory_gb": 16, "kernel": "6.1"})
    for repetition in range(asked.repetitions):
        for order, (name, setup) in enumerate(asked.setups.items()):
            _write_run(results / MACHINE, asked, name, setup, repetition=repetition, order=order)


def _write_run(machine: Path, asked: Race, name: str, setup: Simulated, *, repetition: int, order: int) -> None:
    scenario = f"{asked.workload}-steady"
    with RunWriter(machine, setup=name, workload=asked.workload, scenario=scenario, load=asked.load,
                   repetition=repetition) as writer:
        rows = _rows(asked, name, setup, repetition)
        if setup.status == "ok":
            writer.write_requests(rows)
        writer.finish(_meta(writer.run_id, asked, name, setup, repetition=repetition, order=order,
                            n=len(rows["seq"])))


def _rows(asked: Race, name: str, setup: Simulated, repetition: int) -> dict[str, np.ndarray[Any, Any]]:
    schedule = np.random.default_rng([repetition, 7])
    noise = np.random.default_rng([repetition, sum(name.encode())])
    due = _poisson(schedule, asked.rate * asked.load, asked.seconds)
    n = len(due)
    service = schedule.lognormal(np.log(setup.service_ms), setup.sigma, n) * noise.lognormal(0, 0.05, n)
    sent = due + noise.exponential(setup.lag_ms, n) * 1e6
    free, start = np.zeros(setup.workers), np.empty(n)
    for i in range(n):
        worker = int(np.argmin(free))
        start[i] = max(sent[i], free[worker])
        free[worker] = start[i] + service[i] * 1e6
    done = start + service * 1e6 + 0.4e6
    broken = np.zeros(n, bool) if setup.break_s is None else \
        (due >= setup.break_s * 1e9) & (due < (setup.break_s + 0.3) * 1e9)
    told = setup.batch > 0
    return {
        "seq": np.arange(n, dtype=np.int32), "stage": np.zeros(n, np.int8), "due_ns": due.astype(np.int64),
        "sent_ns": sent.astype(np.int64), "first_byte_ns": np.full(n, ABSENT), "done_ns": done.astype(np.int64),
        "status": np.where(broken, 500, 200).astype(np.int16), "error": np.full(n, "", dtype=object),
        "bytes": np.full(n, 120, np.int32),
        "batch": (noise.integers(1, setup.batch + 1, n) if told else np.zeros(n)).astype(np.int16),
        "queue_us": ((start - sent) / 1e3 if told else np.full(n, -1)).astype(np.int32),
        "wait_us": np.full(n, 300 if setup.batch > 1 else 0 if told else -1, np.int32),
        "model_us": (service * 950 if told else np.full(n, -1)).astype(np.int32),
        "cold": np.zeros(n, bool), "judged": (np.arange(n) % 10 == 0).astype(np.int8),
    }


def _poisson(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray[Any, Any]:
    """Due times in ns: a Poisson process given its number, as the generator's schedule is."""
    return np.sort(rng.uniform(0, seconds, round(rate * seconds))) * 1e9


def _meta(run_id: str, asked: Race, name: str, setup: Simulated, *, repetition: int, order: int, n: int) -> RunMeta:
    stage = {"arrivals": "closed", "users": 4, "duration_s": asked.seconds} if asked.closed else \
        {"arrivals": "poisson", "rate": asked.rate * asked.load, "duration_s": asked.seconds}
    scenario = {"name": f"{asked.workload}-steady", "title": "Everyday load", "question": "Is it served?", "seed": 7,
                "warmup_s": 0.0, "stage": [stage],
                "slo": {"p(99)": f"< {asked.promise_ms:g}ms", "errors": "< 0.5%"}}
    generator = {"n": n, "cpu_s": 0.2, "wall_s": asked.seconds, "gc_pauses": 0, "connections": 8}
    return RunMeta(
        schema=1, run_id=run_id, status=setup.status,  # type: ignore[arg-type]
        reason=setup.reason, setup=name, workload=asked.workload, scenario=f"{asked.workload}-steady", load=asked.load,
        repetition=repetition, block=repetition, order=order, started_utc="2026-01-01T00:00:00Z",
        finished_utc="2026-01-01T00:00:03Z", machine_id=MACHINE, plan=asked.title, baseline=next(iter(asked.setups)),
        knobs={"workers": setup.workers}, scenario_resolved=scenario, setup_facts={}, workload_facts={},
        seeds={"schedule": 7}, server_cpus=[0, 1, 2], load_cpus=[3],
        hashes={noun: noun for noun in ("setup", "workload", "scenario", "lock", "harness")},
        versions={"python": "3.11.9", "onnxruntime": "1.23.0"}, git={"commit": "0123abc", "dirty": False},
        facts={"generators": [generator], "rows": n, "start_s": 1.5, **asked.extra})
