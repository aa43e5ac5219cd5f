"""Runs as arrays: the columns that analysis needs, counted requests only, nothing else kept."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analyse.quantiles import quantile
from harness.analyse.steady import WarmUp, warm_up
from harness.catalog.scenario import Scenario, Stage
from harness.catalog.toml import validate
from harness.record import layout
from harness.record.read import StoredRun
from harness.record.schema import ABSENT, BLANK, GPU_COLUMNS, RunMeta
from harness.record.scrape import NOTHING, Scrape
from harness.record.verify import changed_files

Flags = NDArray[np.bool_]
Latencies = NDArray[np.float32]
Columns = Mapping[str, NDArray[Any]]

NEEDED = ("seq", "stage", "due_ns", "sent_ns", "done_ns", "status", "error", "bytes", "batch", "queue_us", "wait_us",
          "model_us", *GPU_COLUMNS, "cold", "judged")
NS_PER_MS = 1e6
MOST_IN_FLIGHT = 4000  # connections a generator process opens at most (harness/load/engine.py)
CROWDED = 0.95
_PER_REQUEST = ("stage", "due_ns", "sent_ns", "done_ns", "failed", "bytes", "batch", "queue_us", "wait_us", "model_us",
                *GPU_COLUMNS, "cold", "judged", "unanswered")
INSTANTS = 1000


@dataclass(frozen=True)
class Rows:
    """A run's counted requests (warm-up left out) in order of seq; arrays [n], as in record/schema.py.

    `failed` marks a request without a 2xx answer, `unanswered` one that was flying when the run was stopped early.
    `early_ms` are the latencies of the warm-up's requests, `lingering_ns` [2, m] when those still out as counting began
    (and whatever `after` left out) were sent and ended. `errors` counts each word of the error column, and
    `http_500` and the like for answers that are no success. `recorded`, `distinct` and `highest` are the number of
    rows, of different seqs, and the greatest seq, warm-up included (0, 0 and −1 of none); `went_out` is how many of the
    rows were sent and `flown_ns` how long those were in flight, all together.
    """

    stage: NDArray[np.int8]
    due_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    failed: Flags
    bytes: NDArray[np.int32]
    batch: NDArray[np.int16]
    queue_us: NDArray[np.int32]
    wait_us: NDArray[np.int32]
    model_us: NDArray[np.int32]
    copy_us: NDArray[np.int32]
    kernel_us: NDArray[np.int32]
    cold: Flags
    judged: NDArray[np.int8]
    unanswered: Flags
    early_ms: Latencies
    lingering_ns: NDArray[np.int64]
    errors: dict[str, int]
    recorded: int
    went_out: int
    distinct: int
    highest: int
    flown_ns: int

    def __len__(self) -> int:
        return len(self.due_ns)

    @cached_property
    def sent(self) -> Flags:
        """Which requests went out at all."""
        return np.asarray(self.sent_ns != ABSENT)

    @cached_property
    def latency_ms(self) -> Latencies:
        """done − due in ms; infinite for a failed request."""
        latency = ((self.done_ns - self.due_ns) / NS_PER_MS).astype(np.float32)
        latency[self.failed | (self.done_ns == ABSENT)] = np.inf
        return np.maximum(latency, np.float32(0), out=latency)

    @cached_property
    def ordered_ms(self) -> Latencies:
        """The latencies, ascending."""
        return np.sort(self.latency_ms)

    @cached_property
    def lag_ms(self) -> Latencies:
        """sent − due in ms of the requests that went out."""
        return ((self.sent_ns - self.due_ns)[self.sent] / NS_PER_MS).astype(np.float32)

    @cached_property
    def whole(self) -> Flags:
        """Which requests have both a time of sending and one of ending."""
        return np.asarray(self.sent & (self.done_ns != ABSENT))

    @cached_property
    def in_flight(self) -> NDArray[np.int64]:
        """Requests out and unanswered at INSTANTS evenly spaced moments from the first sending to the last ending."""
        sent, done = self.sent_ns[self.whole], self.done_ns[self.whole]
        if not len(sent):
            return np.zeros(INSTANTS, dtype=np.int64)
        start = int(sent.min())
        per_ns = INSTANTS / max(int(done.max()) - start, 1)
        begun, ended = (np.bincount(((times - start) * per_ns).astype(np.int64), minlength=INSTANTS + 1)
                        for times in (sent, done))
        return np.asarray(np.cumsum(begun[:INSTANTS] - ended[:INSTANTS]))

    def after(self, n: int) -> "Rows":
        """The rows without the first `n`; what counts the whole record stays."""
        if n <= 0:
            return self
        left = {name: getattr(self, name)[n:] for name in _PER_REQUEST}
        dropped = np.stack([self.sent_ns[:n], self.done_ns[:n]])[:, self.whole[:n]]
        return replace(self, **left, lingering_ns=np.concatenate([self.lingering_ns, dropped], axis=1))

    def held(self) -> NDArray[np.int64]:
        """How many requests were out and unanswered when each became due, those of the warm-up among them."""
        early_sent, early_done = self.lingering_ns
        sent = in_time(np.concatenate([early_sent, self.sent_ns[self.whole]]))
        done = in_time(np.concatenate([early_done, self.done_ns[self.whole]]))
        return np.asarray(np.searchsorted(sent, self.due_ns) - np.searchsorted(done, self.due_ns))

    @cached_property
    def wrong_share(self) -> float:
        """Share of judged answers that were wrong; 0 where none was judged."""
        judged = np.count_nonzero(self.judged)
        return float(np.count_nonzero(self.judged == 2)) / judged if judged else 0.0


@dataclass(frozen=True)
class RunView:
    """One run as checks see it: what was asked, what was recorded. Times in rows are ns since the run's t0.

    `scenario` ends where a run that was stopped early ended. `probes` are the columns of probes.parquet, `altered` what
    is no longer as it was written, `before` and `after` the server's own counters around the load, `log_bytes` the size
    of its log.
    """

    meta: RunMeta
    scenario: Scenario
    rows: Rows
    probes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    altered: tuple[str, ...] = ()
    before: Scrape = NOTHING
    after: Scrape = NOTHING
    log_bytes: int = 0

    @property
    def stopped(self) -> str:
        """Why the run was stopped early, "" where it went to its end."""
        return str((self.meta.facts.get("stopped") or {}).get("why", ""))

    @cached_property
    def median_ms(self) -> float:
        """The median of what was answered; 0 where nothing was."""
        answered = self.rows.ordered_ms[:np.searchsorted(self.rows.ordered_ms, np.float32(np.inf))]
        return quantile(answered, 0.5) if len(answered) else 0.0

    @cached_property
    def warm_up(self) -> WarmUp:
        """The warm-up found among the counted requests of one steady stage; none looked for elsewhere."""
        [stage, *others] = self.stages
        if others or stage.rate_end not in (None, stage.rate):
            return WarmUp(0, 1.0, 1.0, True)
        return warm_up(self.rows.latency_ms)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages with absolute rates."""
        return self.scenario.stage

    @property
    def window_s(self) -> float:
        """Seconds of load that counts."""
        return self.scenario.duration_s

    @cached_property
    def crowded(self) -> Flags:
        """Which requests became due while the setup held nearly as many as the generators have connections: what
        happens to those is the setup's doing."""
        most = sum(int(each.get("most_connections", MOST_IN_FLIGHT)) for each in self.generators) or MOST_IN_FLIGHT
        if self.rows.in_flight.max() < CROWDED * most / 2:
            return np.zeros(len(self.rows), dtype=np.bool_)
        return np.asarray(self.rows.held() >= CROWDED * most)

    @property
    def generators(self) -> list[dict[str, Any]]:
        """What each generator process said at its end."""
        said = self.meta.facts.get("generators", [])
        return [each for each in said if isinstance(each, dict)]


