"""Runs whose truth is known: a seeded queue solved by Lindley's recursion, request by request."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analyse.frames import RunView, flown_ns, view
from harness.record.schema import COLUMNS, SCHEMA, RunMeta

Columns = dict[str, NDArray[Any]]

SCENARIO: dict[str, Any] = {
    "name": "calm", "title": "Calm", "question": "Is it calm?", "seed": 7, "warmup_s": 1.0,
    "stage": [{"arrivals": "poisson", "duration_s": 20.0, "rate": 500.0}],
    "slo": {"p(99)": "< 100ms", "errors": "< 1%"},
}
META = RunMeta(
    schema=SCHEMA, run_id="run", status="ok", reason="", setup="toy", workload="echo", scenario="calm", load=1.0,
    repetition=0, block=0, order=0, started_utc="", finished_utc="", machine_id="box", plan="plan", baseline="",
    knobs={}, scenario_resolved=SCENARIO, setup_facts={}, workload_facts={}, seeds={}, server_cpus=[0, 1, 2],
    load_cpus=[3], hashes={"workload": "w", "scenario": "s"}, versions={}, git={},
)


REPEATS = {"fresh_ms": [1.0] * 6, "repeat_ms": [1.0] * 6}


def lindley(arrival_s: NDArray[np.float64], service_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds in system of each request at one first-come-first-served server (Lindley 1952, unrolled)."""
    work = np.cumsum(service_s)
    return np.asarray(np.maximum.accumulate(arrival_s - (work - service_s)) + work - arrival_s)


def poisson_times(rate: float, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrival times in [0, duration_s)."""
    times = np.cumsum(rng.exponential(1 / rate, int(rate * duration_s * 1.2 + 100)))
    return np.asarray(times[times < duration_s])


def queue_columns(seed: int, *, rate: float = 500.0, duration_s: float = 20.0, warmup_s: float = 1.0,
                  service_ms: float = 1.0, times_s: NDArray[np.float64] | None = None) -> Columns:
    """Columns of a run at one server with exponential service, 100 µs of lag, told times and every tenth judged."""
    rng = np.random.default_rng([seed, 1])
    counted = poisson_times(rate, duration_s, np.random.default_rng([seed, 2])) if times_s is None else times_s
    early = poisson_times(rate, warmup_s, rng) - warmup_s
    due = np.concatenate([early, counted])
    n = len(due)
    service = rng.exponential(service_ms / 1e3, n)
    lag = rng.gamma(4.0, 25e-6, n)
    stay = lindley(due, service)
    sent, done = due + lag, due + np.maximum(stay, lag) + 20e-6
    columns: Columns = {
        "seq": np.arange(n), "stage": np.where(due < 0, -1, 0),
        "due_ns": np.rint(due * 1e9), "sent_ns": np.rint(sent * 1e9), "first_byte_ns": np.rint(done * 1e9),
        "done_ns": np.rint(done * 1e9), "status": np.full(n, 200), "error": np.full(n, "", dtype=object),
        "bytes": rng.integers(40, 60, n), "batch": np.ones(n), "queue_us": np.maximum(stay - service - lag, 0) * 1e6,
        "wait_us": np.zeros(n), "model_us": np.minimum(service, stay - lag).clip(0) * 1e6, "cold": np.arange(n) < 8,
        "judged": np.arange(n) % 10 == 0,
    }
    return {name: values if COLUMNS[name] == "string" else values.astype(COLUMNS[name])
            for name, values in columns.items()}


def quiet_generator(n: int, **changes: Any) -> dict[str, Any]:
    """What an undisturbed generator says at its end."""
    return {"n": n, "cpu_s": 4.0, "wall_s": 20.0, "gc_pauses": 0, "gc_ms": 0.0, "hiccup_realtime": True,
            "hiccup_pauses_ns": [], "receive_p99_ms": 0.1, **changes}


def run_view(columns: Columns, scenario: dict[str, Any] | None = None, **changes: Any) -> RunView:
    """The view of a run with those columns; `scenario` and `changes` replace fields of its meta."""
    told = quiet_generator(len(columns["seq"]), in_flight_ns=flown_ns(columns))
    facts = {"start_s": 1.5, "generators": [told], "repeats": REPEATS}
    if "facts" in changes:
        changes["facts"] = {"repeats": REPEATS, **changes["facts"]}
    meta = replace(META, **{"facts": facts, "scenario_resolved": {**SCENARIO, **(scenario or {})}, **changes})
    return view(meta, columns)


@pytest.fixture(scope="session")
def queue() -> Callable[..., Columns]:
    """Makes the columns of a simulated run: see queue_columns."""
    return queue_columns


@pytest.fixture(scope="session")
def seen() -> Callable[..., RunView]:
    """Makes a run's view: see run_view."""
    return run_view


@pytest.fixture(scope="session")
def generator() -> Callable[..., dict[str, Any]]:
    """Makes what a generator says at its end: see quiet_generator."""
    return quiet_generator


@pytest.fixture(scope="session")
def sojourn() -> Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]:
    """Lindley's recursion."""
    return lindley


@pytest.fixture(scope="session")
def meta() -> RunMeta:
    """A run's meta to change."""
    return META
