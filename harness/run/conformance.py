"""Does a setup keep its contract? Starts it for real, and asks one question after another."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.catalog.device import arm
from harness.catalog.setup import Knob, Setup
from harness.catalog.workload import Workload
from harness.errors import RunFailedError
from harness.plan.expand import resolve_knobs
from harness.record.conformance import Point
from harness.run import points_answers, points_refusals
from harness.run.agent import Agent
from harness.run.cores import split
from harness.run.environments import environment, environments
from harness.run.exchange import FAILURES
from harness.run.launch import Place, scratch_folder, server_command
from harness.run.points_load import (
    LOAD_S,
    SMALL_QUEUE,
    Held,
    Load,
    full_queue,
    health_under_load,
    held,
    nothing_left,
)
from harness.run.possible import why_not
from harness.run.prepare import prepare
from harness.run.process import Server, Stopped
from harness.run.provenance import packages
from harness.run.ready import await_ready
from harness.run.sockets import free_port
from harness.run.subject import ANSWER_S, Subject
from harness.run.upkeep import engine_versions, of_parts

QUEUE = "queue"  # the knob of a setup that bounds what may wait
BATCH = "max_batch"  # the one that bounds a batch
Say = Callable[[str], None]
_QUESTIONS = {**points_answers.QUESTIONS, **points_refusals.QUESTIONS, "health-under-load": health_under_load}
CODES = ("needs", "environment", "ready", *_QUESTIONS, "same-answers", "overload", "drain", "stop", "nothing-left")


@dataclass(frozen=True)
class Findings:
    """What became of every clause, in the order asked (those after a server that did not start are missing), the
    answers to the workload's distinct items, for the setups checked after it, versions of what ran, and the knobs that
    the check itself `raised`."""

    points: tuple[Point, ...]
    answers: tuple[bytes, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    raised: dict[str, Knob] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bench:
    """What both servers of a check are started with; `knobs` are those that differ from the defaults."""

    setup: Setup
    workload: Workload
    agent: Agent
    pythons: tuple[Path, ...]
    model_dir: Path
    device: str
    knobs: Mapping[str, Knob]


def check(setup: Setup, workload: Workload, say: Say = lambda _: None,
          others: Mapping[str, list[bytes]] | None = None, device: str = "cpu",
          knobs: Mapping[str, Knob] | None = None) -> Findings:
    """`others` maps setups to their answers to the same distinct items; `knobs` are values besides the defaults. Where
    they do not name BATCH and its default is lower, it is raised to the largest batch that is asked for.

    Raises TailraceError when the environment or the workload cannot be made.
    """
    raised = room_for_batches(setup, knobs or {}, device)
    given = {**raised, **(knobs or {})}
    setup = setup.with_knobs({**setup.knobs_on(device), **given})
    if why := why_not(setup, workload, device, setup.folder):
        return Findings((Point("needs", "skipped", why),))
    with ExitStack() as stack:
        prepared = prepare(workload, say)
        agent = stack.enter_context(Agent(workload, prepared, environment([workload.lock], say)))
        own = environments(setup, workload, say)
        bench = _Bench(setup, workload, agent, tuple(each.python for each in own), prepared.folder, device, given)
        found = _first_server(bench, say, dict(others or {}))
        points = found.points
        if QUEUE in setup.knobs and points[0].verdict == "passed":
            say(f"{setup.name}: overload")
            points = (*points, _small_queue(bench))
    versions = of_parts(engine_versions(part, packages(made.folder))
                        for part, made in zip(setup.parts, own, strict=True))
    return replace(found, points=points, versions={**found.versions, **versions}, raised=raised)


def room_for_batches(setup: Setup, given: Mapping[str, Knob], device: str) -> dict[str, Knob]:
    """BATCH at the largest batch that is asked for, where the setup's own default on the device is lower and `given`
    does not name it: with a smaller one the requests sent at once could never be one batch."""
    largest, usual = max(points_answers.BATCHES), setup.knobs_on(device).get(BATCH)
    return {BATCH: largest} if BATCH not in given and isinstance(usual, int) and usual < largest else {}


def _first_server(bench: _Bench, say: Say, others: dict[str, list[bytes]]) -> Findings:
    name = bench.setup.name
    begun = time.monotonic()
    with _started(bench, {}) as (subject, place):
        points = [_asked("ready", lambda: points_answers.ready(subject, place.log, lambda: time.monotonic() - begun))]
        if points[0].verdict != "passed":
            return Findings(tuple(points))
        versions = subject.wire.server_version(ANSWER_S)
        for code, question in _QUESTIONS.items():
            say(f"{name}: {code}")
            points.append(_asked(code, lambda question=question: question(subject)))  # type: ignore[misc]
        own = arm(name, bench.device)
        points.append(_alike(subject, {other: theirs for other, theirs in others.items() if other != own}))
        if QUEUE not in bench.setup.knobs:
            points.append(_asked("overload", lambda: full_queue(subject, bounded=False)))
        say(f"{name}: the end, under load")
        points += _ending(subject, place)
        return Findings(tuple(points), tuple(subject.answers), versions)


@contextmanager
def _started(bench: _Bench, knobs: Mapping[str, int]) -> Iterator[tuple[Subject, Place]]:
    cores = split()
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        place = Place(bench.pythons, bench.model_dir, scratch, scratch / "server.log", cores.server, bench.device)
        port = free_port()
        resolved = resolve_knobs(bench.setup, {**bench.knobs, **knobs}, len(cores.server), bench.device)
        setup = bench.setup.with_knobs(resolved)
        server = stack.enter_context(Server(server_command(setup, bench.workload, resolved, place, port)))
        yield Subject(setup, server, port, bench.agent, scratch, bench.agent.content_type(),
                      bench.agent.golden()), place


def _small_queue(bench: _Bench) -> Point:
    """Whether a second server, with a small queue, refuses what does not fit."""
    def question() -> str:
        with _started(bench, {QUEUE: SMALL_QUEUE}) as (subject, place):
            await_ready(subject.server, subject.setup, subject.port, place.log)
            return full_queue(subject, bounded=True)

    return _asked("overload", question)


def _asked(code: str, question: Callable[[], str]) -> Point:
    """The question's answer as a point; a RunFailedError or a failed exchange is a no."""
    try:
        return Point(code, "passed", question())
    except RunFailedError as error:
        return Point(code, "failed", str(error))
    except FAILURES as error:
        return Point(code, "failed", f"the exchange ended with {str(error) or type(error).__name__}")


