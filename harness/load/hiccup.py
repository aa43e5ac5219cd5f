"""A meter of host pauses: a process on the generator's own CPU that sleeps 2 ms and notes when it wakes late.

Run as a script (standard library only) it prints, at SIGTERM, one JSON line: whether it had a realtime priority,
[start, end] in monotonic ns of the first MOST times it woke more than half a millisecond late, and how often after.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

PERIOD_NS = 2_000_000
LATE_NS = 500_000
PRIORITY = 20
MOST = 10_000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Hiccups:
    """Stretches of time, monotonic ns, in which the CPU did not run what was due. Only a `realtime` meter tells the
    host's pauses from the generator's own work. After MOST pauses it only counts them (`dropped`)."""

    realtime: bool = False
    pauses_ns: list[list[int]] = field(default_factory=list)
    dropped: int = 0


def figures(hiccups: Hiccups, t0_ns: int) -> dict[str, Any]:
    """Count, total and greatest length, and [from, to] in ns since t0 of the host's pauses, and how many more there
    were."""
    lengths_ms = [(end - start) / 1e6 for start, end in hiccups.pauses_ns]
    return {"hiccup_realtime": hiccups.realtime, "hiccup_count": len(lengths_ms), "hiccup_ms": sum(lengths_ms),
            "hiccup_max_ms": max(lengths_ms, default=0.0), "hiccup_dropped": hiccups.dropped,
            "hiccup_pauses_ns": [[start - t0_ns, end - t0_ns] for start, end in hiccups.pauses_ns]}


class Meter:
    """The meter beside the caller, on the CPUs the caller may use, as a context manager; `hiccups` after it."""

    def __enter__(self) -> "Meter":
        self.hiccups = Hiccups()
        self._process = subprocess.Popen([sys.executable, "-I", "-S", __file__, str(os.getpid())],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self.hiccups = Hiccups(**json.loads(self._process.communicate(timeout=2.0)[0]))
        except (subprocess.TimeoutExpired, ValueError):
            self._process.kill()
            self._process.communicate()


def _measure(parent: int) -> None:
    pauses: list[list[int]] = []
    realtime, dropped = False, 0
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        realtime = True
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    due_ns = time.monotonic_ns()
    while not stopped and os.getppid() == parent:
        due_ns += PERIOD_NS
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        woken_ns = time.monotonic_ns()
        if woken_ns - due_ns > LATE_NS:
            if len(pauses) < MOST:
                pauses.append([due_ns, woken_ns])
            else:
                dropped += 1
            due_ns = woken_ns
    sys.stdout.write(json.dumps({"realtime": realtime, "pauses_ns": pauses, "dropped": dropped}))


if __name__ == "__main__":
    _measure(int(sys.argv[1]))
