"""Where each answered request spent its time: parts that sum to its latency, from the row's own times.

lag + connect + send + queue + wait + model + gc + respond + receive = done − due; where a server tells of its GPU,
copy and kernel are taken out of model, which is then what the CPU does of it. What the server does not tell of its
own stretch (first byte − last byte sent) is `respond`: HTTP, handing over, scheduling, and the queue where the setup
does not tell that either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analyse.frames import in_time, together
from harness.record.schema import ABSENT, BLANK

PARTS = ("lag", "connect", "send", "queue", "wait", "model", "gc", "respond", "receive")
GPU_PARTS = ("copy", "kernel")
RUN_PARTS = ("model", *GPU_PARTS)
SERVER_PARTS = ("queue", "wait", *RUN_PARTS, "gc", "respond")
COLUMNS = ("seq", "stage", "due_ns", "sent_ns", "connected_ns", "written_ns", "first_byte_ns", "done_ns", "status",
           "error", "batch", "queue_us", "wait_us", "model_us", "gc_us", "copy_us", "kernel_us", "cold")
SLACK_MS = 0.1          # what rounding and two clocks' readings may add to the times a server tells
OVERTOLD_SHARE = 0.01   # of answers that tell of more time than they took: beyond it nothing told is believed
WITHIN = 0.02           # of the whole, by which parts may miss it

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Flights:
    """Every request that was sent, warm-up included, by due time; arrays [n].
 `end_ns` is when its first byte came, or when it was given up; `good` marks counted requests with a 2xx answer,
