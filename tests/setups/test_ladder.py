"""LitServe, Ray Serve, BentoML and balanced replicas: right answers alone and together, refusals, a clean end."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.catalog.discover import find_catalog
from harness.catalog.scenario import Scenario, Stage
from harness.catalog.setup import Knob, Setup
from harness.catalog.workload import Workload
from harness.plan.attempt import Attempt
from harness.run.agent import Agent
from harness.run.cores import split
from harness.run.environments import environment
from harness.run.exchange import FAILURES, Reply, exchange
from harness.run.launch import Place, server_command
from harness.run.prepare import prepare
from harness.run.process import Server
from harness.run.ready import answer_golden, await_ready
from harness.run.sockets import free_port, listeners

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
CATALOG = find_catalog(Path(__file__).parents[2])
SETUPS = ["litserve", "ray-serve", "bentoml", "replicas"]
IDLE = Scenario(name="idle", title="", question="", seed=0, stage=(Stage(arrivals="constant", duration_s=1, rate=1),))
TOGETHER = 32
HUGE = b"x" * 10_000_000


@dataclass(frozen=True)
class Desk:
    """A workload ready to be served, its golden bodies, and who knows their right answers."""

    workload: Workload
    model_dir: Path
    agent: Agent
    content_type: str
    bodies: list[bytes]


@dataclass(frozen=True)
class Served:
    """A setup that has said ready and answered every golden request."""

    setup: Setup
    server: Server
    port: int
    desk: Desk
    scratch: Path

    def ask(self, body: bytes, path: str = "") -> Reply:
        """The answer to one body."""
        return exchange(self.port, path or self.setup.predict, body=body, content_type=self.desk.content_type,
                        timeout_s=30)

    def golden(self, number: int) -> Reply:
        """The answer to golden request `number`, counted around."""
        return self.ask(self.desk.bodies[number % len(self.desk.bodies)])

    def reasons(self, replies: list[tuple[int, Reply]]) -> list[str]:
        """What is wrong with replies to golden requests; empty when nothing is."""
        count = len(self.desk.bodies)
        refused = [f"{reply.status} {reply.body[:200]!r}" for _, reply in replies if reply.status != 200]
        answers = [(number % count, reply.body) for number, reply in replies if reply.status == 200]
        return refused + [why for why in self.desk.agent.same(answers) if why]


@pytest.fixture(scope="module")
def desks() -> Iterator[dict[str, Desk]]:
    """One desk for each built-in workload."""
    with ExitStack() as stack:
        yield {name: _desk(stack, CATALOG.workload(name)) for name in ("fraud", "embed", "ocr")}


def _desk(stack: ExitStack, workload: Workload) -> Desk:
    prepared = prepare(workload, print)
    agent = stack.enter_context(Agent(workload, prepared, environment([workload.lock], print)))
    return Desk(workload, prepared.folder, agent, agent.content_type(), [body for body, _ in agent.golden()])


@contextmanager
def serve(name: str, desk: Desk, scratch: Path, **knobs: Knob) -> Iterator[Served]:
    """The setup, on the cores that a race would give it."""
    setup, cores, port = CATALOG.setup(name), split(os.sched_getaffinity(0)), free_port()
    resolved = {knob: len(cores.server) if value == "cores" else value
                for knob, value in {**setup.knobs, **knobs}.items()}
    attempt = Attempt("test", "", setup, desk.workload, IDLE, 1.0, resolved)
    python = environment([desk.workload.lock, setup.lock], print).python
    log = scratch.with_suffix(".log")
    scratch.mkdir()
    place = Place(python, desk.model_dir, scratch, log, cores.server)
    try:
        with Server(server_command(attempt, place, port)) as server:
            await_ready(server, setup, port, log)
            answer_golden(setup, port, desk.agent, 30.0)
            yield Served(setup, server, port, desk, scratch)
    finally:
        print(log.read_text("utf-8", "replace")[-20_000:])


@pytest.mark.parametrize("workload", ["fraud", "embed", "ocr"])
@pytest.mark.parametrize("name", SETUPS)
def test_serves_the_workload_and_ends(name: str, workload: str, desks: dict[str, Desk], tmp_path: Path) -> None:
    with serve(name, desks[workload], tmp_path / "s") as served:
        _answers_together(served)
        _refuses(served)
        _bad_and_good_share_a_batch(served)
        _listens_on_loopback_or_says_so(served)
        flight = Flight(served)
        flight.land()
        stopped = served.server.stop()
        lost = flight.lost()
    assert (stopped.killed, stopped.survived) == ((), ())
    if "drain" not in served.setup.limits:
        assert lost == []


@pytest.mark.parametrize("name", SETUPS)
def test_nothing_outlives_a_killed_server(name: str, desks: dict[str, Desk], tmp_path: Path) -> None:
    with serve(name, desks["fraud"], tmp_path / "s") as served:
        started = psutil.Process(served.server.pid)
        family = started.children(recursive=True)
        started.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == []


def _answers_together(served: Served) -> None:
    with ThreadPoolExecutor(TOGETHER) as pool:
        replies = list(pool.map(lambda number: (number, served.golden(number)), range(4 * TOGETHER)))
    assert served.reasons(replies) == []
    assert all("model;dur=" in reply.headers["server-timing"] for _, reply in replies)


def _refuses(served: Served) -> None:
    for body in (b"", b"{", b"[]", b'{"text": 7}', b"\x89PNG\r\n\x1a\nbroken"):
        reply = served.ask(body)
        assert 400 <= reply.status < 500, (body, reply)
        assert reply.body, body
    assert served.ask(b"{}", "/nothing-here").status == 404
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent, as HTTP allows
        assert 400 <= served.ask(HUGE).status < 500
    assert exchange(served.port, served.setup.ready).status == 200
    assert served.reasons([(0, served.golden(0))]) == []


def _bad_and_good_share_a_batch(served: Served) -> None:
    """A bad body must not spoil the answers of those it is batched with."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        bad = [pool.submit(served.ask, b"{") for _ in range(TOGETHER // 2)]
        good = [(number, pool.submit(served.golden, number)) for number in range(TOGETHER)]
        assert {future.result().status for future in bad} == {400}
        assert served.reasons([(number, future.result()) for number, future in good]) == []


def _listens_on_loopback_or_says_so(served: Served) -> None:
    pids = [child.pid for child in psutil.Process(served.server.warden_pid).children(recursive=True)]
    strangers = [listener for listener in listeners(pids) if not listener.is_local]
    assert not strangers or "loopback" in served.setup.limits, strangers


class Flight:
    """Eight clients that ask without pause until they are told to send nothing more."""

    def __init__(self, served: Served) -> None:
        self._served, self._landing = served, threading.Event()
        self._replies: list[tuple[int, Reply]] = []
        self._lost: list[str] = []
        self._threads = [threading.Thread(target=self._fly, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()
        time.sleep(1.0)

    def land(self) -> None:
        """From here on only what is in flight is waited for."""
        self._landing.set()

    def lost(self) -> list[str]:
        """Requests that were neither answered rightly nor refused with 503."""
        for thread in self._threads:
            thread.join()
        return self._lost + self._served.reasons([reply for reply in self._replies if reply[1].status != 503])

    def _fly(self, number: int) -> None:
        while not self._landing.is_set():
            try:
                self._replies.append((number, self._served.golden(number)))
            except FAILURES as error:
                self._lost.append(repr(error))
                return
