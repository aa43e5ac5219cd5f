"""Stretches of time in which nothing moved: of the host, of the server, of a garbage collector."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analyse.explain_parts import Flights, Floats, Ints
from harness.analyse.frames import in_time
from harness.analyse.quantiles import median

SILENT_TIMES = 10.0     # a silence is notable that lasts so many times the usual one while requests wait
SILENT_MS = 2.0         # … and so much longer than the model and the wait for a batch explain
NEXT = 64               # answers after a silence that are asked whether they were held up in it
IDLE = 0.2              # cores used below which a server that is said to run its model does not
LOOKS_NS = 300_000_000  # probes look every 250 ms: stolen time is dated no better

Probes = Mapping[str, NDArray[Any]]
Span = tuple[int, int, bool]  # from, to in ns; whether the server's garbage collector tells it


@dataclass(frozen=True)
class Stretches:
    """Disjoint stretches [from, to] in ns, ascending: int64[m, 2]."""

    spans: Ints

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def total_ms(self) -> float:
        return float(np.sum(self.spans[:, 1] - self.spans[:, 0])) / 1e6

    def within(self, from_ns: Ints, to_ns: Ints) -> Floats:
        """Milliseconds of the stretches that lie between each `from_ns` and `to_ns`."""
        return np.asarray(np.maximum(self._before(to_ns) - self._before(from_ns), 0) / 1e6)

    def _before(self, at_ns: Ints) -> Ints:
        if not len(self.spans):
            return np.zeros(len(at_ns), dtype=np.int64)
        start, end = self.spans[:, 0], self.spans[:, 1]
        passed = np.concatenate([[0], np.cumsum(end - start)])
        index = np.searchsorted(start, at_ns, side="right")
        last = np.maximum(index - 1, 0)
        inside = np.where(index > 0, np.minimum(at_ns, end[last]) - start[last], 0)
        return np.asarray(passed[last] + inside)


def stretches(spans: Iterable[Iterable[int]]) -> Stretches:
    """The union of spans [from, to], in any order, overlapping or not."""
    found = np.asarray([list(span) for span in spans], dtype=np.int64).reshape(-1, 2)
    found = found[np.argsort(found[:, 0], kind="stable")]
    found = found[found[:, 1] > found[:, 0]]
    if not len(found):
        return Stretches(found)
    until = np.maximum.accumulate(found[:, 1])
    first = np.flatnonzero(np.concatenate([[True], found[1:, 0] > until[:-1]]))
    return Stretches(np.column_stack([found[first, 0], until[np.append(first[1:], len(found)) - 1]]))


@dataclass(frozen=True)
class Pauses:
    """`host`: the meter on the generator's core, or the hypervisor's stolen time, saw them. `host_wide`: those of them
    in which no answer reached this machine, so that the server stood still too. `server`: no request in flight was
    answered, for longer than the model explains. `collector`: such a silence that the server's garbage collector
    tells. `generator_collector`: the generator's own."""

    host: Stretches
    host_wide: Stretches
    server: Stretches
    collector: Stretches
    generator_collector: Stretches


def pauses(seen: Flights, generators: Iterable[Mapping[str, Any]], probes: Probes, *,
           model_ms: Floats, expected_ms: Floats) -> Pauses:
    """Every stretch that rows, generators and probes tell of; `expected_ms` is what each request's model run (or, where
    that is not told, its whole stay alone) usually takes."""
    said = list(generators)
    host = stretches(span for each in said for span in each.get("hiccup_pauses_ns", []))
    silent = _silences(seen, model_ms, expected_ms, probes)
    stolen = [span for span in silent if _stolen_ms(probes, span) >= 0.5 * (span[1] - span[0]) / 1e6]
    host = stretches([*host.spans.tolist(), *(span[:2] for span in stolen)])
    ends = seen.end_ns[seen.by_answer]
    alive = np.searchsorted(ends, host.spans[:, 1] - 1) > np.searchsorted(ends, host.spans[:, 0], side="right")
    wide = Stretches(host.spans[~alive])
    left = [span for span in silent if span not in stolen
            and wide.within(np.array([span[0]]), np.array([span[1]]))[0] < 0.5 * (span[1] - span[0]) / 1e6]
    return Pauses(host, wide, stretches(span[:2] for span in left if not span[2]),
                  stretches(span[:2] for span in left if span[2]),
                  stretches(span for each in said for span in each.get("gc_pauses_ns", [])))


