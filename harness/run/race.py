"""Attempts one after another, each leaving its record; one that fails stops no other."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Protocol

from harness.catalog.device import arm
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.plan.attempt import Attempt
from harness.record.read import StoredRun
from harness.record.schema import RunMeta
from harness.record.write import RunWriter, write_machine
from harness.run.agent import Agent
from harness.run.ahead import make_ahead
from harness.run.bench import Bench
from harness.run.cell import Outcome, Progress, run_cell, why_skipped
from harness.run.environments import environment, environments
from harness.run.locks import only_harness
from harness.run.prepare import prepare
from harness.run.provenance import describe


class Observer(Protocol):
    """Who watches a race."""

    def say(self, message: str) -> None:
        """A line about preparation."""

    def started(self, attempt: Attempt, upcoming: Attempt | None) -> None:
        """A run begins; `upcoming` is the one after it."""

    def progress(self, progress: Progress) -> None:
        """The generators' latest word."""

    def finished(self, attempt: Attempt, meta: RunMeta) -> None:
        """A run left its record."""


def race(attempts: Sequence[Attempt], bench: Bench, observer: Observer) -> list[str]:
    """Runs the attempts in the order given; the ids of their records.

    Raises TailraceError when another harness measures or a record cannot be written, KeyboardInterrupt (for SIGTERM,
    too) once the interrupted run is recorded.
    """
    with racing(bench, observer) as run:
        cells = {(attempt.workload.name, attempt.setup.name): attempt for attempt in attempts}.values()
        make_ahead([(cell.workload, cell.setup) for cell in cells if not why_skipped(cell, bench)], observer.say)
        return [run(attempt, upcoming).meta.run_id for attempt, upcoming in zip_longest(attempts, attempts[1:])]


@contextmanager
def racing(bench: Bench, observer: Observer) -> Iterator[Callable[[Attempt, Attempt | None], StoredRun]]:
    """What runs an attempt and records it, given the one after it where that is known; for searches, which choose the
    next attempt by what the last one left. Raises as `race` does."""
    with only_harness(), _terminated_is_interrupted(), ExitStack() as stack:
        write_machine(bench.results, bench.machine.id, bench.machine.facts)
        agents = Agents(stack, observer)

        def run(attempt: Attempt, upcoming: Attempt | None = None) -> StoredRun:
            observer.started(attempt, upcoming)
            stored = _attempt(attempt, bench, agents, observer)
            observer.finished(attempt, stored.meta)
            return stored

        yield run


class Agents:
    """One agent per workload, started when first asked for; they end with `stack`. A workload that cannot be prepared
    is not tried again."""

    def __init__(self, stack: ExitStack, observer: Observer) -> None:
        self._stack, self._observer = stack, observer
        self._agents: dict[str, tuple[Agent, Path] | TailraceError] = {}

    def of(self, workload: Workload) -> tuple[Agent, Path]:
        """The workload's agent and its prepared files. Raises TailraceError when they cannot be had."""
        if workload.name not in self._agents:
            try:
                self._agents[workload.name] = self._start(workload)
            except TailraceError as error:
                self._agents[workload.name] = error
        known = self._agents[workload.name]
        if isinstance(known, TailraceError):
            raise known
        return known

    def _start(self, workload: Workload) -> tuple[Agent, Path]:
        prepared = prepare(workload, self._observer.say)
        agent = Agent(workload, prepared, environment([workload.lock], self._observer.say))
        return self._stack.enter_context(agent), prepared.folder


def _attempt(attempt: Attempt, bench: Bench, agents: Agents, observer: Observer) -> StoredRun:
    if skip := why_skipped(attempt, bench):
        return _without_rows(attempt, bench, Outcome("skipped", skip))
    try:
        agent, model_dir = agents.of(attempt.workload)
        environments(attempt.setup, attempt.workload, observer.say)  # on all CPUs, where it is to be built
    except TailraceError as error:
        return _without_rows(attempt, bench, Outcome("failed", str(error)))
    with _on_load_cpus(bench):
        return run_cell(attempt, bench, agent, model_dir, say=observer.say, progress=observer.progress)


def _without_rows(attempt: Attempt, bench: Bench, outcome: Outcome) -> StoredRun:
    with RunWriter(bench.folder, setup=arm(attempt.setup.name, attempt.device), workload=attempt.workload.name,
                   scenario=attempt.scenario.name, load=attempt.load, repetition=attempt.repetition) as writer:
        return writer.finish(describe(attempt, bench, writer, outcome))


@contextmanager
def _on_load_cpus(bench: Bench) -> Iterator[None]:
    """The harness itself stays off the server's CPUs meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bench.cores.load)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl-C does, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
