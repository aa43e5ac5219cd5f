"""What ended while a load runs, as generators append it for whoever judges meanwhile (harness/run/live_rows.py).

Pairs of int64: (seq, done − due in ns, or FAILED), and (COMPLETE, ns since t0) up to which all that ended is there.
"""

from array import array
from collections.abc import Iterator, Sequence

from harness.load.rows import OK, Rows

COMPLETE, FAILED = -1, -1
WRITTEN_AT_ONCE = 1000


def pieces(rows: Rows, due_ns: Sequence[int], ended: Sequence[int], first: int, stride: int,
           since_t0_ns: int) -> Iterator[bytes]:
    """The pairs of the rows `ended`, whose row i is seq `first` + i · `stride`, and the mark behind them; in pieces
    small enough to make one between two answers."""
    for begun in range(0, len(ended), WRITTEN_AT_ONCE):
        pairs = array("q")
        for i in ended[begun:begun + WRITTEN_AT_ONCE]:
            good = rows.error[i] == OK and 200 <= rows.status[i] < 300
            pairs.append(first + i * stride)
            pairs.append(max(rows.done_ns[i] - due_ns[i], 0) if good else FAILED)
        yield pairs.tobytes()
    yield array("q", (COMPLETE, since_t0_ns)).tobytes()
