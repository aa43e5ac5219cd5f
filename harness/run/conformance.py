"""Does a setup keep its contract? Starts it for real, and asks one question after another."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.errors import RunFailedError
from harness.plan.expand import resolve_knobs
from harness.run.agent import Agent
from harness.run.cores import split
from harness.run.environments import environment
from harness.run.exchange import FAILURES, Reply, exchange
from harness.run.launch import Place, scratch_folder, server_command
from harness.run.machine import lacking
from harness.run.prepare import prepare
from harness.run.process import Server, Stopped
from harness.run.ready import answer_golden, await_ready, last_line
from harness.run.sockets import free_port, is_taken, listeners
from harness.run.unary import call, channel
from harness.run.warden import descendants
from harness.run.wire import Wire

CONCURRENCY = 32
DISTINCT = 128
HUGE_BYTES = 10_000_000
BAD_BODIES = {"malformed": b"{\x00", "empty": b"", "wrong type": b'[["not", "an", "item"]]',
              "huge": b"x" * HUGE_BYTES}
_ANSWER_S = 30.0
_LOAD_S = 0.7
_ARRIVED_S = 0.02
_RETRY_S = 0.02


@dataclass(frozen=True)
class Point:
    """One clause of the contract. `code` is stable; `message` says what was seen."""

    code: str
    verdict: Literal["passed", "failed", "skipped"]
    message: str


@dataclass(frozen=True)
class Subject:
    """A running server and what its answers are judged by."""

    setup: Setup
    server: Server
    port: int
    agent: Agent
    scratch: Path

    @property
    def wire(self) -> Wire:
        """How the server is spoken to."""
        return Wire(self.setup, self.port, self.agent.content_type())

    def predict(self, body: bytes) -> Reply:
        """One request on its own connection. Raises one of FAILURES."""
        return self.wire.predict(body, _ANSWER_S)


def check(setup: Setup, workload: Workload, say: Callable[[str], None] = lambda _: None) -> list[Point]:
    """What became of every clause, in the order asked; those after a server that did not start are missing.

    Raises TailraceError when the environment or the workload cannot be made.
    """
    limit = setup.limits.get(workload.name)
    lacks = lacking(setup.needs.model_dump(), setup.folder)
    if limit or lacks:
        return [Point("needs", "skipped", limit or lacks)]
    cores = split()
    knobs = resolve_knobs(setup, {}, len(cores.server))
    setup = setup.with_knobs(knobs)
    with ExitStack() as stack:
        prepared = prepare(workload, say)
        agent = stack.enter_context(Agent(workload, prepared, environment([workload.lock], say)))
        python = environment([workload.lock, setup.lock], say).python
        scratch = stack.enter_context(scratch_folder())
        place = Place(python, prepared.folder, scratch, scratch / "server.log", cores.server)
        port = free_port()
        command = server_command(setup, workload, knobs, place, port)
        server = stack.enter_context(Server(command))
        subject = Subject(setup, server, port, agent, scratch)
        points = [_asked("ready", lambda: _ready(subject, place.log))]
        if points[0].verdict == "passed":
            for code, question in _QUESTIONS.items():
                say(f"{setup.name}: {code}")
                points.append(_asked(code, lambda question=question: question(subject)))  # type: ignore[misc]
            points += _ending(subject, place)
    return points


def _asked(code: str, question: Callable[[], str]) -> Point:
    """The question's answer as a point; a RunFailedError or a failed exchange is a no."""
    try:
        return Point(code, "passed", question())
    except RunFailedError as error:
        return Point(code, "failed", str(error))
    except FAILURES as error:
        return Point(code, "failed", f"the exchange ended with {str(error) or type(error).__name__}")


def _ready(subject: Subject, log: Path) -> str:
    began = time.monotonic()
    await_ready(subject.server, subject.setup, subject.port, log)
    body, _ = subject.agent.golden()[0]
    reply = subject.predict(body)
    if reply.status != 200:
        raise RunFailedError(f"said ready, and answered the first prediction with {reply.status}{last_line(log)}")
    return f"ready after {time.monotonic() - began:.1f} s, and so it was"


def _golden(subject: Subject) -> str:
    answer_golden(subject.setup, subject.port, subject.agent, _ANSWER_S)
    return f"{len(subject.agent.golden())} golden requests answered rightly"


def _golden_together(subject: Subject) -> str:
    """Each golden request several times, 32 at a time."""
    golden = subject.agent.golden()
    numbers = [k % len(golden) for k in range(max(CONCURRENCY * 2, len(golden)))]
    answers = _together(subject, [golden[number][0] for number in numbers])
    _all_right(subject.agent.same(list(zip(numbers, answers, strict=True))), "golden answers")
    return f"{len(answers)} golden requests, {CONCURRENCY} at a time, answered rightly"


def _order(subject: Subject) -> str:
    """Distinct items at the same time: each must get its own answer."""
    prefix = subject.scratch / "distinct"
    subject.agent.payload_files(1, "default", DISTINCT, prefix)
    offsets = np.load(f"{prefix}.offsets.npy", allow_pickle=False).tolist()
    data = Path(f"{prefix}.bin").read_bytes()
    answers = _together(subject, [data[offsets[k]:offsets[k + 1]] for k in range(DISTINCT)])
    _all_right(subject.agent.judge(prefix, list(enumerate(answers))), "answers to distinct items")
    return f"{DISTINCT} distinct items, {CONCURRENCY} at a time, each got its own answer"


