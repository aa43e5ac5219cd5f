"""Every accusation is made where it is deserved, and none where a queue is merely a queue."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analyse.checks import CHECKS, checks_of
from harness.analyse.frames import RunView, flown_ns
from harness.analyse.model import Check
from harness.record.schema import ABSENT

Columns = dict[str, NDArray[Any]]
Queue = Callable[..., Columns]
Seen = Callable[..., RunView]
Generator = Callable[..., dict[str, Any]]


def found(view: RunView) -> dict[str, Check]:
    return {check.code: check for check in checks_of(view)}


def accused(view: RunView) -> dict[str, str]:
    return {code: check.severity for code, check in found(view).items() if check.severity != "ok"}


@pytest.mark.parametrize("service_ms", [0.4, 1.0, 1.6])
@pytest.mark.parametrize("seed", range(8))
def test_a_clean_queue_is_accused_of_nothing(queue: Queue, seen: Seen, seed: int, service_ms: float) -> None:
    view = seen(queue(seed, service_ms=service_ms))
    assert accused(view) == {}
    assert len(found(view)) == len(CHECKS)


def test_lost_and_doubled_rows_are_missed(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(1)
    n = len(columns["seq"])
    lost = {name: np.delete(values, n // 2) for name, values in columns.items()}
    assert accused(seen(lost, facts={"generators": [generator(n)]}))["completeness"] == "invalid"
    assert accused(seen(lost, facts={}))["completeness"] == "invalid"
    twice = {name: np.insert(values, n // 2, values[n // 2]) for name, values in columns.items()}
    assert found(seen(twice)) ["completeness"].figures["twice"] == 1


def test_a_tail_cut_off_is_missed_when_the_generators_told_their_number(queue: Queue, seen: Seen,
                                                                       generator: Generator) -> None:
    columns = queue(1)
    short = {name: values[:-5] for name, values in columns.items()}
    check = found(seen(short, facts={"generators": [generator(len(columns["seq"]))]}))["completeness"]
    assert (check.severity, check.blames, check.figures["lost"]) == ("invalid", "generator", 5)


def test_a_late_generator_is_blamed_for_its_lag(queue: Queue, seen: Seen) -> None:
    columns = queue(2, service_ms=0.2)
    columns["sent_ns"] = columns["sent_ns"] + np.where(np.arange(len(columns["seq"])) % 50 == 0, 3_000_000, 0)
    columns["done_ns"] = np.maximum(columns["done_ns"], columns["sent_ns"] + 100_000)
    check = found(seen(columns))["lag"]
    assert (check.severity, check.blames) == ("invalid", "generator")
    assert check.figures["p99_ms"] > 3


def test_a_generator_that_the_host_stopped_is_not_blamed(queue: Queue, seen: Seen, generator: Generator) -> None:
    """Every second the host stops for 60 ms, and what was due is sent at the end of it."""
    columns = queue(2, service_ms=0.2)
    inside = (columns["due_ns"] > 0) & (columns["due_ns"] % 10**9 < 60_000_000)
    delay = np.where(inside, 60_000_000 - columns["due_ns"] % 10**9, 0)
    columns["sent_ns"], columns["done_ns"] = columns["sent_ns"] + delay, columns["done_ns"] + delay
    pauses = [[second * 10**9, second * 10**9 + 60_000_000] for second in range(20)]
    for realtime, blamed in ((True, "host"), (False, "generator")):
        said = generator(len(columns["seq"]), hiccup_pauses_ns=pauses, hiccup_realtime=realtime)
        check = found(seen(columns, facts={"generators": [said]}))["lag"]
        assert (check.severity, check.blames) == ("invalid", blamed)


def test_what_waits_for_a_setup_that_holds_every_connection_is_not_late(queue: Queue, seen: Seen) -> None:
    """Nothing is answered for 10 s, so that from the 4001st on each request needs the connection of one given up; 500
    connections are held by requests of the warm-up."""
    columns = queue(2)
    due = columns["due_ns"]
    done = due + 10 * 10**9
    columns["sent_ns"][4000:], columns["done_ns"] = np.maximum(done[:-4000], due[4000:]), done
    columns["status"][:], columns["error"][:] = 0, "timeout"
    view = seen(columns)
    assert (columns["sent_ns"] - due).max() > 1e9
    assert found(view)["lag"].severity == "ok"
    assert view.crowded.mean() > 0.5
    later = view.rows.after(1000)
    np.testing.assert_array_equal(later.held(), view.rows.held()[1000:])


def test_lag_is_judged_by_the_latency_it_adds_to(queue: Queue, seen: Seen) -> None:
    """1.5 ms late spoils a service of 1 ms, not one of 20 ms."""
    for service_ms, rate, spoilt in ((0.5, 500.0, True), (40.0, 10.0, False)):
        columns = queue(3, service_ms=service_ms, rate=rate)
        columns["sent_ns"] = columns["sent_ns"] + 1_500_000
        columns["done_ns"] = columns["done_ns"] + 1_500_000
        view = seen(columns, {"stage": [{"arrivals": "poisson", "duration_s": 20.0, "rate": rate}]})
        assert ("lag" in accused(view)) is spoilt


def test_sending_before_the_due_time_is_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(4)
    columns["sent_ns"] = columns["due_ns"] - 200_000
    assert accused(seen(columns))["lag"] == "invalid"


def test_a_rate_that_was_not_reached_is_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(5)
    slip = np.maximum(columns["due_ns"], 0) // 50
    columns["sent_ns"], columns["done_ns"] = columns["sent_ns"] + slip, columns["done_ns"] + slip
    assert accused(seen(columns))["rate"] == "invalid"


def test_arrivals_of_another_law_are_noticed(queue: Queue, seen: Seen) -> None:
    even = np.arange(10_000) / 500.0
    assert accused(seen(queue(6, times_s=even)))["arrivals"] == "invalid"
    constant = {"stage": [{"arrivals": "constant", "duration_s": 20.0, "rate": 500.0}]}
    assert "arrivals" not in accused(seen(queue(6, times_s=even), constant))
    assert accused(seen(queue(6), constant))["arrivals"] == "invalid"
    half = {"stage": [{"arrivals": "poisson", "duration_s": 20.0, "rate": 250.0}]}
    assert accused(seen(queue(6), half))["arrivals"] == "invalid"


def test_ramps_and_bursts_are_known_for_what_they_are(queue: Queue, seen: Seen) -> None:
    counts = np.arange(4000)
    ramp_s = 2 * counts / (100 + np.sqrt(100**2 + 2 * 10 * counts))
    ramp = {"stage": [{"arrivals": "constant", "duration_s": 20.0, "rate": 100.0, "rate_end": 300.0}]}
    assert "arrivals" not in accused(seen(queue(7, times_s=ramp_s), ramp))
    flat = {"stage": [{"arrivals": "constant", "duration_s": 20.0, "rate": 200.0}]}
    assert "arrivals" in accused(seen(queue(7, times_s=ramp_s), flat))
    bursts = {"stage": [{"arrivals": "burst", "duration_s": 20.0, "rate": 200.0, "burst": 10}]}
    assert "arrivals" not in accused(seen(queue(7, times_s=np.repeat(np.arange(400) / 20, 10)), bursts))
    assert "arrivals" in accused(seen(queue(7, times_s=np.repeat(np.arange(800) / 40, 5)), bursts))


@pytest.mark.parametrize(("realtime", "severity"), [(True, "invalid"), (False, "warning")])
def test_pauses_of_the_host_are_blamed_on_the_host(queue: Queue, seen: Seen, generator: Generator, realtime: bool,
                                                   severity: str) -> None:
    columns = queue(8)
    pauses = [[second * 10**9, second * 10**9 + 20_000_000] for second in range(1, 20)]
    said = generator(len(columns["seq"]), hiccup_realtime=realtime, hiccup_pauses_ns=pauses)
    check = found(seen(columns, facts={"generators": [said]}))["host_pauses"]
    assert (check.severity, check.blames) == (severity, "host")
    assert check.figures["met_share"] == pytest.approx(0.02, rel=0.3)


def test_pauses_too_short_to_matter_are_let_go(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(8)
    pauses = [[ms * 10**6, ms * 10**6 + 400_000] for ms in range(0, 20_000, 100)]
    said = generator(len(columns["seq"]), hiccup_pauses_ns=pauses)
    assert "host_pauses" not in accused(seen(columns, facts={"generators": [said]}))


def test_what_the_generators_say_of_themselves_is_heard(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(9)
    n = len(columns["seq"])
    busy = generator(n, cpu_s=16.0)
    assert accused(seen(columns, facts={"generators": [busy]})) == {"generator_cpu": "invalid", "littles_law": "note"}
    collecting = generator(n, gc_pauses=1, gc_ms=30.0)
    assert accused(seen(columns, facts={"generators": [collecting]})) == {"collector_pauses": "warning",
                                                                           "littles_law": "note"}
    assert accused(seen(columns, facts={})) == {"generator_cpu": "note", "host_pauses": "note",
                                                 "littles_law": "note", "receive_lag": "note"}


def test_times_that_cannot_be_break_littles_law(queue: Queue, seen: Seen) -> None:
    columns = queue(10)
    columns["done_ns"][500] = columns["sent_ns"][500] - 1
    assert accused(seen(columns))["littles_law"] == "invalid"


def test_rows_that_do_not_add_up_to_what_was_counted_in_flight_break_it_too(queue: Queue, seen: Seen,
                                                                            generator: Generator) -> None:
    columns = queue(10)
    told = [generator(len(columns["seq"]), in_flight_ns=flown_ns(columns))]
    assert accused(seen(columns, facts={"generators": told})) == {}
    quicker = {**columns, "done_ns": columns["sent_ns"] + (columns["done_ns"] - columns["sent_ns"]) * 99 // 100}
    assert accused(seen(quicker, facts={"generators": told}))["littles_law"] == "invalid"
    half = {name: values[::2] for name, values in columns.items()}
    assert accused(seen(half, facts={"generators": told}))["littles_law"] == "invalid"


def test_pauses_beyond_those_kept_are_told(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(10)
    told = [generator(len(columns["seq"]), in_flight_ns=flown_ns(columns), hiccup_dropped=3)]
    check = found(seen(columns, facts={"generators": told}))["host_pauses"]
    assert (check.severity, check.blames, check.figures["dropped"]) == ("warning", "host", 3)


def test_shared_cores_and_cut_runs_are_invalid(queue: Queue, seen: Seen) -> None:
    assert accused(seen(queue(11), server_cpus=[0], load_cpus=[0])) == {"shared_cores": "invalid"}
    assert accused(seen(queue(11), status="void", reason="interrupted")) == {"status": "invalid"}


def test_answers_are_believed_only_when_judged(queue: Queue, seen: Seen) -> None:
    columns = queue(12)
    judged = np.flatnonzero(columns["judged"] == 1)
    few, many = dict(columns), dict(columns)
    few["judged"], many["judged"] = columns["judged"].copy(), columns["judged"].copy()
    few["judged"][judged[-3:]] = 2
    many["judged"][judged[-100:]] = 2
    assert accused(seen(few)) == {"answers": "warning"}
    check = found(seen(many))["answers"]
    assert (check.severity, check.blames) == ("invalid", "setup")


def test_empty_and_constant_answers_are_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(13)
    assert accused(seen({**columns, "bytes": columns["bytes"] * 0}))["answers"] == "invalid"
    blind = {**columns, "judged": columns["judged"] * 0}
    assert accused(seen(blind)) == {"answers": "note"}
    assert accused(seen({**blind, "bytes": columns["bytes"] * 0 + 7})) == {"answers": "warning"}


def test_failures_are_results_and_not_faults(queue: Queue, seen: Seen) -> None:
    columns = queue(14)
    columns["status"][::50] = 503
    columns["error"][25::100] = "timeout"
    check = found(seen(columns))["errors"]
    assert (check.severity, check.blames) == ("warning", "setup")
    assert set(check.figures) == {"share", "timeout", "http_503"}
    assert set(accused(seen(columns))) == {"errors"}


def test_connections_opened_for_every_request_are_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(15)
    assert accused(seen({**columns, "cold": np.ones_like(columns["cold"])})) == {"connections": "warning"}


def test_a_queue_that_only_grows_blames_the_setup_and_spoils_nothing(queue: Queue, seen: Seen) -> None:
    view = seen(queue(16, service_ms=2.4))
    check = found(view)["saturation"]
    assert (check.severity, check.blames) == ("note", "setup")
    assert accused(view) == {"saturation": "note"}


def test_a_cold_start_is_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(17, service_ms=0.6)
    columns["done_ns"] = columns["done_ns"] + np.where(columns["due_ns"] < 5 * 10**9, 2_000_000, 0)
    assert accused(seen(columns))["warmup"] == "warning"


def test_a_start_slower_by_no_more_than_like_runs_differ_is_not_counted_and_accuses_nobody(queue: Queue,
                                                                                           seen: Seen) -> None:
    columns = queue(17, service_ms=0.6)
    steady = columns["due_ns"] + 600_000 + columns["due_ns"] // 7 % 120_000
    columns["done_ns"] = steady + np.where(columns["due_ns"] < 5 * 10**9, 165_000, 0)
    check = found(seen(columns))["warmup"]
    assert check.severity == "note"
    assert 1.2 < check.figures["ratio"] < 1.3
    assert check.figures["seconds"] == pytest.approx(5.0, abs=0.5)


def test_a_setup_that_tells_more_time_than_passed_is_noticed(queue: Queue, seen: Seen) -> None:
    columns = queue(18)
    assert accused(seen({**columns, "model_us": columns["model_us"] + 50_000})) == {"server_timing": "warning"}
    assert accused(seen({**columns, "model_us": columns["model_us"] * 0 - 1})) == {"server_timing": "note"}


def test_a_closed_loop_is_labelled(queue: Queue, seen: Seen) -> None:
    closed = {"stage": [{"arrivals": "closed", "duration_s": 20.0, "users": 4}]}
    assert accused(seen(queue(19), closed)) == {"closed_loop": "note"}


def test_a_setup_that_hangs_is_blamed_and_not_the_generator(queue: Queue, seen: Seen) -> None:
    """Nothing is answered from 5 s on at 500 req/s: 4 000 connections are taken after 8 s more, the rest never sent."""
    columns = queue(20, duration_s=15.0)
    n = len(columns["seq"])
    first = int(np.searchsorted(columns["due_ns"], 5 * 10**9))
    stuck = np.arange(n) >= first
    unsent = np.arange(n) >= first + 4000
    columns["done_ns"] = np.where(stuck, columns["due_ns"] + 10**10, columns["done_ns"])
    columns["sent_ns"] = np.where(unsent, ABSENT, columns["sent_ns"])
    columns["status"][stuck] = 0
    columns["error"][stuck] = "timeout"
    columns["error"][unsent] = "unsent"
    short = {"stage": [{"arrivals": "poisson", "duration_s": 15.0, "rate": 500.0}]}
    view = seen(columns, short)
    assert all(check.severity != "invalid" for check in checks_of(view))
    assert found(view)["errors"].blames == "setup"
    columns["error"][1000], columns["status"][1000], columns["sent_ns"][1000] = "unsent", 0, ABSENT
    check = found(seen(columns, short))["completeness"]
    assert (check.severity, check.blames) == ("invalid", "generator")


def test_no_counted_row_is_said_and_crashes_nothing(queue: Queue, seen: Seen) -> None:
    columns = queue(21)
    early = {name: values[columns["stage"] < 0] for name, values in columns.items()}
    assert accused(seen(early)) == {"completeness": "invalid"}
    empty = {name: values[:0] for name, values in columns.items()}
    assert accused(seen(empty)) == {"completeness": "invalid"}


def test_several_loads_under_one_promise_are_told(queue: Queue, seen: Seen) -> None:
    times = np.concatenate([np.arange(1000) / 100, 10 + np.arange(9000) / 900])
    stages = [{"arrivals": "constant", "duration_s": 10.0, "rate": rate} for rate in (100.0, 900.0)]
    columns = queue(6, times_s=times)
    columns["stage"] = np.where(columns["due_ns"] >= 10**10, 1, columns["stage"]).astype(np.int8)
    said = accused(seen(columns, {"stage": stages}))
    assert (said["ramp"], said["warmup"]) == ("warning", "note")
    assert "ramp" not in accused(seen(columns, {"stage": stages, "slo": {"errors": "< 1%"}}))


def test_no_data_is_no_acquittal(queue: Queue, seen: Seen, generator: Generator) -> None:
    columns = queue(6)
    told = generator(len(columns["seq"]), in_flight_ns=flown_ns(columns))
    del told["receive_p99_ms"]
    few = {"fresh_ms": [1.0] * 5, "repeat_ms": [0.1] * 5}
    assert accused(seen(columns, facts={"generators": [told], "repeats": few})) == {
        "receive_lag": "note", "cached": "note"}
