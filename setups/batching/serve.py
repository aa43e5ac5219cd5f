"""The supervisor: starts the broker, the workers and the fronts; replaces what dies; drains on SIGTERM.

`python -m batching.serve` with the environment of docs/design.md. Exit 0 after a drain, 1 when it could not start.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import transport

from batching import policy
from batching.board import Board, owner_board, supervisor_board, worker_board
from batching.costs import near
from batching.link import Companion
from batching.settings import AUTO, Settings, from_environment

TICK_S = 0.1
BACK_OFF_S = (0.05, 0.2, 1.0, 5.0)
STEADY_S = 30.0
HUNG_TIMES = 20.0
START_S = 170.0     # less than ready_timeout_s, so that the reason is told
DRAIN_S = 9.0


@dataclass
class Child:
    """A process that is kept running: how to start it, and how it fared."""

    module: str
    arguments: tuple[str, ...]
    generation: int = 0
    failures: int = 0
    started_s: float = 0.0
    due_s: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Unique for each process there ever was."""
        return f"{self.module}-{self.arguments[0]}.{self.generation}"

    def start(self) -> None:
        """Start the next generation."""
        self.generation += 1
        self.started_s = time.monotonic()
        words = [self.arguments[0], self.name] if self.module == "worker" else list(self.arguments)
        parent = str(os.getpid())
        words = [parent, *words] if self.module == "tether" else [*words, parent]
        self.process = subprocess.Popen([sys.executable, "-m", f"batching.{self.module}", *words],
                                        stdin=subprocess.PIPE)

    def ended(self) -> bool:
        """Whether it ran and runs no more."""
        return self.process is not None and self.process.poll() is not None

    def say(self, line: str) -> None:
        """Write a line to its standard input; a process that just died does not hear it."""
        if self.process is not None and self.process.stdin is not None:
            try:
                os.write(self.process.stdin.fileno(), line.encode())
            except BrokenPipeError:
                return

    def retire(self) -> None:
        """Forget the dead process and set the time of the next start."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        now_s = time.monotonic()
        self.failures = 0 if now_s - self.started_s > STEADY_S else self.failures + 1
        self.due_s = now_s + BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
        self.process = None

    def kill(self) -> None:
        """End it now and collect it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Deployment:
    """Everything the supervisor keeps alive."""

    settings: Settings
    programs: list[Companion]
    bell: socket.socket
    board: Board
    companions: list[Child] = field(default_factory=list)
    owners: list[Child] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    fronts: list[Child] = field(default_factory=list)
    boards: list[Board] = field(default_factory=list)
    owner_boards: list[Board] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        """Sleep until something happens: a child's end, a signal, the time."""
        if select.select([self.bell], [], [], seconds)[0]:
            self.bell.recv(4096)

    def everyone(self) -> list[Child]:
        """All children, in the order in which they may stop."""
        return [*self.fronts, *self.workers, *self.owners, *self.companions]

    def models(self) -> list[tuple[Child, Board]]:
        """Who runs batches, and its board."""
        return [*zip(self.workers, self.boards, strict=True), *zip(self.owners, self.owner_boards, strict=True)]


def start(deployment: Deployment, stopping: list[int]) -> bool:
    """Start all; False with a message when something of it does not come up."""
    settings = deployment.settings
    for companion in deployment.programs:
        child = Child("tether", tuple(companion.command))
        deployment.companions.append(child)
        child.start()
        if not _await(deployment, stopping, companion.ready, [child]):
            return False
    deployment.owner_boards = [owner_board(Path(), slot) for slot in range(settings.owners)]
    deployment.owners = [Child("owner", (str(slot),)) for slot in range(settings.owners)]
    for child in deployment.owners:
        child.start()
    if not _await(deployment, stopping, lambda: all(board["ready"] for board in deployment.owner_boards),
                  [*deployment.companions, *deployment.owners]):
        return False
    deployment.boards = [worker_board(Path(), slot) for slot in range(settings.workers)]
    deployment.workers = [Child("worker", (str(slot),)) for slot in range(settings.workers)]
    deployment.fronts = [Child("front", ("0",))]    # the first one imports its modules while the models load
    for child in [*deployment.workers, *deployment.fronts]:
        child.start()
    if not _await(deployment, stopping, lambda: all(board["ready"] for board in deployment.boards),
                  [*deployment.companions, *deployment.owners, *deployment.workers, *deployment.fronts]):
        return False
    count = settings.fronts if settings.fronts != AUTO else _fronts(deployment)
    for index in range(1, count):
        deployment.fronts.append(Child("front", (str(index),)))
        deployment.fronts[index].start()
    for child in [*deployment.workers, *deployment.fronts]:
        child.say(f"{count}\n")
    owners = f"{settings.owners} owners of the device, " if settings.owners else ""
    print(f"{owners}{settings.workers} workers, {count} fronts, batches up to "
          f"{[int(board['best']) for board in deployment.boards]}", flush=True)
    return True


