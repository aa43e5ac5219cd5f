"""The open-loop engine: a precomputed schedule, one absolute timer, connections that live in the hub."""

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

import gevent
import numpy as np
from gevent.event import Event
from numpy.typing import NDArray

from harness.load.connection import Connection, now
from harness.load.payloads import Payloads
from harness.load.rows import OK, TIMEOUT, UNSENT, ClockOffset, Columns, Rows
from harness.load.timer import Timer
from harness.record.schema import ABSENT

FAR = 1 << 62
MOST_CONNECTIONS = 4000
MOST_SAMPLED_BYTES = 64 << 20
SWEEP_ROWS = 1000
SWEEP_PAUSE_NS = 2_000_000


@dataclass(frozen=True)
class Aim:
    """Where requests go and how: `address` as for connect, row `i` is seq `first` + i · `stride`."""

    family: int
    address: tuple[Any, ...]
    first: int
    stride: int
    timeout_ns: int
    answers_every: int
    most_connections: int = MOST_CONNECTIONS


class Engine:
    """Sends each row at its due time, whatever became of earlier ones, and records every row's end.

    A request takes the connection that has been idle longest, or opens one; beyond `most_connections` it waits inside
    the generator, which its latency from the due time shows. A request that has no answer `timeout_ns` after it was
    due is given up. `due_ns` is relative to t0, ascending, until `begin_at` tells the absolute t0. `in_flight_ns` is
    how many requests were flying, summed over time, which rows must agree with (Little's law).
    """

    def __init__(self, aim: Aim, payloads: Payloads, due_ns: NDArray[np.int64]) -> None:
        self.loop: Any = gevent.get_hub().loop
        self.aim, self.payloads = aim, payloads
        self.due_ns = array("q", due_ns.tobytes())
        self.address = (aim.family, aim.address)
        self.rows = Rows(len(due_ns))
        self.idle: deque[Connection] = deque()
        self.waiting: deque[int] = deque()
        self.flying: dict[int, Connection] = {}
        self.answers: dict[int, bytes] = {}
        self.recent: list[int] = []
        self.next, self.oldest, self.left = 0, 0, len(due_ns)
        self.in_flight_ns = self.counted_ns = 0
        self.next_due_ns = FAR
        self.connections = self.opened = self.stray = self.failures = self.sampled_bytes = 0
        self.over = Event()

    def begin_at(self, t0_ns: int) -> None:
        """Lays the schedule on the monotonic clock."""
        self.due_ns = array("q", (np.frombuffer(self.due_ns, np.int64) + t0_ns).tobytes())
        if self.due_ns:
            self.next_due_ns = self.due_ns[0]
        else:
            self.over.set()

    def run(self) -> None:
        """Sends the whole schedule and returns when the last row has ended, or after `stop`; needs `begin_at`."""
        if self.over.is_set():
            return
        with Timer(self.loop, self.on_time, self.loop.MAXPRI) as timer, Timer(self.loop, self.on_deadline) as deadline:
            self.timer, self.deadline = timer, deadline
            timer.arm(self.next_due_ns)
            deadline.arm(self.next_due_ns + self.aim.timeout_ns)
            self.over.wait()

    def stop(self) -> None:
        """Gives up what is flying (those rows end now, aborted) and sends nothing more."""
        moment = now()
        self.next_due_ns = FAR
        self.count(moment)
        for index, connection in self.flying.items():
            self.rows.done_ns[index] = moment
            connection.close()
        self.flying.clear()
        self.over.set()

    def columns(self, stage: NDArray[np.int8], t0_ns: int, clocks: tuple[ClockOffset, ClockOffset]) -> Columns:
        """The rows of the whole schedule: see Rows.columns."""
        due_ns = np.frombuffer(self.due_ns, np.int64).copy()
        seq = self.aim.first + np.arange(len(due_ns)) * self.aim.stride
        return self.rows.columns(due_ns, stage, seq.astype(np.int32), t0_ns, clocks)

    def on_time(self) -> None:
        self.dispatch()
        if self.next_due_ns == FAR:
            self.timer.disarm()
        else:
            self.timer.arm(self.next_due_ns)

    def dispatch(self, opening: bool = True) -> None:
        """Sends the rows that are due: with `opening` up to the first that has to open a connection, without it while
        connections are idle. Between two openings the hub reads every answer that waits and sends on what that
        frees; else a short pause of the host would open thousands, and opening costs more than sending."""
        while self.next_due_ns <= now() and (opening or self.idle):
            index = self.next
            self.next = following = index + 1
            self.next_due_ns = self.due_ns[following] if following < len(self.due_ns) else FAR
            if not self.fly(index):
                break

    def fly(self, index: int) -> bool:
        """Gives row `index` a connection, or a place in the queue. False when a connection was opened."""
        idle = self.idle
        while idle:
            connection = idle.popleft()
            if connection.open:
                connection.cold = 0
                self.begin(connection, index)
                return True
        if self.connections >= self.aim.most_connections:
            self.waiting.append(index)
            return True
        self.rows.sent_ns[index] = now()
        try:
            connection = Connection(self)
        except OSError:
            self.rows.sent_ns[index] = ABSENT
            self.ended(index, UNSENT, now())
            self.loop.run_callback(self.lost, UNSENT)
            return False
        self.connections += 1
        self.opened += 1
        self.rows.cold[index] = 1
        self.begin(connection, index)
        return False

    def begin(self, connection: Connection, index: int) -> None:
        """Sends row `index` on `connection`; a cold one was sent when its connection was asked for."""
        aim = self.aim
        seq = aim.first + index * aim.stride
        sample = aim.answers_every > 0 and seq % aim.answers_every == 0 and self.sampled_bytes < MOST_SAMPLED_BYTES
        request = self.payloads.request(seq)
        if not connection.cold:
            self.rows.sent_ns[index] = now()
        self.count(self.rows.sent_ns[index])
        self.flying[index] = connection
        connection.begin(index, request, sample)

    def count(self, moment: int) -> None:
        """What is flying has flown until `moment`; before every change of it."""
        self.in_flight_ns += len(self.flying) * (moment - self.counted_ns)
        self.counted_ns = moment

    def answered(self, connection: Connection, read_ns: int) -> None:
        """The whole answer was read at `read_ns`."""
        index, rows = connection.index, self.rows
        self.count(read_ns)
        del self.flying[index]
        rows.status[index] = connection.status
        rows.size[index] = connection.size
        rows.timing[index] = connection.timing
        rows.batch[index] = connection.batch
        if connection.kept is not None and connection.status == 200:
            self.sampled_bytes += connection.size
            self.answers[self.aim.first + index * self.aim.stride] = b"".join(connection.kept)
        if connection.status >= 400:
            self.failures += 1
        self.ended(index, OK, read_ns)
        if connection.keep:
            connection.index = -1
            self.freed(connection)
        else:
            connection.close()
            self.connections -= 1
            self.lost(OK)

    def failed(self, connection: Connection, error: int) -> None:
        """A connection closed before its answer was whole, or while idle."""
        self.connections -= 1
        if connection.index >= 0:
            index, moment = connection.index, now()
            self.count(moment)
            del self.flying[index]
            self.rows.size[index] = connection.size
            self.ended(index, error, moment)
            self.lost(error)

    def ended(self, index: int, error: int, done_ns: int) -> None:
        """Row `index` is over."""
        self.rows.done_ns[index] = done_ns
        self.rows.error[index] = error
        self.recent.append(index)
        if error != OK:
            self.failures += 1
        self.left -= 1
        if not self.left:
            self.over.set()

    def freed(self, connection: Connection) -> None:
        """`connection` is idle: it takes the next waiting row, or waits for one."""
        index = self.next_waiting()
        if index < 0:
            self.idle.append(connection)
        else:
            connection.cold = 0
            self.begin(connection, index)

    def lost(self, error: int) -> None:  # noqa: ARG002  # a closed loop pauses after a failure
        """A connection is gone: a waiting row may open another."""
        index = self.next_waiting()
        if index >= 0:
            self.fly(index)

    def next_waiting(self) -> int:
        """The first row in the queue that is not too old; −1 without one."""
        moment = now()
        while self.waiting:
            index = self.waiting.popleft()
            if self.rows.done_ns[index] == ABSENT:
                if self.due_ns[index] + self.aim.timeout_ns > moment:
                    return index
                self.ended(index, UNSENT, moment)
        return -1

    def on_deadline(self) -> None:
        """Gives up rows that are too old, looking at a bounded number of rows at a time."""
        moment, done_ns, last = now(), self.rows.done_ns, min(self.next, self.oldest + SWEEP_ROWS)
        while self.oldest < last:
            if done_ns[self.oldest] == ABSENT:
                if self.due_ns[self.oldest] + self.aim.timeout_ns > moment:
                    break
                self.expire(self.oldest, moment)
            self.oldest += 1
        due_ns = self.due_ns[self.oldest] if self.oldest < len(self.due_ns) else moment
        self.deadline.arm(max(due_ns + self.aim.timeout_ns, moment + SWEEP_PAUSE_NS))

    def expire(self, index: int, moment: int) -> None:
        self.count(moment)
        connection = self.flying.pop(index, None)
        if connection is None:
            self.ended(index, UNSENT, moment)
            return
        self.rows.size[index] = connection.size
        connection.close()
        self.connections -= 1
        self.ended(index, TIMEOUT, moment)
        self.lost(TIMEOUT)
