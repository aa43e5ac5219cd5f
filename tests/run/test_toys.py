"""Servers that misbehave on purpose: the right status and one sentence in the record, nothing left running."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan, Race
from harness.errors import TailraceError
from harness.plan.attempt import Attempt
from harness.plan.expand import expand
from harness.record.read import StoredRun, find_runs, open_run
from harness.record.verify import verify
from harness.run.agent import Agent
from harness.run.bench import Bench
from harness.run.cell import run_cell
from harness.run.conformance import check
from harness.run.environments import environment
from harness.run.locks import only_harness
from harness.run.prepare import prepare
from harness.run.race import race
from harness.run.sockets import free_port
from harness.run.warden import descendants

pytestmark = pytest.mark.live

TOYS = Path(__file__).parents[1] / "toys"
RunToy = Callable[[str], StoredRun]
ROWS = 230


@pytest.fixture(autouse=True)
def nothing_left(scratch_parent: Path) -> Iterator[None]:
    """After every test no process of its own is alive and no scratch folder is left."""
    before = set(descendants())
    yield
    assert set(descendants()) <= before
    assert list(scratch_parent.iterdir()) == []


def test_one_that_behaves_is_measured_and_probed(run_toy: RunToy, watcher: Any, bench: Bench) -> None:
    run = run_toy("calm")
    assert (run.meta.status, run.meta.reason) == ("ok", "")
    assert verify(run) == []
    rows = run.columns("seq", "stage", "due_ns", "sent_ns", "done_ns", "status", "judged", "batch", "queue_us")
    assert len(rows["seq"]) == ROWS
    assert set(rows["status"]) == {200}
    assert set(rows["judged"]) == {1}
    assert set(rows["batch"]) == {1}
    assert set(rows["queue_us"]) == {500}
    assert np.all(rows["sent_ns"] <= rows["done_ns"])
    assert np.count_nonzero(rows["stage"] == -1) == 30
    assert rows["due_ns"][rows["stage"] == 0].min() >= 0
    assert "predictions" in run.text("metrics.txt")
    assert run.meta.facts["golden"] == 8
    assert run.meta.facts["start_s"] > 0
    assert run.meta.facts["stop"]["killed"] == []
    assert run.meta.seeds["attempt"] == 11
    assert run.meta.versions["python"]
    assert all(len(value) == 16 for value in run.meta.hashes.values())
    assert not any(str(Path.home()) in value for value in map(str, run.meta.setup_facts.values()))
    assert find_runs(bench.results).runs[0].meta == run.meta
    assert watcher.seen[-1].done > 0
    probes = run.probes()
    seen = set(zip(probes["scope"], probes["metric"], strict=True))
    assert {("server", "cpu_s"), ("server", "rss_mb"), ("server", "pss_mb"), ("load", "cpu_s"),
            ("server", "cores_busy_s"), ("load", "cores_busy_s")} <= seen
    server = (probes["scope"] == "server") & (probes["metric"] == "rss_mb")
    assert 5 < probes["value"][server].max() < 500
    assert len(set(probes["t_ns"][server])) >= 4
    assert probes["t_ns"].min() < 0 < probes["t_ns"].max()


@pytest.mark.parametrize(("toy", "reason"), [
    ("never-ready", "/healthz was not ready within 1.5 s: the last answer was 503 (loading)"),
    ("crashes-at-start", "ended with code 1 before it was ready; its last word: RuntimeError: the model file is"),
    ("answers-wrongly", "golden request 2 is answered wrongly: {'double': 3} is not {'double': 2}"),
    ("forks-away", "ended with code 0 before it was ready and left python in the background"),
    ("lies", "/healthz said ready, but golden request 1 got 503 (the model is still loading)"),
    ("all-addresses", "which the network can reach"),
])
def test_one_that_never_serves_fails_with_its_reason(run_toy: RunToy, toy: str, reason: str) -> None:
    run = run_toy(toy)
    assert run.meta.status == "failed"
    assert reason in run.meta.reason
    assert "\n" not in run.meta.reason
    assert not run.has_rows
    assert verify(run) == []


def test_one_that_crashes_mid_run_fails_and_keeps_its_rows(run_toy: RunToy) -> None:
    run = run_toy("crashes-mid-run")
    assert run.meta.status == "failed"
    assert "ended with code 9" in run.meta.reason
    assert "its last word: fatal: out of cheese" in run.meta.reason
    rows = run.columns("status", "error", "seq")
    assert len(rows["seq"]) == ROWS
    assert np.count_nonzero(rows["status"] == 200) == 112
    assert set(rows["error"]) - {""} <= {"refused", "reset", "aborted"}
    assert verify(run) == []


def test_one_that_hangs_leaves_timeouts_as_rows(run_toy: RunToy) -> None:
    run = run_toy("hangs")
    rows = run.columns("error", "status")
    assert run.meta.status == "ok"
    assert np.count_nonzero(rows["status"] == 200) == 112
    assert set(rows["error"]) == {"", "timeout"}


def test_one_second_without_answers_is_seen_from_the_due_times(run_toy: RunToy) -> None:
    run = run_toy("stalls")
    rows = run.columns("due_ns", "done_ns", "status")
    latency_ms = (rows["done_ns"] - rows["due_ns"]) / 1e6
    assert set(rows["status"]) == {200}
    assert 900 < latency_ms.max() < 2000
    assert 60 < np.count_nonzero(latency_ms > 200) < 130  # a hundred requests were due in that second


@pytest.mark.parametrize("toy", ["ignores-sigterm", "leaves-daemon"])
def test_one_that_does_not_end_is_killed_and_named(run_toy: RunToy, toy: str) -> None:
    run = run_toy(toy)
    assert run.meta.status == "ok"
    assert "did not end within 1 s of SIGTERM and was killed: python" in run.meta.reason
    assert len(run.columns("seq")["seq"]) == ROWS


def test_one_that_floods_its_log_fills_no_disk(run_toy: RunToy) -> None:
    run = run_toy("floods-log")
    assert run.meta.status == "ok"
    assert (run.folder / "server.log").stat().st_size < 10e6
    assert "bytes of output left out" in run.text("server.log")


def squatter() -> socket.socket:
    """Someone else's listening socket."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


