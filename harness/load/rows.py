"""One row per request while it is flying, and the columns that are left of it."""

import math
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.load.server_timing import parse_batches, parse_durations
from harness.record.schema import ABSENT

LATE_NS, MOMENT_NS = 1_000_000, 100_000_000

Columns = dict[str, NDArray[Any]]

ERRORS = ("", "timeout", "refused", "reset", "malformed", "unsent", "aborted")
OK, TIMEOUT, REFUSED, RESET, MALFORMED, UNSENT, ABORTED = range(7)
_STEP_NS = 1_000_000
_DRIFT = 500e-6


@dataclass(frozen=True)
class ClockOffset:
    """Realtime minus monotonic clock in ns, as seen at a monotonic time."""

    at_ns: int
    offset_ns: int


def clock_offset() -> ClockOffset:
    """The offset from the tightest of 50 paired readings."""
    best, tightest = ClockOffset(0, 0), 1 << 62
    for _ in range(50):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < tightest:
            tightest, middle = after - before, (after + before) // 2
            best = ClockOffset(middle, wall - middle)
    return best


class Rows:
    """Columns of a generator's own requests by index (seq = first + index · stride), written in the hot path.

    Times are absolute monotonic ns, ABSENT until they happen; `kernel_ns` is the kernel's realtime receive stamp, 0
    without one. A row is `aborted` until something better is known.
    """

    def __init__(self, n: int) -> None:
        self.sent_ns, self.read_ns, self.done_ns = array("q"), array("q"), array("q")
        self.connected_ns, self.written_ns = array("q"), array("q")
        self.kernel_ns, self.status, self.error = array("q"), array("h"), array("b")
        self.size, self.cold = array("i"), array("b")
        self.timing: list[bytes | None] = []
        self.batch: list[bytes | None] = []
        self.grow(n)

    def __len__(self) -> int:
        return len(self.status)

    def grow(self, more: int) -> None:
        """`more` blank rows at the end."""
        for column in (self.sent_ns, self.connected_ns, self.written_ns, self.read_ns, self.done_ns):
            column.extend(array("q", [ABSENT]) * more)
        self.kernel_ns.extend(array("q", [0]) * more)
        self.status.extend(array("h", [0]) * more)
        self.error.extend(array("b", [ABORTED]) * more)
        self.size.extend(array("i", [0]) * more)
        self.cold.extend(array("b", [0]) * more)
        self.timing.extend([None] * more)
        self.batch.extend([None] * more)

    def columns(self, due_ns: NDArray[np.int64], stage: NDArray[np.int8], seq: NDArray[np.int32], t0_ns: int,
                clocks: tuple[ClockOffset, ClockOffset]) -> Columns:
        """The columns of record/schema.py but `judged`, times relative to t0, for the first len(seq) rows; `error` is
        an index into ERRORS."""
        n = len(seq)
        sent, connected, written, read, done, kernel = (
            np.frombuffer(column, np.int64, n).copy() for column in
            (self.sent_ns, self.connected_ns, self.written_ns, self.read_ns, self.done_ns, self.kernel_ns))
        first = _first_byte(sent, read, kernel, clocks)
        return {
            "seq": seq, "stage": stage, "due_ns": due_ns - t0_ns,
            **{name: np.where(times == ABSENT, ABSENT, times - t0_ns) for name, times in
               (("sent_ns", sent), ("connected_ns", connected), ("written_ns", written), ("first_byte_ns", first),
                ("done_ns", done))},
            "status": np.frombuffer(self.status, np.int16, n).copy(),
            "error": np.frombuffer(self.error, np.int8, n).copy(),
            "bytes": np.frombuffer(self.size, np.int32, n).copy(),
            "batch": parse_batches(self.batch[:n]), **parse_durations(self.timing[:n]),
            "cold": np.frombuffer(self.cold, np.int8, n).astype(bool),
        }


def receive_lag(read_ns: "array[int]", first_byte_ns: NDArray[np.int64], t0_ns: int) -> dict[str, float]:
    """How long first bytes lay in the kernel before the generator read them, p99 and p99.9 in ms, and in how many
    tenths of a second any lay there for more than LATE_NS; {} without stamps.

    `read_ns` are absolute times by index, `first_byte_ns` the kernel's stamps since t0; a row without a stamp has both
    alike and is left out.
    """
    read = np.frombuffer(read_ns, np.int64, len(first_byte_ns))
    known = read != ABSENT
    waited_ns, came_ns = (read - t0_ns - first_byte_ns)[known], first_byte_ns[known]
    moments = len(np.unique(came_ns[waited_ns > LATE_NS] // MOMENT_NS))
    waited_ns = np.sort(waited_ns[waited_ns > 0])
    if not len(waited_ns):
        return {}
    return {f"receive_{name}_ms": float(waited_ns[math.ceil(share * len(waited_ns)) - 1]) / 1e6
            for name, share in (("p99", 0.99), ("p999", 0.999))} | {"receive_late_moments": moments}


def save(prefix: str, columns: Columns, answers: dict[int, bytes], closed: bool) -> None:
    """`<prefix>.npz` with the columns, and `<prefix>.answers.npz` with `seq` int32[m], `offsets` int64[m+1] and
    `bodies` uint8[…], the bodies end to end. Each appears whole, by rename."""
    _save(Path(f"{prefix}.npz"), {**columns, "closed": np.array(closed)})
    seqs = sorted(answers)
    bodies = [answers[seq] for seq in seqs]
    offsets = np.concatenate([[0], np.cumsum([len(body) for body in bodies], dtype=np.int64)])
    _save(Path(f"{prefix}.answers.npz"), {"seq": np.array(seqs, np.int32), "offsets": offsets.astype(np.int64),
                                          "bodies": np.frombuffer(b"".join(bodies), np.uint8)})


def _save(path: Path, arrays: Columns) -> None:
    aside = path.with_name(f"{path.name}.part")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    aside.rename(path)


def _first_byte(sent: NDArray[np.int64], read: NDArray[np.int64], kernel: NDArray[np.int64],
                clocks: tuple[ClockOffset, ClockOffset]) -> NDArray[np.int64]:
    """Kernel stamps on the monotonic clock, kept between the send and the read; the read's time where there is no
    stamp, or where the wall clock was stepped during the run."""
    before, after = clocks
    passed = max(1, after.at_ns - before.at_ns)
    drift = after.offset_ns - before.offset_ns
    if abs(drift) > _STEP_NS + _DRIFT * passed:
        return read
    offset = before.offset_ns + np.rint((read - before.at_ns) * (drift / passed)).astype(np.int64)
    stamped = (kernel > 0) & (read != ABSENT)
    return np.where(stamped, np.clip(kernel - offset, sent, np.maximum(read, sent)), read)
