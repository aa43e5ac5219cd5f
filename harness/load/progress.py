"""What a generator says while it runs: a line twice a second, and Locust's own statistics where they are shown."""

import json
import os
import select
import sys
from pathlib import Path
from typing import IO, Any, TextIO

import gevent
from locust.env import Environment

from harness.load.connection import now
from harness.load.engine import Engine
from harness.load.live import pieces
from harness.load.rows import ERRORS, OK
from harness.load.tally import Tally

EVERY_S = 0.5
SAMPLE = 500
FIRED_AT_ONCE = 100


def tell(line: dict[str, Any], hearer: TextIO = sys.stdout) -> None:
    """One JSON line, flushed."""
    hearer.write(json.dumps(line) + "\n")
    hearer.flush()


class Progress:
    """A greenlet that turns the engine's recently ended rows into lines (and events), as a context manager. A line is
    dropped when nobody reads, and short enough for a pipe to take at once; its `latencies` are a tally of what was
    counted so far, from at most 500 answers of each half second. With `live`, a file, what ended is appended there
    (live.py)."""

    def __init__(self, engine: Engine, t0_ns: int, shown_by: Environment | None, name: str,
                 live: Path | None = None) -> None:
        self._engine, self._t0_ns, self._shown_by, self._name = engine, t0_ns, shown_by, name
        self._live: IO[bytes] | None = live.open("ab", buffering=0) if live else None
        self._done, self._tally = 0, Tally()
        self._greenlet: Any = None

    def __enter__(self) -> "Progress":
        self._greenlet = gevent.spawn(self._repeat)
        return self

    def __exit__(self, *_: object) -> None:
        self._greenlet.kill()
        self._say(self._take())
        if self._live:
            self._live.close()

    def _repeat(self) -> None:
        while True:
            gevent.sleep(EVERY_S)
            moment = now()
            recent = self._take()
            if self._live:
                self._append(self._live, recent, moment)
            self._say(recent)

    def _say(self, recent: list[int]) -> None:
        line = json.dumps(self._line(recent), separators=(",", ":")) + "\n"
        if select.select([], [sys.stdout], [], 0)[1]:
            os.write(sys.stdout.fileno(), line.encode())

    def _take(self) -> list[int]:
        recent, self._engine.recent = self._engine.recent, []
        self._done += len(recent)
        if self._shown_by is not None:
            self._fire(self._shown_by, recent)
        return recent

    def _append(self, live: IO[bytes], recent: list[int], moment: int) -> None:
        engine = self._engine
        for piece in pieces(engine.rows, engine.due_ns, recent, engine.aim.first, engine.aim.stride,
                            moment - self._t0_ns):
            live.write(piece)
            gevent.sleep(0)

    def _line(self, recent: list[int]) -> dict[str, Any]:
        engine, rows, stride = self._engine, self._engine.rows, 1 + len(recent) // SAMPLE
        for i in recent[::stride]:  # no numpy here: its first call takes 60 ms of the hub's time
            if rows.error[i] == OK and engine.due_ns[i] >= self._t0_ns:
                self._tally.add(rows.done_ns[i] - engine.due_ns[i], stride)
        return {"t": round((now() - self._t0_ns) / 1e9, 3), "sent": engine.next - len(engine.waiting),
                "done": self._done, "errors": engine.failures, "latencies": self._tally.told}

    def _fire(self, environment: Environment, recent: list[int]) -> None:
        engine, rows = self._engine, self._engine.rows
        request: Any = environment.events.request
        for count, i in enumerate(recent, 1):
            status, error = rows.status[i], ERRORS[rows.error[i]]
            failure = error or (f"HTTP {status}" if status >= 400 else "")
            request.fire(
                request_type="POST", name=self._name, response_time=(rows.done_ns[i] - engine.due_ns[i]) / 1e6,
                response_length=rows.size[i], exception=RuntimeError(failure) if failure else None, context={})
            if count % FIRED_AT_ONCE == 0:
                gevent.sleep(0)