`answered` any with an answer. `told` says whether the setup's own times are believed, `tells` which of queue, wait,
model, gc, copy and kernel it tells; what it does not tell is 0 in `server_ms`. `bytes` are those of the request's body,
0 where they were not recorded.
    """

    seq: Ints
    due_ns: Ints
    sent_ns: Ints
    open_ns: Ints
    written_ns: Ints
    end_ns: Ints
    done_ns: Ints
    good: Flags
    answered: Flags
    cold: Flags
    batch: Ints
    bytes: Ints
    server_ms: Mapping[str, Floats]
    tells: frozenset[str]
    told: bool
    first_byte_known: bool
    connect_known: bool

    def __len__(self) -> int:
        return len(self.seq)

    @cached_property
    def by_end(self) -> NDArray[np.intp]:
        """Indices in order of `end_ns`."""
        return np.argsort(self.end_ns, kind="stable")

    @cached_property
    def ends(self) -> Ints:
        """`end_ns`, ascending."""
        return self.end_ns[self.by_end]

    @cached_property
    def by_answer(self) -> NDArray[np.intp]:
        """Indices of those with an answer, in order of `end_ns`."""
        return self.by_end[self.answered[self.by_end]]

    @cached_property
    def over(self) -> Ints:
        """How many requests are over when each becomes due; [n]."""
        return np.asarray(np.searchsorted(in_time(self.done_ns), self.due_ns, side="right"))

    @cached_property
    def ahead(self) -> Ints:
        """How many requests that were due earlier are not over when each becomes due; [n]."""
        return np.asarray(np.maximum(np.arange(len(self)) - self.over, 0))


def flights(columns: Columns, payload_bytes: NDArray[Any]) -> Flights:
    """The flights of a run from the COLUMNS of its rows, in order of seq, and the lengths of its payloads (empty:
    unknown)."""
    went = np.flatnonzero((columns["sent_ns"] != ABSENT) & (columns["done_ns"] != ABSENT))
    order = together(went[np.argsort(columns["due_ns"][went], kind="stable")])
    row = {name: columns[name][order] if name in columns else np.full(len(went), BLANK[name]) for name in COLUMNS}
    right = np.asarray(row["error"] == "", dtype=np.bool_)
    sent, done, first = row["sent_ns"], row["done_ns"], row["first_byte_ns"]
    opened = np.where(row["connected_ns"] == ABSENT, sent, np.maximum(row["connected_ns"], sent))
    written = np.where(row["written_ns"] == ABSENT, opened, np.maximum(row["written_ns"], opened))
    end = np.where(first == ABSENT, done, first)
    written = np.minimum(written, end)
    seq = row["seq"].astype(np.int64)
    lengths = payload_bytes[seq % len(payload_bytes)] if len(payload_bytes) else np.zeros(len(seq))
    good = (row["stage"] >= 0) & right & (row["status"] >= 200) & (row["status"] < 300)
    names = {"queue": "queue_us", "wait": "wait_us", "model": "model_us", "gc": "gc_us",
             **{name: f"{name}_us" for name in GPU_PARTS}}
    tells = frozenset(name for name, column in names.items() if np.any(row[column][good] >= 0))
    server = {name: np.maximum(row[column], 0) / 1e3 for name, column in names.items()}
    inside = server["queue"] + server["wait"] + server["model"]
    over = inside > (end - sent) / 1e6 * 1.01 + SLACK_MS
    told = bool(tells) and (not np.any(good) or float(np.mean(over[good])) <= OVERTOLD_SHARE)
    if not told:
        server, tells = {name: np.zeros(len(seq)) for name in names}, frozenset()
    return Flights(seq, row["due_ns"], sent, np.minimum(opened, end), written, end, done, good, right, row["cold"],
                   np.maximum(row["batch"], 0).astype(np.int64), lengths.astype(np.int64), server, tells, told,
                   bool(np.any(first != ABSENT)), bool(np.any(row["connected_ns"] != ABSENT)))


def parts_ms(seen: Flights) -> dict[str, Floats]:
    """PARTS in ms, [n] each, none negative, and GPU_PARTS where the server tells them. Where a server tells of more
    than its stretch, `respond` is 0 and the sum exceeds the whole: see `whole`."""
    told, gpu = seen.server_ms, on_gpu_ms(seen)
    collected = np.minimum(told["gc"], told["model"] + told["wait"] + told["queue"])
    model = told["model"] - sum(gpu.values(), np.zeros(len(seen))) - collected
    over = np.minimum(model, 0.0)
    queue = np.maximum(told["queue"] + over, 0.0)
    window = (seen.end_ns - seen.written_ns) / 1e6
    inside = told["queue"] + told["wait"] + told["model"]
    return {"lag": np.maximum(seen.sent_ns - seen.due_ns, 0) / 1e6, "connect": (seen.open_ns - seen.sent_ns) / 1e6,
            "send": (seen.written_ns - seen.open_ns) / 1e6, "queue": queue, "wait": told["wait"],
            "model": np.maximum(model, 0.0), **gpu, "gc": collected, "respond": np.maximum(window - inside, 0.0),
            "receive": np.maximum(seen.done_ns - seen.end_ns, 0) / 1e6}


def on_gpu_ms(seen: Flights) -> dict[str, Floats]:
    """GPU_PARTS in ms, [n] each, where the server tells any; copies may run beside kernels, so that together they are
    shortened to the model's own time where they are longer."""
    if not seen.tells & set(GPU_PARTS):
        return {}
    both = sum((seen.server_ms[name] for name in GPU_PARTS), np.zeros(len(seen)))
    within = np.minimum(1.0, seen.server_ms["model"] / np.maximum(both, 1e-9))
    return {name: seen.server_ms[name] * within for name in GPU_PARTS}


def run_ms(parts: Mapping[str, Floats]) -> Floats:
    """The model's run of each request in ms: on the CPU and, where it is told apart, on the GPU."""
    return np.asarray(sum(parts[name] for name in RUN_PARTS if name in parts))


def whole(seen: Flights, parts: Mapping[str, Floats]) -> float:
    """Share of the good answers whose parts sum to their latency within 2 % (or 0.1 ms); NaN of none."""
    latency = (seen.done_ns - seen.due_ns) / 1e6
    off = np.abs(sum(parts.values()) - latency)[seen.good]
    return float(np.mean(off <= np.maximum(WITHIN * latency[seen.good], SLACK_MS))) if len(off) else float("nan")