@pytest.mark.parametrize("free_ones", [0, 1])
def test_a_taken_port_is_tried_once_more_elsewhere(attempt: Callable[[str], Attempt], bench: Bench, watcher: Any,
                                                   free_ones: int) -> None:
    """Who has the port accepts connections and never answers: that is not waited for."""
    calm = attempt("calm")
    prepared = prepare(calm.workload, lambda _: None)
    with squatter() as one, squatter() as other, \
            Agent(calm.workload, prepared, environment([calm.workload.lock])) as agent:
        begun_s = time.monotonic()
        ports = iter([one.getsockname()[1], free_port() if free_ones else other.getsockname()[1]])
        run = run_cell(calm, bench, agent, prepared.folder, say=watcher.say,
                       progress=watcher.progress, choose_port=lambda: next(ports))
    assert run.meta.status == ("ok" if free_ones else "failed")
    assert any("trying another port" in said for said in watcher.said)
    if not free_ones:
        assert "is taken by another process" in run.meta.reason
        assert time.monotonic() - begun_s < 5, "no answer was waited for"


def test_a_race_goes_on_after_a_failure_and_a_skip(attempt: Callable[[str], Attempt], bench: Bench,
                                                   watcher: Any) -> None:
    gpu = attempt("calm")
    needs = gpu.setup.needs.model_copy(update={"memory_gb": 1e6})
    lacking = Attempt("toys", "", gpu.setup.model_copy(update={"needs": needs}), gpu.workload, gpu.scenario, 0.5)
    limited = Attempt("toys", "", gpu.setup.model_copy(update={"limits": {"echo": "numbers are too hard"}}),
                      gpu.workload, gpu.scenario, 1.0)
    ids = race([attempt("crashes-at-start"), lacking, limited, attempt("calm")], bench, watcher)
    metas = watcher.metas
    assert [meta.status for meta in metas] == ["failed", "skipped", "skipped", "ok"]
    assert "1e+06 GB of memory" in metas[1].reason
    assert "numbers are too hard" in metas[2].reason
    assert "@0.5-" in metas[1].run_id
    assert [run.meta.run_id for run in find_runs(bench.results).runs] == ids