def _silences(seen: Flights, model_ms: Floats, expected_ms: Floats, probes: Probes) -> list[Span]:
    """Every notable silence while requests were out that is more than one long model run, or a wait for a batch."""
    order = seen.by_answer
    if len(order) < 2:
        return []
    ends = seen.end_ns[order]
    sent = in_time(seen.sent_ns)
    gone = np.searchsorted(sent, ends[:-1], side="right")
    busy = gone > np.searchsorted(seen.ends, ends[:-1], side="right")
    following = sent[np.minimum(gone, len(sent) - 1)]
    begin = np.where(busy, ends[:-1], np.minimum(following, ends[1:]))
    length_ms = (ends[1:] - begin) / 1e6
    beyond_ms = length_ms - expected_ms[order[1:]] - seen.server_ms["wait"][order[1:]]
    limit_ms = max(SILENT_MS, SILENT_TIMES * median(length_ms))
    found, computes, longer_ms = [], _computes(seen, model_ms, probes), model_ms - expected_ms
    for k in np.flatnonzero(beyond_ms > limit_ms):
        half = beyond_ms[k] / 2
        after = order[k + 1:k + 1 + NEXT]
        told_gc = bool(np.any(seen.server_ms["gc"][after] >= half))
        span = (int(begin[k]), int(ends[k + 1]), told_gc)
        if told_gc or not _own_model(seen, after, longer_ms, (span[0], half), model_ms) \
                or (computes and _idle(probes, span)):
            found.append(span)
    return found


def _own_model(seen: Flights, after: Ints, beyond_ms: Floats, silence: tuple[int, float], model_ms: Floats) -> bool:
    """Whether one model run explains the silence (from, half its length in ms), so that nothing else stood still: it
    alone took so long. Two runs held up at once were held up by something common to both."""
    start_ns, half_ms = silence
    begun = seen.end_ns[after] - np.rint(model_ms[after] * 1e6).astype(np.int64)
    held = after[(beyond_ms[after] >= half_ms) & (begun <= start_ns + round(half_ms * 1e6))]
    return len(np.unique(np.rint(model_ms[held] * 1e3))) == 1


def _computes(seen: Flights, model_ms: Floats, probes: Probes) -> bool:
    """Whether model runs keep a core of the server busy: over the run they took no more than twice its CPU time."""
    if not probes or not len(probes["t_ns"]):
        return False
    runs_s = float(np.sum((model_ms / np.maximum(seen.batch, 1))[seen.answered])) / 1e3
    return 0 < runs_s <= 2 * _cpu_s(probes, int(probes["t_ns"].min()), int(probes["t_ns"].max()))


def _idle(probes: Probes, span: Span) -> bool:
    """Whether the server used less than a fifth of a core during most of the span. Looks are 250 ms apart, so a short
    span is never called idle."""
    times = np.unique(probes["t_ns"])
    inside = times[(times >= span[0]) & (times <= span[1])]
    if len(inside) < 2 or inside[-1] - inside[0] < 0.4 * (span[1] - span[0]):
        return False
    return _cpu_s(probes, int(inside[0]), int(inside[-1])) < IDLE * float(inside[-1] - inside[0]) / 1e9


def _cpu_s(probes: Probes, from_ns: int, to_ns: int) -> float:
    """CPU seconds of the server's processes between the first and the last look in from_ns … to_ns."""
    mine = (probes["scope"] == "server") & (probes["metric"] == "cpu_s") & (probes["t_ns"] >= from_ns) & \
        (probes["t_ns"] <= to_ns)
    return sum(float(np.ptp(probes["value"][mine & (probes["pid"] == pid)])) for pid in np.unique(probes["pid"][mine]))


def _stolen_ms(probes: Probes, span: Span) -> float:
    """CPU time in ms of the server's cores that the hypervisor gave to others around the span, beyond what it takes
    in as long a time in the rest of the run."""
    if not probes:
        return 0.0
    mine = (probes["scope"] == "server") & (probes["metric"] == "cores_stolen_s")
    times, values = probes["t_ns"][mine], probes["value"][mine]
    near = (times >= span[0] - LOOKS_NS) & (times <= span[1] + LOOKS_NS)
    if np.count_nonzero(near) < 2 or np.ptp(times) == np.ptp(times[near]):
        return 0.0
    stolen_s, took_ns = float(np.ptp(values[near])), int(np.ptp(times[near]))
    usual = (float(np.ptp(values)) - stolen_s) / (int(np.ptp(times)) - took_ns)
    return (stolen_s - usual * took_ns) * 1e3