def _bad_body(kind: str) -> Callable[[Subject], str]:
    def question(subject: Subject) -> str:
        reply = subject.predict(BAD_BODIES[kind])
        if not 400 <= reply.status < 500:
            raise RunFailedError(f"a body that is {kind} got {reply.status} instead of a 4xx")
        if not reply.body.strip():
            raise RunFailedError(f"a body that is {kind} got {reply.status} without a message")
        health = subject.wire.ready(_ANSWER_S)
        again = subject.predict(subject.agent.golden()[0][0])
        if (health.status, again.status) != (200, 200):
            raise RunFailedError(f"after a body that is {kind}, ready is {health.status}, a prediction {again.status}")
        return f"{reply.status}, and it stays healthy"

    return question


def _unknown_route(subject: Subject) -> str:
    if subject.setup.codec.transport == "grpc":
        return _unknown_method(subject)
    reply = exchange(subject.port, "/no-such-route")
    if reply.status != 404:
        raise RunFailedError(f"GET /no-such-route got {reply.status} instead of 404")
    return "404"


def _unknown_method(subject: Subject) -> str:
    with channel(subject.port) as opened:
        reply = call(opened, "/no.such.Service/Method", b"", _ANSWER_S)
    if reply.status != 404:
        raise RunFailedError(f"an unknown method got {reply.status} instead of UNIMPLEMENTED")
    return "UNIMPLEMENTED"


def _loopback(subject: Subject) -> str:
    found = listeners(descendants(subject.server.warden_pid))
    reachable = sorted({f"{each.address}:{each.port}" for each in found if not each.is_local})
    if reachable:
        raise RunFailedError(f"listens where the network can reach it: {', '.join(reachable)}", "bind to {host}")
    return f"listens only on loopback ({len({each.port for each in found})} ports)"


_QUESTIONS: dict[str, Callable[[Subject], str]] = {
    "golden": _golden, "golden-together": _golden_together, "order": _order,
    **{f"bad-body-{kind.replace(' ', '-')}": _bad_body(kind) for kind in BAD_BODIES},
    "unknown-route": _unknown_route, "loopback": _loopback,
}


def _ending(subject: Subject, place: Place) -> list[Point]:
    """SIGTERM under load, and what is left after it."""
    with _Load(subject) as load:
        time.sleep(_LOAD_S)
        begun = time.monotonic()
        stopped = subject.server.stop()
    return [_asked("drain", lambda: load.verdict(begun)), _asked("stop", lambda: _stopped(subject.setup, stopped)),
            _asked("nothing-left", lambda: _nothing_left(subject, place, stopped))]


class _Load:
    """Half as many clients as CONCURRENCY, each sending golden requests on its own connection until it is told that
    the server is gone."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._body = subject.agent.golden()[0][0]
        self._wire = subject.wire
        self._over = threading.Event()
        self._ended: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._repeat, daemon=True) for _ in range(CONCURRENCY // 2)]

    def __enter__(self) -> "_Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_ANSWER_S)

    def verdict(self, stop_begun_s: float) -> str:
        """Raises RunFailedError unless every request that was surely with the server at SIGTERM got an answer."""
        flying = [how for sent_s, how in self._ended if sent_s < stop_begun_s - _ARRIVED_S]
        lost = [how for how in flying if how]
        if any(thread.is_alive() for thread in self._threads):
            raise RunFailedError("some requests hang although the server has ended")
        if lost:
            raise RunFailedError(f"{len(lost)} of the requests in flight at SIGTERM got no answer: {lost[0]}",
                                 "stop accepting, answer what was accepted, then end")
        return f"{len(flying)} requests before SIGTERM, all answered"

    def _repeat(self) -> None:
        with self._wire.connected(_ANSWER_S) as ask:
            while not self._over.is_set():
                sent_s, how = time.monotonic(), ""
                try:
                    ask(self._body)
                except FAILURES as error:
                    how = str(error) or type(error).__name__
                    self._over.wait(_RETRY_S)
                self._ended.append((sent_s, how))


def _stopped(setup: Setup, stopped: Stopped) -> str:
    if stopped.killed or stopped.survived:
        raise RunFailedError(f"had to be killed {setup.stop_timeout_s:g} s after SIGTERM: "
                             f"{', '.join(stopped.killed + stopped.survived)}", "end on SIGTERM, with all children")
    return f"ended {stopped.seconds:.1f} s after SIGTERM"


def _nothing_left(subject: Subject, place: Place, stopped: Stopped) -> str:
    files = sorted(str(path.relative_to(place.temporary)) for path in place.temporary.rglob("*") if path.is_file()
                   or path.is_socket())
    left = [f"process {name}" for name in stopped.left] + [f"file {name}" for name in files]
    left += [f"port {subject.port}"] if is_taken(subject.port) else []
    if left:
        raise RunFailedError(f"left behind: {', '.join(left[:5])}", "clean up before the first process ends")
    return "no process, no socket, no temporary file"


def _together(subject: Subject, bodies: Sequence[bytes]) -> list[bytes]:
    """The answers' bodies in the order of the requests. Raises RunFailedError for one that is not 200."""
    wire = subject.wire

    def ask(body: bytes) -> Reply:
        return wire.predict(body, _ANSWER_S)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        replies = list(pool.map(ask, bodies))
    bad = [reply for reply in replies if reply.status != 200]
    if bad:
        raise RunFailedError(f"{len(bad)} of {len(replies)} requests at the same time got {bad[0].status}")
    return [reply.body for reply in replies]


def _all_right(said: Sequence[str], what: str) -> None:
    wrong = [why for why in said if why]
    if wrong:
        raise RunFailedError(f"{len(wrong)} of {len(said)} {what} are wrong: {wrong[0]}")