def read_view(run: StoredRun, columns: Columns | None = None) -> RunView:
    """The run on disk, its `columns` read from there unless they are given. Raises TailraceError when it has no rows or
    its scenario cannot be read."""
    made = view(run.meta, run.columns(*NEEDED) if columns is None else columns)
    log = run.folder / layout.SERVER_LOG
    return replace(made, probes=run.probes(), altered=tuple(changed_files(run)),
                   before=Scrape(run.text(layout.METRICS_BEFORE), run.text(layout.STATISTICS_BEFORE)),
                   after=Scrape(run.text(layout.METRICS), run.text(layout.STATISTICS)),
                   log_bytes=log.stat().st_size if log.is_file() else 0)


def view(meta: RunMeta, columns: Columns) -> RunView:
    """The run that `meta` and its columns tell. Raises TailraceError when its scenario cannot be read."""
    scenario = validate(Scenario, dict(meta.scenario_resolved), f"run {meta.run_id}: scenario_resolved")
    if math.isinf(stopped_s(meta)) or len(scenario.stage) > 1:
        return RunView(meta, scenario, counted(columns))
    [stage] = scenario.stage
    shorter = stage.model_copy(update={"duration_s": min(stage.duration_s, stopped_s(meta))})
    return RunView(meta, scenario.model_copy(update={"stage": (shorter,)}), counted(columns, shorter.duration_s))


