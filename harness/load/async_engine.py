"""The open-loop engine for protocols whose client is a library on asyncio: same schedule, same rows, a dearer request.

A precomputed schedule on one absolute timer, and a task for each request. What a client costs per request is stated by
`tailrace calibrate`; nothing of Locust or gevent is imported here.
"""

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.load.rows import OK, TIMEOUT, ClockOffset, Columns, Rows
from harness.load.timer import Timer

now = time.monotonic_ns
FAR = 1 << 62
MOST_SAMPLED_BYTES = 64 << 20
BURST = 64


@dataclass(frozen=True)
class Answer:
    """A request's end: `error` is an index into rows.ERRORS, `status` HTTP's; headers as the server sent them."""

    error: int = OK
    status: int = 0
    body: bytes = b""
    timing: bytes | None = None
    batch: bytes | None = None


class Client(Protocol):
    """What asks: one answer per call, never an exception but CancelledError."""

    async def ask(self, index: int, body: bytes, timeout_s: float) -> Answer:
        """The answer to a request with `body`, within `timeout_s`."""
        ...


@dataclass(frozen=True)
class Turn:
    """Which requests are this process's: row `i` is seq `first` + i · `stride`, given up `timeout_ns` after its due
    time; the answer of every `answers_every`-th seq is kept."""

    first: int
    stride: int
    timeout_ns: int
    answers_every: int


class AsyncEngine:
    """Sends each row at its due time whatever became of earlier ones, and records every row's end. `due_ns` is relative
    to t0, ascending; `in_flight_ns` as in engine.Engine."""

    def __init__(self, turn: Turn, client: Client, body: Callable[[int], bytes], due_ns: NDArray[np.int64]) -> None:
        self.turn, self.client, self.body = turn, client, body
        self.relative_ns = due_ns
        self.due_ns = array("q")
        self.rows = Rows(len(due_ns))
        self.answers: dict[int, bytes] = {}
        self.recent: list[int] = []
        self.next, self.left, self.failures, self.sampled_bytes = 0, len(due_ns), 0, 0
        self.flying = self.in_flight_ns = self.counted_ns = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()

    async def run(self, t0_ns: int) -> None:
        """Sends the whole schedule; returns when the last row has ended, or after `stop`."""
        self.due_ns = array("q", (self.relative_ns + t0_ns).tobytes())
        if not self.due_ns:
            return
        with Timer(_Hub(asyncio.get_running_loop()), self._on_time) as self.timer:
            self.timer.arm(self.due_ns[0])
            await self.over.wait()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def stop(self) -> None:
        """Gives up what is flying (those rows end now, aborted) and sends nothing more."""
        self.over.set()

    def columns(self, stage: NDArray[np.int8], t0_ns: int, clocks: tuple[ClockOffset, ClockOffset]) -> Columns:
        """The rows of the whole schedule: see Rows.columns."""
        seq = self.turn.first + np.arange(len(self.relative_ns)) * self.turn.stride
        return self.rows.columns(self.relative_ns + t0_ns, stage, seq.astype(np.int32), t0_ns, clocks)

    def _on_time(self) -> None:
        """Starts what is due, at most BURST at a time so that answers are read in between."""
        due_ns, loop = self.due_ns, asyncio.get_running_loop()
        for _ in range(BURST):
            if self.next == len(due_ns) or self.over.is_set():
                self.timer.disarm()
                return
            if due_ns[self.next] > now():
                break
            task = loop.create_task(self._fly(self.next))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            self.next += 1
        if self.next < len(due_ns):
            self.timer.arm(max(due_ns[self.next], 1))
        else:
            self.timer.disarm()

    async def _fly(self, index: int) -> None:
        """One request from its sending to its end."""
        turn, rows = self.turn, self.rows
        seq = turn.first + index * turn.stride
        sent_ns = rows.sent_ns[index] = now()
        self._count(sent_ns, 1)
        left_ns = self.due_ns[index] + turn.timeout_ns - sent_ns
        try:
            answer = await self.client.ask(seq, self.body(seq), left_ns / 1e9) if left_ns > 0 else Answer(TIMEOUT)
        finally:
            rows.done_ns[index] = now()
            self._count(rows.done_ns[index], -1)
        rows.error[index], rows.status[index], rows.size[index] = answer.error, answer.status, len(answer.body)
        rows.timing[index], rows.batch[index] = answer.timing, answer.batch
        if answer.error == OK:
            rows.read_ns[index] = rows.done_ns[index]
        if answer.error != OK or answer.status >= 400:
            self.failures += 1
        elif turn.answers_every and seq % turn.answers_every == 0 and self.sampled_bytes < MOST_SAMPLED_BYTES:
            self.sampled_bytes += len(answer.body)
            self.answers[seq] = answer.body
        self.recent.append(index)
        self.left -= 1
        if not self.left:
            self.over.set()

    def _count(self, moment: int, change: int) -> None:
        self.in_flight_ns += self.flying * (moment - self.counted_ns)
        self.counted_ns, self.flying = moment, self.flying + change


class _Hub:
    """What Timer asks of an event loop, of asyncio's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def io(self, fd: int, _events: int) -> Any:
        return _Watcher(self._loop, fd)


class _Watcher:
    """A reader of one file descriptor."""

    priority = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop, self._fd = loop, fd

    def start(self, fire: Callable[[], None]) -> None:
        """From here on `fire` is called while the descriptor can be read."""
        self._loop.add_reader(self._fd, fire)

    def stop(self) -> None:
        """No more."""
        self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Nothing is held."""