def test_a_second_harness_is_told_to_wait(attempt: Callable[[str], Attempt], bench: Bench, watcher: Any) -> None:
    with only_harness(), pytest.raises(TailraceError, match=f"process {os.getpid()} since"):
        race([attempt("calm")], bench, watcher)
    assert not bench.results.exists()


@pytest.mark.parametrize(("toy", "broken"), [
    ("calm", {"overload"}),
    ("answers-wrongly", {"golden", "golden-2", "golden-7", "golden-32", "golden-together", "order", "overload"}),
    ("all-addresses", {"loopback", "overload"}),
    ("ignores-sigterm", {"stop", "nothing-left", "overload"}),
    ("leaves-daemon", {"stop", "nothing-left", "overload"}),
    ("lies", {"ready"}),
    ("crashes-at-start", {"ready"}),
])
def test_conformance_names_the_broken_clause(attempt: Callable[[str], Attempt], toy: str, broken: set[str]) -> None:
    points = check(attempt(toy).setup, attempt(toy).workload).points
    assert {point.code for point in points if point.verdict == "failed"} == broken, points
    assert all(point.message for point in points)
    assert len(points) == 1 or {"drain", "unknown-route", "bad-body-huge"} <= {point.code for point in points}


@pytest.mark.parametrize("protocol", ["oip-http-binary", "tfserving"])
def test_other_protocols_are_measured_and_judged(bench: Bench, watcher: Any, protocol: str) -> None:
    catalog = Catalog(TOYS)
    plan = Plan(name="p", title="t", question="q", repetitions=1, race=(Race(
        workload="echo", setups=("polyglot",), scenario="brief", knobs={"polyglot": {"protocol": protocol}}),))
    [run_id] = race(expand(plan, catalog, 1), bench, watcher)
    run = open_run(bench.folder / run_id)
    assert (run.meta.status, run.meta.reason) == ("ok", "")
    rows = run.columns("status", "judged")
    assert set(rows["status"]) == {200}
    assert set(rows["judged"]) == {1}
    assert run.meta.setup_facts["protocol"] == protocol


def test_conformance_speaks_the_setup_s_protocol(bench: Bench) -> None:
    catalog = Catalog(TOYS)
    found = check(catalog.setup("polyglot"), catalog.workload("echo"))
    assert {point.code for point in found.points if point.verdict == "failed"} <= {"overload"}


def test_load_goes_over_grpc(run_toy: RunToy) -> None:
    run = run_toy("calls")
    assert (run.meta.status, run.meta.reason) == ("ok", "")
    rows = run.columns("seq", "due_ns", "sent_ns", "done_ns", "status", "judged", "batch", "queue_us", "first_byte_ns")
    assert list(rows["seq"]) == list(range(ROWS))
    assert set(rows["status"]) == {200}
    assert set(rows["judged"]) == {1}
    assert (set(rows["batch"]), set(rows["queue_us"])) == ({1}, {500})
    assert np.all(rows["due_ns"] <= rows["sent_ns"])
    assert np.all(rows["sent_ns"] < rows["done_ns"])
    assert np.all(rows["first_byte_ns"] == rows["done_ns"])


def test_conformance_over_grpc(bench: Bench) -> None:
    catalog = Catalog(TOYS)
    found = check(catalog.setup("calls"), catalog.workload("echo"))
    failed = {point.code: point.message for point in found.points if point.verdict == "failed"}
    assert set(failed) <= {"overload"}, failed
