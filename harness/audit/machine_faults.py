"""Faults of the machine and of how the harness is used, seeded by processes that get in the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from harness.audit.lab import Lab
from harness.audit.model import Fault, Seeded
from harness.audit.server_faults import seen
from harness.errors import TailraceError
from harness.record.read import StoredRun
from harness.run.cores import Cores
from harness.run.environments import environment
from harness.run.locks import only_harness
from harness.run.warden import descendants

_BURN = "while True: pass"
_BURSTS = """
import time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
while True:
    time.sleep(0.15)
    end = time.monotonic() + 0.03
    while time.monotonic() < end: pass
"""
_GENERATOR = "harness.load.generator"
_SERVER = "toy.faults"

Beside = Callable[[Lab], AbstractContextManager[None]]


@contextmanager
def _program(code: str, cpus: Sequence[int]) -> Iterator[None]:
    """One process per CPU that runs `code`."""
    pinned = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\n"
    running = [subprocess.Popen([sys.executable, "-I", "-S", "-c", pinned + code, str(cpu)],
                                stderr=subprocess.DEVNULL) for cpu in cpus]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextmanager
def _frozen(module: str, for_s: float, every_s: float) -> Iterator[None]:
    """Processes of this one that run `module` are stopped for a while, again and again, from 1.2 s after they began."""
    over = threading.Event()

    def freeze() -> None:
        while not over.wait(0.02) and not _running(module):
            pass
        over.wait(1.2)
        while not over.wait(every_s):
            for number, pause_s in ((signal.SIGSTOP, for_s), (signal.SIGCONT, 0.0)):
                for pid in _running(module):
                    os.kill(pid, number)
                time.sleep(pause_s)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _running(module: str) -> list[int]:
    """Descendants of this process that Python runs `module` in."""
    found = []
    for pid in descendants():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if module in words:
            found.append(pid)
    return found


def _beside(name: str, how: str, codes: tuple[str, ...], beside: Beside, quick: bool = True,
            spare: bool = False) -> Fault:
    return Fault(name, how, codes, lambda lab, _, number: seen(lab.run(
        lab.attempt(seed=number + 1), beside(lab))), quick=quick, spare=spare)


def _shared_cores(lab: Lab, _: Sequence[StoredRun], number: int) -> Seeded:
    cores = lab.bench.cores
    both = replace(lab.bench, cores=Cores((*cores.server, *cores.load), cores.load))
    return seen(lab.run(lab.attempt(seed=number + 1), bench=both))


def _second_harness(lab: Lab, _: Sequence[StoredRun], number: int) -> Seeded:
    """The reason is what the second one is told."""
    with only_harness():
        try:
            return seen(lab.run(lab.attempt(seed=number + 1)))
        except TailraceError as error:
            return Seeded((), "refused", error.message)


def _unlike_lock(lab: Lab, _: Sequence[StoredRun], number: int) -> Seeded:
    """A package appears in the environment that its lock does not list."""
    attempt = lab.attempt(seed=number + 1)
    made = environment([attempt.workload.lock, attempt.setup.lock])
    [packages] = made.folder.glob("lib/python*/site-packages")
    stranger = packages / f"stranger-1.{number}.dist-info"
    stranger.mkdir()
    try:
        return seen(lab.run(attempt))
    finally:
        stranger.rmdir()


MACHINE_FAULTS: tuple[Fault, ...] = (
    _beside("work on the server's CPUs", "other processes take turns with the server", ("other_work",),
            lambda lab: _program(_BURN, lab.bench.cores.server)),
    _beside("work on the generator's CPU", "another process takes what the generator leaves",
            ("other_work", "lag", "host_pauses"), lambda lab: _program(_BURN, lab.bench.cores.load)),
    _beside("host pauses", "for 30 ms, again and again, nothing else runs on the generator's CPU",
            ("host_pauses", "lag"), lambda lab: _program(_BURSTS, lab.bench.cores.load)),
    _beside("generator stopped", "the generator is stopped for 60 ms, again and again", ("lag",),
            lambda _: _frozen(_GENERATOR, 0.06, 0.3), quick=False),
    _beside("server stopped", "the server is stopped for 0.4 s", ("stalls",),
            lambda _: _frozen(_SERVER, 0.4, 0.6), spare=True),
    Fault("shared CPUs", "server and generator share a CPU", ("shared_cores",), _shared_cores),
    Fault("another run", "another tailrace is measuring", (), _second_harness, "another tailrace is measuring"),
    Fault("environment unlike its lock", "a package that no lock lists is installed", ("lock",), _unlike_lock),
)