def _fronts(deployment: Deployment) -> int:
    """As many fronts as the workers' measured cost of an item asks for; beside a device they work in batches."""
    on_device = deployment.settings.owners > 0
    sizes = [near(int(board["best"])) if on_device else 1 for board in deployment.boards]
    each = sorted(board[f"cost_{n}"] / n for board, n in zip(deployment.boards, sizes, strict=True))
    return policy.fronts_for(each[len(each) // 2], deployment.settings.cores)


def _await(deployment: Deployment, stopping: list[int], ready: Callable[[], bool], children: list[Child]) -> bool:
    until_s = time.monotonic() + START_S
    while not ready():
        if stopping:
            return False
        ended = [child for child in children if child.ended()]
        if ended or time.monotonic() > until_s:
            what = f"{ended[0].name} ended while starting" if ended else f"not ready after {START_S:.0f} s"
            print(f"cannot serve: {what}", file=sys.stderr, flush=True)
            return False
        deployment.pause(0.02)
    return True


def keep(deployment: Deployment) -> None:
    """One look at everything: replace what died, kill what hangs."""
    now_s = time.monotonic()
    for child, board in deployment.models():
        limit_s = max(deployment.settings.hung_after_s, HUNG_TIMES * board["expected_s"])
        if child.process is not None and board.busy_s(now_s) > limit_s:
            print(f"{child.name} hangs in a batch; killed", file=sys.stderr, flush=True)
            deployment.board.add("hung")
            child.kill()
        if child.ended():
            _bury(deployment, child, board)
        if child.process is None and now_s >= child.due_s:
            child.start()
            if child.module == "worker":
                child.say(f"{len(deployment.fronts)}\n")
    for child in [*deployment.fronts, *deployment.companions]:
        if child.ended():
            print(f"{child.name} ended unasked; restarted", file=sys.stderr, flush=True)
            child.retire()
        if child.process is None and now_s >= child.due_s:
            child.start()
            if child.module == "front":
                child.say(f"{len(deployment.fronts)}\n")


def _bury(deployment: Deployment, child: Child, board: Board) -> None:
    """Tell the fronts what a dead worker was running, and forget it. Of an owner its workers know."""
    print(f"{child.name} ended unasked; replaced", file=sys.stderr, flush=True)
    started = ",".join(str(job_id) for job_id in board.running()) if child.module == "worker" else ""
    board["ready"] = 0
    board.stop()
    deployment.board.add("deaths")
    for front in deployment.fronts if child.module == "worker" else ():
        front.say(f"gone {child.name} {started}\n")
    child.retire()


def stop(deployment: Deployment) -> None:
    """Drain the fronts, then end the workers, then the broker. What dies meanwhile still gets its jobs moved."""
    until_s = time.monotonic() + DRAIN_S
    for front in deployment.fronts:
        if front.process is not None:
            front.process.send_signal(signal.SIGTERM)
    while time.monotonic() < until_s and any(f.process is not None and not f.ended() for f in deployment.fronts):
        for child, board in deployment.models():
            if child.ended():
                _bury(deployment, child, board)
        deployment.pause(0.02)
    for worker in deployment.workers:
        if worker.process is not None and worker.process.stdin is not None:
            worker.process.stdin.close()
    until_s = time.monotonic() + 0.5
    while time.monotonic() < until_s and any(w.process is not None and not w.ended() for w in deployment.workers):
        deployment.pause(0.02)
    for child in deployment.everyone():
        child.kill()


def check_port(settings: Settings) -> None:
    """Fail early when the port is taken. Raises OSError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((settings.host, settings.port))


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    stopping: list[int] = []
    bell, ringer = socket.socketpair()
    ringer.setblocking(False)
    signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    try:
        settings = from_environment()
        check_port(settings)
        programs = transport.companions(settings)
    except (ValueError, OSError) as error:
        print(f"cannot serve: {error}", file=sys.stderr, flush=True)
        return 1
    # Sockets and boards have relative names: a Unix socket's path may hold 107 characters and no more.
    with tempfile.TemporaryDirectory(prefix="serve-", dir=os.environ.get("TMPDIR")) as folder:
        os.chdir(folder)
        deployment = Deployment(settings, programs, bell, supervisor_board(Path()))
        started = start(deployment, stopping)
        while started and not stopping:
            keep(deployment)
            deployment.pause(TICK_S)
        stop(deployment)
    return 0 if started or stopping else 1


if __name__ == "__main__":
    sys.exit(main())
