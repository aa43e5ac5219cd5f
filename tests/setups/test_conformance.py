"""Every folder in setups/ keeps the contract, but for what its `limits` own up to, and answers as the others do."""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.catalog.discover import find_catalog
from harness.catalog.setup import Knob
from harness.catalog.workload import Workload
from harness.plan.expand import resolve_knobs
from harness.run.conformance import CODES, check
from harness.run.cores import split
from harness.run.environments import environments
from harness.run.launch import Place, scratch_folder, server_command
from harness.run.prepare import prepare
from harness.run.process import Server
from harness.run.ready import await_ready
from harness.run.sockets import free_port

CATALOG = find_catalog(Path(__file__).parents[2])
OURS = ("zmq-batching", "redis-batching")
# Bodies that are no JSON take another way through engines that wrap or pickle them.
MORE = [(name, workload) for name in OURS for workload in ("embed", "ocr")] + [
    (name, "ocr") for name in ("flask", "mlserver")]
CASES = [*((name, "fraud") for name in CATALOG.setup_names()), *MORE]
# Which points setups own up to; a key of [limits] that is the code of a point by chance would excuse its failure.
OWNED = {
    "bentoml": {"overload"}, "fastapi": {"drain", "overload"}, "flask": {"overload"}, "granian": {"overload"},
    "litserve": {"overload"}, "mlserver": {"overload"}, "remote": {"overload"}, "torchserve": {"drain"},
    "triton": {"overload"}}

answers: dict[str, dict[str, list[bytes]]] = {}  # workload -> the first setup's answers, for those checked after it


def test_limits_excuse_the_points_that_they_are_meant_for_and_no_other() -> None:
    named = {name: CATALOG.setup(name).limits.keys() & set(CODES) for name in CATALOG.setup_names()}
    assert {name: codes for name, codes in named.items() if codes} == OWNED


@contextmanager
def elsewhere(workload: Workload) -> Iterator[str]:
    """The URL of a server of ours that nobody measures."""
    setup, prepared, port = CATALOG.setup("fastapi"), prepare(workload, print), free_port()
    knobs = resolve_knobs(setup, {"workers": 1}, 1)
    with scratch_folder() as scratch:
        pythons = tuple(each.python for each in environments(setup, workload, print))
        place = Place(pythons, prepared.folder, scratch, scratch / "log", split().server)
        with Server(server_command(setup, workload, knobs, place, port)) as server:
            await_ready(server, setup, port, place.log)
            yield f"http://127.0.0.1:{port}{setup.predict}"


def kept(name: str, workload: str, knobs: dict[str, Knob], owned: Set[str] = frozenset()) -> None:
    """Fails where the setup fails a point that neither its limits nor `owned` name."""
    setup, others = CATALOG.setup(name), answers.get(workload, {})
    found = check(setup, CATALOG.workload(workload), others=others, knobs=knobs)
    points = {point.code: point for point in found.points}
    if "needs" in points:
        pytest.skip(points["needs"].message)
    assert set(points) == set(CODES) - {"needs", "environment"}, points
    failed = {point.code: point.message for point in points.values() if point.verdict == "failed"}
    assert failed.keys() <= setup.limits.keys() | owned, failed
    assert points["same-answers"].verdict == ("passed" if others.keys() - {name} else "skipped")
    answers.setdefault(workload, {name: list(found.answers)})


@pytest.mark.live
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "workload"), CASES)
def test_it_fails_no_point_that_its_limits_do_not_name(name: str, workload: str) -> None:
    if name != "remote":
        return kept(name, workload, {})
    with elsewhere(CATALOG.workload(workload)) as url:
        return kept(name, workload, {"url": url})


@pytest.mark.live
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "workload", "knobs", "owned"), [
    ("triton", "ocr", {"protocol": "oip-grpc"}, set()),
    ("replicas", "fraud", {"balancer": "nginx"}, set()),
    # What `fast_mode` in its limits says in words.
    ("ray-serve", "fraud", {"throughput_optimized": True}, {"loopback", "nothing-left"})])
def test_so_it_does_with_other_knobs(name: str, workload: str, knobs: dict[str, Knob], owned: set[str]) -> None:
    kept(name, workload, knobs, owned)


@pytest.mark.live
@pytest.mark.timeout(600)
def test_what_stands_before_a_container_keeps_it_with_a_program_in_dockers_place(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(__file__).parents[1] / 'toys' / 'docker'}:{os.environ['PATH']}")
    kept("triton-container", "fraud", {})