def _alike(subject: Subject, others: dict[str, list[bytes]]) -> Point:
    if not others or not subject.answers:
        why = "no other setup was checked here with this workload" if subject.answers else "the items got no answers"
        return Point("same-answers", "skipped", why)
    return _asked("same-answers", lambda: points_answers.alike(subject, others))


def _ending(subject: Subject, place: Place) -> list[Point]:
    """SIGTERM under load, and what is left after it."""
    with Load(subject) as load:
        time.sleep(LOAD_S)
        before = held(subject)
        begun = time.monotonic()
        stopped = subject.server.stop()
    limit_s = subject.setup.stop_timeout_s
    return [_asked("drain", lambda: load.verdict(begun, limit_s)), _asked("stop", lambda: _stopped(limit_s, stopped)),
            _asked("nothing-left", lambda: _left(place, stopped, before))]


def _stopped(limit_s: float, stopped: Stopped) -> str:
    if stopped.killed or stopped.survived:
        raise RunFailedError(f"had to be killed {limit_s:g} s after SIGTERM: "
                             f"{', '.join(stopped.killed + stopped.survived)}", "end on SIGTERM, with all children")
    return f"ended {stopped.seconds:.1f} s after SIGTERM"


def _left(place: Place, stopped: Stopped, before: Held) -> str:
    return nothing_left(place.temporary, stopped, before)
