"""What a generator process asks of the machine, and what became of it."""

import contextlib
import fcntl
import gc
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

OPEN_FILES = 65_536
REALTIME_PRIORITY = 10
MOST_TOLD = 10_000


def pin(cpu: int | None) -> None:
    """Runs on that CPU only, where it exists and this process may use it."""
    if cpu is not None and cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {cpu})


@contextlib.contextmanager
def realtime(wanted: bool) -> Iterator[bool]:
    """Runs the calling thread under SCHED_FIFO for as long as the context lasts; gives whether it does."""
    try:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except OSError:  # not allowed here
        wanted = False
    try:
        yield wanted
    finally:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def raise_file_limit() -> int:
    """The limit on open files after raising it as far as allowed; room for OPEN_FILES of them is made at once.

    Linux doubles a process's table of open files as they come and, where threads share it, waits for all CPUs to leave
    the old one (synchronize_rcu in expand_fdtable, fs/file.c): 7 to 16 ms at the 256th, 512th, 1 024th connection.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(OSError):
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, min(limit, OPEN_FILES) - 1))
    return limit


def cpu_s() -> float:
    """CPU seconds that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Collector:
    """Notes the garbage collector's passes while it is watched. With `frozen`, what lives now is never looked at
    again and no pass starts by itself (a full pass takes tens of milliseconds)."""

    frozen: bool = True
    passes_ns: list[tuple[int, int]] = field(default_factory=list)
    _started_ns: int = 0

    def __enter__(self) -> "Collector":
        gc.collect()
        if self.frozen:
            gc.freeze()
            gc.disable()
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)
        if self.frozen:
            gc.enable()
            gc.unfreeze()

    @property
    def pauses_ns(self) -> list[int]:
        """How long each pass took."""
        return [end - start for start, end in self.passes_ns]

    def since(self, t0_ns: int) -> list[list[int]]:
        """[from, to] of the first MOST_TOLD passes in ns since `t0_ns`."""
        return [[start - t0_ns, end - t0_ns] for start, end in self.passes_ns[:MOST_TOLD]]

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._started_ns = time.monotonic_ns()
        else:
            self.passes_ns.append((self._started_ns, time.monotonic_ns()))
