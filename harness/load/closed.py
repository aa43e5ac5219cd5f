"""The closed loop: a number of users, each of whom sends its next request when its last one is answered."""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.load.arrivals import WARMUP
from harness.load.connection import Connection, now
from harness.load.engine import FAR, Aim, Engine
from harness.load.payloads import Payloads
from harness.load.rows import OK, ClockOffset, Columns
from harness.record.schema import ABSENT

RETRY_NS = 10_000_000
GROWTH = 1 << 16


@dataclass(frozen=True)
class Crowd:
    """`users` from `start_ns` to `end_ns`, absolute monotonic ns; rows carry `label` as their stage."""

    start_ns: int
    end_ns: int
    users: int
    label: int


def crowds(users: list[tuple[int, float]], warmup_s: float, t0_ns: int) -> list[Crowd]:
    """(users, duration_s) of each stage laid end to end from t0, after a warm-up with the first stage's users."""
    start_ns, laid = t0_ns, []
    if warmup_s > 0:
        laid.append(Crowd(t0_ns - round(warmup_s * 1e9), t0_ns, users[0][0], WARMUP))
    for label, (count, duration_s) in enumerate(users):
        end_ns = start_ns + round(duration_s * 1e9)
        laid.append(Crowd(start_ns, end_ns, count, label))
        start_ns = end_ns
    return laid


class ClosedEngine(Engine):
    """Keeps a crowd's users flying. A row is due when it is sent; rows are made as they are sent, and seq is the order
    of sending. A user whose request failed tries again within 10 ms."""

    def __init__(self, aim: Aim, payloads: Payloads, users: list[tuple[int, float]], warmup_s: float) -> None:
        """`users` are (users, duration_s) of each stage; none at all sends nothing."""
        super().__init__(aim, payloads, np.empty(0, np.int64))
        self.users, self.warmup_s = users, warmup_s
        self.crowds: list[Crowd] = []
        self.current = 0
        self.stage = array("b")
        self.left = FAR

    def begin_at(self, t0_ns: int) -> None:
        if self.users:
            self.crowds = crowds(self.users, self.warmup_s, t0_ns)
            self.next_due_ns = self.crowds[0].start_ns
        else:
            self.over.set()

    def columns(self, stage: NDArray[np.int8], t0_ns: int, clocks: tuple[ClockOffset, ClockOffset]) -> Columns:
        stage = np.frombuffer(self.stage, np.int8).copy()
        sent_ns = np.frombuffer(self.rows.sent_ns, np.int64, len(stage))
        due_ns = np.where(sent_ns == ABSENT, np.frombuffer(self.due_ns, np.int64), sent_ns)
        return self.rows.columns(due_ns, stage, np.arange(len(stage), dtype=np.int32), t0_ns, clocks)

    def dispatch(self, opening: bool = True) -> None:
        """Brings as many users into the air as the present crowd has; told by the timer, at boundaries and retries."""
        if not opening:
            return
        moment = now()
        while self.current < len(self.crowds) and self.crowds[self.current].end_ns <= moment:
            self.current += 1
        if self.current == len(self.crowds):
            self.next_due_ns = FAR
            if not self.flying:
                self.over.set()
            return
        crowd = self.crowds[self.current]
        if moment < crowd.start_ns:
            self.next_due_ns = crowd.start_ns
            return
        self.next_due_ns = crowd.end_ns
        for _ in range(crowd.users - len(self.flying)):
            self.fly(self.new_row(moment))

    def new_row(self, moment: int) -> int:
        """The index of a row that is due now."""
        index = self.next
        if index == len(self.rows):
            self.rows.grow(GROWTH)
        self.due_ns.append(moment)
        self.stage.append(self.crowds[self.current].label)
        self.next += 1
        return index

    def freed(self, connection: Connection) -> None:
        moment = now()
        if self.wanted(moment):
            connection.cold = 0
            self.begin(connection, self.new_row(moment))
        else:
            self.idle.append(connection)
            self.end_if_over(moment)

    def lost(self, error: int) -> None:
        moment = now()
        if not self.wanted(moment):
            self.end_if_over(moment)
        elif error == OK:
            self.fly(self.new_row(moment))
        else:
            self.next_due_ns = min(self.next_due_ns, moment + RETRY_NS)
            self.timer.arm(self.next_due_ns)

    def wanted(self, moment: int) -> bool:
        """Whether the present crowd misses a user."""
        if self.current == len(self.crowds):
            return False
        crowd = self.crowds[self.current]
        return moment < crowd.end_ns and len(self.flying) < crowd.users

    def end_if_over(self, moment: int) -> None:
        if not self.flying and moment >= self.crowds[-1].end_ns:
            self.over.set()