def stopped_s(meta: RunMeta) -> float:
    """Seconds after which what was due no longer counts: the run was stopped, for it asked for too much or its verdict
    stood; infinite for one that went to its end."""
    said = (meta.facts.get(name) or {} for name in ("stopped", "until"))
    return min((float(each["at_s"]) for each in said if each.get("at_s") is not None), default=math.inf)


def counted(columns: Columns, until_s: float = math.inf) -> Rows:
    """Rows of the counted requests; `columns` holds those of NEEDED (a GPU's may be missing), in order of seq. Of a run
    that was stopped after `until_s` seconds, those due before; what was then in flight is `unanswered`."""
    seq, keep = columns["seq"], columns["stage"] >= 0
    early = (columns["stage"] < 0) & (columns["done_ns"] != ABSENT)
    if math.isfinite(until_s):
        keep = keep & (columns["due_ns"] < until_s * 1e9)
    blank = {name: np.full(len(seq), BLANK[name], np.int32) for name in GPU_COLUMNS if name not in columns}
    columns = {**columns, **blank}
    kept = together(np.flatnonzero(keep))
    taken = {name: columns[name][kept] for name in NEEDED if name not in ("seq", "error")}
    status = taken.pop("status")
    words = columns["error"][kept]
    broken = np.asarray(words != "", dtype=np.bool_)
    cut = np.asarray(words == "aborted", dtype=np.bool_) if math.isfinite(until_s) else np.zeros(len(words), np.bool_)
    refused = ~broken & ((status < 200) | (status >= 300))
    return Rows(
        **taken,
        failed=broken | refused,
        unanswered=cut,
        early_ms=((columns["done_ns"] - columns["due_ns"])[early] / NS_PER_MS).astype(np.float32),
        lingering_ns=_lingering_ns(columns, early, taken["due_ns"]),
        errors={str(word): n for word, n in Counter(words[broken & ~cut]).items()}
        | {f"http_{value}": n for value, n in Counter(status[refused].tolist()).items()},
        recorded=len(seq),
        went_out=int(np.count_nonzero(columns["sent_ns"] != ABSENT)),
        distinct=int(np.count_nonzero(np.diff(seq))) + 1 if len(seq) else 0,
        highest=int(seq[-1]) if len(seq) else -1,
        flown_ns=flown_ns(columns),
    )


def _lingering_ns(columns: Columns, early: Flags, due_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """When the warm-up's requests that had not ended as the first counted one became due were sent and ended [2, m]."""
    first = due_ns[0] if len(due_ns) else np.iinfo(np.int64).max
    which = np.flatnonzero(early & (columns["sent_ns"] != ABSENT) & (columns["done_ns"] > first))
    return np.stack([columns["sent_ns"][which], columns["done_ns"][which]])


def together(which: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """The same indices as a slice where they follow each other: taking them then copies nothing."""
    if len(which) and np.all(np.diff(which) == 1):
        return slice(int(which[0]), int(which[-1]) + 1)
    return which


def in_time(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times, ascending. Those of requests nearly are already, and a merge sort takes a tenth of the time then."""
    return np.sort(times_ns, kind="stable")


def flown_ns(columns: Columns) -> int:
    """Time from sending to ending, summed over all rows that have both."""
    sent, done = columns["sent_ns"], columns["done_ns"]
    whole = (sent != ABSENT) & (done != ABSENT)
    return int(np.sum((done - sent)[whole]))
