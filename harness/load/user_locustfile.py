"""`python -m harness.load.user_locustfile SPEC.json`: a user's own locustfile, unchanged, with a row per request.

Spoken to like harness.load.generator, and leaves the same files. It is a closed loop: a row is due when it was sent.
"""

import os
import sys
import time
from array import array
from pathlib import Path
from typing import Any, TextIO

import gevent
import numpy as np
from gevent.event import Event
from locust import events
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from harness.errors import TailraceError
from harness.load.orders import Orders
from harness.load.process import Collector, pin, raise_file_limit
from harness.load.progress import tell
from harness.load.rows import MALFORMED, OK, REFUSED, RESET, TIMEOUT, Columns, Rows, clock_offset, save
from harness.load.spec import UserSpec, read_spec
from harness.load.tally import Tally

GROWTH = 1 << 14
LAST_ANSWERS_S = 10
SIGNS = {TIMEOUT: ("timeout", "timed out"), REFUSED: ("refused", "unreachable"),
         RESET: ("reset", "aborted", "closed", "broken pipe", "disconnected", "eof")}


class Recorder:
    """Listens to Locust's request event. An answer that the user's own check calls a failure is `malformed`."""

    def __init__(self) -> None:
        self.rows = Rows(0)
        self.due_ns = array("q")
        self.tally = Tally()
        self.count = self.failures = 0

    def note(self, response_time: float, response_length: int | None, response: Any = None,
             exception: BaseException | None = None, **_: Any) -> None:
        """One ended request; `response_time` is in ms."""
        i, rows = self.count, self.rows
        if i == len(rows):
            rows.grow(GROWTH)
        rows.done_ns[i] = time.monotonic_ns()
        rows.sent_ns[i] = rows.done_ns[i] - max(0, round((response_time or 0.0) * 1e6))
        self.due_ns.append(rows.sent_ns[i])
        status = int(getattr(response, "status_code", 0) or 0)
        headers = getattr(response, "headers", None) or {}
        rows.status[i], rows.size[i] = status, response_length or 0
        rows.timing[i], rows.batch[i] = _header(headers, "Server-Timing"), _header(headers, "X-Batch-Size")
        rows.error[i] = OK if exception is None or status >= 400 else _error(exception, status)
        if exception is None:
            self.tally.add(rows.done_ns[i] - rows.sent_ns[i])
        self.failures += exception is not None
        self.count += 1

    def columns(self, t0_ns: int) -> Columns:
        """The rows in order of sending; see Rows.columns."""
        n, clock = self.count, clock_offset()
        due_ns = np.frombuffer(self.due_ns, np.int64).copy()
        columns = self.rows.columns(due_ns, np.zeros(n, np.int8), np.arange(n, dtype=np.int32), t0_ns, (clock, clock))
        order = np.argsort(due_ns, kind="stable")
        return {name: column if name == "seq" else column[order] for name, column in columns.items()}


def _header(headers: Any, name: str) -> bytes | None:
    value = headers.get(name)
    return value.encode("latin-1", "replace") if isinstance(value, str) else None


def _error(exception: BaseException, status: int) -> int:
    """The kind of failure, from what the client's library says of it."""
    if status:
        return MALFORMED
    said = f"{type(exception).__name__} {exception}".lower()
    return next((error for error, signs in SIGNS.items() if any(sign in said for sign in signs)), MALFORMED)


def _environment(spec: UserSpec) -> Environment:
    """Locust's environment with the user's classes. Raises TailraceError for a file that cannot be used."""
    path = Path(spec.locustfile).resolve()
    if not path.is_file():
        raise TailraceError(f"{path}: no such locustfile", "give the path of a Python file with a User class")
    try:
        classes, shapes = load_locustfile(str(path))
    except Exception as error:  # whatever a user's file raises on import is the user's to know
        raise TailraceError(f"{path}: cannot be imported: {type(error).__name__}: {error}", "correct it") from error
    if not classes:
        raise TailraceError(f"{path}: has no User class", "see https://docs.locust.io/en/stable/writing-a-locustfile.html")
    return Environment(user_classes=list(classes.values()), shape_class=shapes[0] if shapes else None, events=events,
                       host=spec.host, locustfile=path.name, stop_timeout=LAST_ANSWERS_S,
                       parsed_options=get_parser().parse_args(["--headless", "--host", spec.host]))


def _own_line() -> TextIO:
    """What was stdout; whatever the user's file prints goes to stderr from now on."""
    hearer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return hearer


def run(spec: UserSpec) -> None:
    """The whole life of the process after its spec was read. Raises TailraceError before the ready line."""
    hearer = _own_line()
    pin(spec.cpu)
    raise_file_limit()
    environment, recorder, over = _environment(spec), Recorder(), Event()
    runner = environment.create_local_runner()
    heard: Any = environment.events
    heard.request.add_listener(recorder.note)
    heard.init.fire(environment=environment, runner=runner, web_ui=None)
    orders = Orders()
    orders.stopped_by(over.set)
    with Collector(frozen=False) as collector:
        tell({"ready": True, "n": 0}, hearer)
        t0_ns = orders.t0_ns.get()
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        if t0_ns is not None:
            over.wait(max(0.0, t0_ns / 1e9 - time.monotonic()))
            if environment.shape_class:
                runner.start_shape()
            else:
                runner.start(spec.users, spawn_rate=spec.spawn_rate)
            _watch(recorder, t0_ns, t0_ns / 1e9 + spec.duration_s, over, hearer)
        runner.quit()
        figures = {"cpu_s": time.process_time() - cpu_began_s, "wall_s": time.monotonic() - began_s,
                   "gc_pauses": len(collector.pauses_ns), "gc_ms": sum(collector.pauses_ns) / 1e6,
                   "gc_pauses_ns": collector.since(t0_ns or 0)}
    columns = recorder.columns(t0_ns or 0)
    save(spec.out, columns, {}, True)
    tell({"end": True, "n": recorder.count, "closed": True, **figures}, hearer)


def _watch(recorder: Recorder, t0_ns: int, end_s: float, over: Any, hearer: TextIO) -> None:
    """Tells twice a second how far it is, until `end_s` (monotonic) or `over`."""
    while not over.is_set() and time.monotonic() < end_s:
        over.wait(min(0.5, max(0.0, end_s - time.monotonic())))
        tell({"t": round((time.monotonic_ns() - t0_ns) / 1e9, 3), "sent": recorder.count, "done": recorder.count,
              "errors": recorder.failures, "latencies": recorder.tally.told}, hearer)
        gevent.sleep(0)


def main() -> int:
    """Exit code: 0 when rows were written, 104 for a spec or a locustfile that cannot be used."""
    try:
        run(read_spec(UserSpec, Path(sys.argv[1])))
    except (TailraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return int(TailraceError.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
