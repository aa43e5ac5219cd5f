"""Accusations from what stands beside the rows: probes, facts, the server's own counters, other arms."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analyse.arms import accuse_arms
from harness.analyse.cells import cell
from harness.analyse.checks import checks_of
from harness.analyse.compare import compare
from harness.analyse.figures import figures
from harness.analyse.frames import RunView, flown_ns
from harness.analyse.model import Check
from harness.analyse.probe_figures import busy_cores
from harness.record.scrape import Scrape

Columns = dict[str, NDArray[Any]]
Queue = Callable[..., Columns]
Seen = Callable[..., RunView]
Generator = Callable[..., dict[str, Any]]
CPUS = {"server": 3, "load": 1}


def accused(view: RunView) -> dict[str, str]:
    return {check.code: check.severity for check in checks_of(view) if check.severity != "ok"}


def found(view: RunView, code: str) -> Check:
    return next(check for check in checks_of(view) if check.code == code)


def looks(busy: dict[str, float] | None = None, seconds: float = 20.0, gone_at_s: float | None = None,
          **host: float) -> dict[str, NDArray[Any]]:
    """Probes four times a second of one server process (pid 7, half a core) and one generator (pid 9, a fifth of its
    core); `busy` adds cores of other work per scope, `host` figures of the host that grow by so much a second."""
    rows: list[tuple[int, str, int, str, str, float]] = []
    for t_s in np.arange(-0.5, seconds + 0.5, 0.25):
        t_ns = int(t_s * 1e9)
        for scope, pid, cores in (("server", 7, 0.5), ("load", 9, 0.2)):
            if scope == "load" or gone_at_s is None or t_s < gone_at_s:
                rows.append((t_ns, scope, pid, "python", "cpu_s", 3 + cores * t_s))
            rows += [(t_ns, scope, 0, "", "cores_busy_s", 90 + (cores + (busy or {}).get(scope, 0.0)) * t_s),
                     (t_ns, scope, 0, "", "cores_stolen_s", host.get("stolen", 0.0) * t_s)]
        rows.append((t_ns, "server", 8, "idle", "cpu_s", 1.0))
        rows += [(t_ns, "host", 0, "", metric, 5 + rate * t_s) for metric, rate in host.items() if metric != "stolen"]
    names = ("t_ns", "scope", "pid", "name", "metric", "value")
    kinds = (np.int64, object, np.int32, object, object, float)
    return {name: np.array([row[i] for row in rows], dtype=kind)
            for i, (name, kind) in enumerate(zip(names, kinds, strict=True))}


def test_probes_of_a_quiet_machine_accuse_of_nothing(queue: Queue, seen: Seen) -> None:
    view = replace(seen(queue(1)), probes=looks(pressure_cpu_s=0.4, throttled_s=0.0, swapped_pages=0.0))
    assert accused(view) == {}
    assert found(view, "other_work").figures["server_share"] == pytest.approx(0, abs=0.01)


def test_cores_are_as_busy_in_a_short_window_between_two_looks_as_in_a_long_one() -> None:
    probes = looks({"server": 0.4})
    for window_s in (0.3, 0.6, 5.1, 20.0):
        assert busy_cores(probes, "server", window_s) == pytest.approx(0.9)
    assert math.isnan(busy_cores(probes, "server", 0.2))
    assert math.isnan(busy_cores({}, "server", 20.0))


@pytest.mark.parametrize(("probes", "code", "severity"), [
    (looks({"server": 1.0}), "other_work", "invalid"),
    (looks({"load": 0.4}), "other_work", "warning"),
    (looks(stolen=0.1), "stolen", "warning"),
    (looks(stolen=0.5), "stolen", "invalid"),
    (looks(pressure_io_s=0.2), "pressure", "warning"),
    (looks(throttled_s=0.01), "throttled", "warning"),
    (looks(swapped_pages=100.0), "throttled", "warning"),
    (looks(gone_at_s=9.0), "died", "warning"),
])
def test_probes_tell_what_else_went_on(queue: Queue, seen: Seen, probes: dict[str, NDArray[Any]], code: str,
                                       severity: str) -> None:
    assert accused(replace(seen(queue(2)), probes=probes)) == {code: severity}


def test_a_process_off_its_cpus_spoils_the_run(queue: Queue, seen: Seen) -> None:
    probes = looks()
    more = {"t_ns": 10**9, "scope": "server", "pid": 7, "name": "python", "metric": "outside_cpus", "value": 1.0}
    for value, expected in ((0.0, {}), (1.0, {"moved_cores": "invalid"})):
        told = {name: np.append(probes[name], value if name == "value" else more[name]) for name in probes}
        assert accused(replace(seen(queue(3)), probes=told)) == expected


@pytest.mark.parametrize(("facts", "expected"), [
    ({"unlike_lock": ["numpy 1.0 is installed where the lock says 2.0"]}, {"lock": "invalid"}),
    ({"stands_in": ["numpy 2.5.2 of the machine (locked: 2.5.5)"]}, {"lock": "note"}),
    ({"payload_pool": 64}, {"payloads": "warning"}),
    ({"payload_pool": 4096}, {}),
    ({"repeats": {"fresh_ms": [5.0] * 12, "repeat_ms": [1.0] * 12}}, {"cached": "warning"}),
    ({"payload_pool": 4096, "repeats": {"fresh_ms": [5.0] * 12, "repeat_ms": [1.0] * 12}}, {"cached": "invalid"}),
    ({"repeats": {"fresh_ms": [5.0] * 12, "repeat_ms": [4.0, 1.0] * 6}}, {"cached": "warning"}),
    ({"repeats": {"fresh_ms": [5.0] * 12, "repeat_ms": [6.0, 1.0] * 6}}, {}),
    ({"stop": {"killed": ["python"], "left": []}}, {"ending": "warning"}),
    ({"open_listeners": ["0.0.0.0:80"]}, {"listeners": "warning"}),
])
def test_facts_of_the_run_are_heard(queue: Queue, seen: Seen, generator: Generator, facts: dict[str, Any],
                                    expected: dict[str, str]) -> None:
    columns = queue(4)
    told = {"generators": [generator(len(columns["seq"]), in_flight_ns=flown_ns(columns))], **facts}
    assert accused(seen(columns, facts=told)) == expected


@pytest.mark.parametrize(("said", "expected"), [
    ({"wall_step_ms": 8.0}, {}),
    ({"wall_step_ms": -2000.0}, {"wall_clock": "warning"}),
    ({"receive_p99_ms": 0.3}, {}),
    ({"receive_p99_ms": 1.5}, {"receive_lag": "warning"}),
    ({"receive_p99_ms": 5.0}, {"receive_lag": "invalid"}),
    ({"receive_p99_ms": 5.0, "receive_late_moments": 3}, {"receive_lag": "invalid"}),
    ({"receive_p99_ms": 5.0, "receive_late_moments": 2}, {"receive_lag": "note"}),
])
def test_clocks_and_late_reading_are_heard(queue: Queue, seen: Seen, generator: Generator, said: dict[str, Any],
                                           expected: dict[str, str]) -> None:
    columns = queue(5)
    told = generator(len(columns["seq"]), in_flight_ns=flown_ns(columns), **said)
    assert accused(seen(columns, facts={"generators": [told]})) == expected


@pytest.mark.parametrize(("metrics", "expected"), [
    ("tailrace_retries_total 0\ntailrace_requests_total{code=\"200\"} 99999\n", {}),
    ("tailrace_retries_total 3\n", {"retries": "warning"}),
    ("# HELP nv_inference_count x\nnv_inference_count{model=\"m\"} 99999\n", {"retries": "warning"}),
    ("predictions 500\n", {}),
])
def test_the_setups_own_counters_tell_of_retries(queue: Queue, seen: Seen, metrics: str,
                                                 expected: dict[str, str]) -> None:
    assert accused(replace(seen(queue(6)), after=Scrape(metrics))) == expected


def test_a_changed_record_and_a_flooded_log_are_noticed(queue: Queue, seen: Seen) -> None:
    view = seen(queue(7))
    assert accused(replace(view, altered=("requests.parquet: its content differs",))) == {"altered": "invalid"}
    assert accused(replace(view, log_bytes=9_000_000)) == {"log": "warning"}


def test_a_ramp_under_a_latency_promise_is_noticed(queue: Queue, seen: Seen) -> None:
    counts = np.arange(4000)
    ramp_s = 2 * counts / (100 + np.sqrt(100**2 + 2 * 10 * counts))
    ramp = {"stage": [{"arrivals": "constant", "duration_s": 20.0, "rate": 100.0, "rate_end": 300.0}]}
    assert accused(seen(queue(8, times_s=ramp_s), ramp)) == {"ramp": "warning", "warmup": "note"}
    assert accused(seen(queue(8, times_s=ramp_s), {**ramp, "slo": {"errors": "< 1%"}})) == {"warmup": "note"}


def test_first_requests_behind_others_are_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(9)
    columns["done_ns"][:20] += 60_000_000
    assert accused(seen(columns)) == {"drained": "warning"}


def test_a_drift_and_pauses_are_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(10, service_ms=0.4)
    slow = (np.maximum(columns["due_ns"], 0) / 20e9 * 600_000).astype(np.int64)
    assert accused(seen({**columns, "done_ns": columns["done_ns"] + slow})) == {"drift": "warning"}
    late = columns["done_ns"] % 10**9 < 90_000_000
    held = np.where(late & (columns["due_ns"] > 0), 90_000_000 - columns["done_ns"] % 10**9, 0)
    check = found(seen({**columns, "done_ns": columns["done_ns"] + held}), "stalls")
    assert (check.severity, check.blames) == ("warning", "setup")
    assert check.figures["every_s"] == pytest.approx(1.0, abs=0.05)


def test_a_warm_up_found_is_not_counted(queue: Queue, seen: Seen) -> None:
    columns = queue(11, service_ms=0.4)
    cold = (columns["due_ns"] >= 0) & (columns["due_ns"] < 2 * 10**9)
    view = seen({**columns, "done_ns": columns["done_ns"] + np.where(cold, 5_000_000, 0)})
    made = figures(view, {})
    assert found(view, "warmup").figures["seconds"] == pytest.approx(2.0, abs=0.1)
    assert len(made.ordered_ms) == np.count_nonzero(columns["due_ns"] >= 2 * 10**9) or \
        abs(len(made.ordered_ms) - np.count_nonzero(columns["due_ns"] >= 2 * 10**9)) <= 50
    assert made.ordered_ms[int(0.99 * len(made.ordered_ms))] < 5
    assert made.offered_rate == pytest.approx(500, rel=0.05)


def test_a_run_stopped_early_counts_until_then_and_fails(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(12, service_ms=2.4)
    flying = (columns["due_ns"] < 10 * 10**9) & (columns["done_ns"] > 10 * 10**9)
    never = columns["due_ns"] >= 10 * 10**9
    columns["error"][flying | never], columns["status"][flying | never] = "aborted", 0
    columns["sent_ns"][never] = columns["done_ns"][never] = -(1 << 62)
    columns["done_ns"][flying] = 10 * 10**9
    facts = {"generators": [generator(len(columns["seq"]), in_flight_ns=flown_ns(columns))],
             "stopped": {"at_s": 10.0, "why": "over capacity: it was stopped"}}
    view = seen(columns, facts=facts)
    assert accused(view) == {"saturation": "note"}
    runs = [figures(view, {}), figures(view, {})]
    assert runs[0].error_rate == 0
    assert runs[0].offered_rate == pytest.approx(500, rel=0.05)
    made = cell(runs, [])
    assert (made.verdict, made.verdict_reason) == ("fail", "over capacity: it was stopped")


def test_arms_of_unlike_schedules_are_told_and_not_compared(queue: Queue, seen: Seen) -> None:
    def arm(setup: str, seeds: tuple[int, int]) -> Any:
        return cell([figures(seen(queue(seed), setup=setup, repetition=r, seeds={"attempt": seed}), {})
                     for r, seed in enumerate(seeds)], [])

    alike = accuse_arms([arm("a", (1, 2)), arm("b", (1, 2))])
    assert all(check.code != "schedule" for each in alike for run in each.runs for check in run.checks)
    unlike = accuse_arms([arm("a", (1, 2)), arm("b", (1, 3))])
    told = [(each.setup, run.repetition) for each in unlike for run in each.runs for check in run.checks
            if check.code == "schedule"]
    assert told == [("b", 1)]
    assert {each.pairs for each in compare([(unlike[1], unlike[0])])} == {1}


