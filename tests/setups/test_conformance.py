"""Every folder in setups/ keeps the contract, but for what its `limits` own up to, and answers as the others do."""

import os
import re
import subprocess
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

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

ROOT = Path(__file__).parents[2]
CATALOG = find_catalog(ROOT)
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

# Setups whose needs must be met here, as CI says of those that it has installed everything for: no skip hides them.
REQUIRED = frozenset(os.environ.get("TAILRACE_REQUIRED", "").split(",")) - {""}

answers: dict[str, dict[str, list[bytes]]] = {}  # workload -> answers of each setup checked so far, for the next ones


def test_what_ci_requires_is_every_setup_that_runs_without_docker() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    [line] = re.findall(r"^ *export (TAILRACE_REQUIRED=.*)$", script, re.MULTILINE)
    told = subprocess.check_output(["bash", "-c", f'{line}; echo "$TAILRACE_REQUIRED"'], cwd=ROOT, text=True)
    assert set(told.strip().split(",")) == set(CATALOG.setup_names()) - {"triton-container"}
    assert set(CATALOG.setup_names()) >= REQUIRED


def test_a_need_that_is_missing_fails_where_it_must_be_met_and_skips_elsewhere() -> None:
    with pytest.raises(pytest.fail.Exception, match="triton is required here: this machine lacks java"):
        missing("triton", "this machine lacks java", {"triton"})
    with pytest.raises(pytest.skip.Exception, match="this machine lacks java"):
        missing("triton", "this machine lacks java", {"torchserve"})


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


def missing(name: str, why: str, required: Set[str]) -> NoReturn:
    """Skips the test of a setup that cannot run here; fails it where the setup is `required`."""
    if name in required:
        pytest.fail(f"{name} is required here: {why}")
    pytest.skip(why)


def kept(name: str, workload: str, knobs: dict[str, Knob], owned: Set[str] = frozenset(), label: str = "") -> None:
    """Fails where the setup fails a point that neither its limits nor `owned` name. Its answers are kept under `label`,
    its name unless given."""
    setup, others = CATALOG.setup(name), answers.setdefault(workload, {})
    found = check(setup, CATALOG.workload(workload), others=others, knobs=knobs)
    points = {point.code: point for point in found.points}
    if "needs" in points:
        missing(name, points["needs"].message, REQUIRED)
    assert set(points) == set(CODES) - {"needs", "environment"}, points
    failed = {point.code: point.message for point in points.values() if point.verdict == "failed"}
    assert failed.keys() <= setup.limits.keys() | owned, failed
    compared = others.keys() - {name}
    assert points["same-answers"].verdict == ("passed" if compared else "skipped")
    assert all(other in points["same-answers"].message for other in compared), points["same-answers"]
    others[label or name] = list(found.answers)


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
    kept(name, workload, knobs, owned, " ".join([name, *(f"{knob}={value}" for knob, value in knobs.items())]))


@pytest.mark.live
@pytest.mark.timeout(600)
def test_what_stands_before_a_container_keeps_it_with_a_program_in_dockers_place(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(__file__).parents[1] / 'toys' / 'docker'}:{os.environ['PATH']}")
    kept("triton-container", "fraud", {})
