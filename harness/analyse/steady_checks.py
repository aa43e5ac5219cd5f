"""Had the setup settled, and did it stay so? Accusations from latencies in order (harness/analyse/steady.py)."""

import numpy as np

from harness.analyse.frames import RunView
from harness.analyse.load_checks import pauses_of
from harness.analyse.load_checks import share_met as met_by
from harness.analyse.model import Check, Severity
from harness.analyse.steady import TREND_P, Stalls, growth, stalls, trend

GROWN = 2.0
GROWTH_P = 1e-3
BEHIND_SHARE = 0.02
DRIFTED = 1.25
SLOW_START = 1.5
FIRST = 10
BUSY_BEFORE = 3.0
BUSY_BEFORE_MS = 5.0


def saturation(view: RunView) -> Check:
    """A note where a queue only grew, or where the run was stopped because it did: more was asked than can be served,
    and every quantile depends on how long one waits.

    A rise (p < 0.001) to at least twice the latency, while more than 2 % of the requests of a stage of steady load
    were still unanswered when it ended.
    """
    if view.stopped:
        return Check("saturation", "note", view.stopped, "lower the load, or give the setup more", "setup",
                     {"stopped_after_s": view.window_s})
    start_s = 0.0
    for index, stage in enumerate(view.stages):
        chosen, start_s = view.rows.stage == index, start_s + stage.duration_s
        if stage.arrivals == "closed" or stage.rate_end not in (None, stage.rate):
            continue
        line = growth(view.rows.latency_ms[chosen])
        behind = float(np.mean(view.rows.done_ns[chosen] > start_s * 1e9)) if chosen.any() else 0.0
        if line and line.p_value < GROWTH_P and line.ratio >= GROWN and behind > BEHIND_SHARE:
            return Check("saturation", "note", f"over-saturated: latency grew {line.ratio:.1f}-fold within the run and "
                         f"{behind:.0%} of the requests were unanswered at its end, so a queue only grew",
                         "latency at this load depends on the run's length: compare goodput, or lower the load",
                         "setup", {"ratio": line.ratio, "p_value": line.p_value, "behind_share": behind})
    return Check("saturation", "ok", "no queue grew without end")


def warmup(view: RunView) -> Check:
    """A warning where the run had not settled when it began to count; what is found is not counted. A note where it was
    slower by less than like runs differ on a shared machine (docs/audit.md), and where the load changes, for then a
    slow start cannot be told from its load."""
    [stage, *others] = view.stages
    if others or stage.rate_end not in (None, stage.rate):
        return Check("warmup", "note", "a warm-up was not looked for: the load has several stages, or ramps",
                     "warm up longer than the setup needs at one steady load", "harness")
    found = view.warm_up
    figures = {"requests": float(found.requests), "ratio": found.ratio, "p_value": found.p_value}
    if not found.requests:
        return Check("warmup", "ok", "the start was no slower than the rest", figures=figures)
    seconds = max(0, int(view.rows.due_ns[found.requests])) / 1e9
    figures["seconds"] = seconds
    severity: Severity = "warning" if found.ratio > SLOW_START else "note"
    if not found.settled:
        return Check("warmup", severity, "not settled within half of the run: its start was "
                     f"{found.ratio:.2f} times as slow", "raise warmup_s and the duration of the scenario", "setup",
                     figures)
    return Check("warmup", severity, f"not settled: the first {seconds:.2f} s were {found.ratio:.2f} times as slow "
                 "as the rest, and are not counted", "raise warmup_s of the scenario", "setup", figures)


def drift(view: RunView) -> Check:
    """A warning where a steady load was answered ever slower, or ever faster, after warming up."""
    [stage, *others] = view.stages
    if others or stage.rate_end not in (None, stage.rate) or saturation(view).severity != "ok":
        return Check("drift", "ok", "not a load under which drift can be told")
    line = trend(view.rows.latency_ms[view.warm_up.requests:])
    if line is None:
        return Check("drift", "ok", "too short to tell whether it drifts")
    figures = {"ratio": line.ratio, "p_value": line.p_value}
    if line.p_value < TREND_P and max(line.ratio, 1 / line.ratio) > DRIFTED:
        way = "slower" if line.ratio > 1 else "faster"
        return Check("drift", "warning", f"it drifts: at the end it was {max(line.ratio, 1 / line.ratio):.2f} times as "
                     f"{way.replace('er', '')} as at the start", "find out what grows: memory, files, a cache", "setup",
                     figures)
    return Check("drift", "ok", "latency did not drift within the run", figures=figures)


def pauses(view: RunView) -> Check:
    """A warning where nothing was answered for a while although requests waited; with its beat, where it has one."""
    whole = view.rows.whole & ~view.rows.failed
    found = stalls(view.rows.sent_ns[whole], view.rows.done_ns[whole])
    if not len(found.spans_ns):
        return Check("stalls", "ok", "answers never stopped coming")
    lengths_ms = (found.spans_ns[:, 1] - found.spans_ns[:, 0]) / 1e6
    figures = {"stalls": float(len(lengths_ms)), "longest_ms": float(lengths_ms.max()),
               "met_share": met_by(view, found.spans_ns)}
    figures |= {"every_s": found.every_s} if np.isfinite(found.every_s) else {}
    host, sure = pauses_of(view)
    if sure and len(host) and _covered(found, host) > 0.5:
        return Check("stalls", "warning", f"the host stopped for {lengths_ms.max():.0f} ms",
                     "stop other work on this machine", "host", figures)
    often = f"every {found.every_s:.2f} s (periodic)" if np.isfinite(found.every_s) else \
        f"{len(lengths_ms)} times" if len(lengths_ms) > 1 else f"{found.spans_ns[0, 0] / 1e9:.1f} s into the run"
    return Check("stalls", "warning", f"nothing was answered for up to {lengths_ms.max():.0f} ms, {often}, while "
                 "requests waited", "look for a garbage collector, a lock or a reload at these times", "setup", figures)


def _covered(found: Stalls, host: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> float:
    """Share of the stalls' time that pauses of the host overlap."""
    inside = sum(max(0, min(int(end), int(stop)) - max(int(begin), int(start)))
                 for begin, end in found.spans_ns for start, stop in host)
    return inside / float(np.sum(found.spans_ns[:, 1] - found.spans_ns[:, 0]))


def drained(view: RunView) -> Check:
    """A warning where the very first requests of the run, warm-up included, found the setup busy: each of the first ten
    took three times as long as the median and 5 ms more, so something was still queued from before."""
    first = view.rows.early_ms[:FIRST] if len(view.rows.early_ms) else view.rows.latency_ms[:FIRST]
    usual = view.median_ms
    least_ms = float(first.min(initial=np.inf))
    figures = {"median_ms": usual} | ({"least_first_ms": least_ms} if np.isfinite(least_ms) else {})
    limit = max(BUSY_BEFORE * usual, usual + BUSY_BEFORE_MS)
    if len(first) == FIRST and usual > 0 and limit < least_ms < np.inf:
        return Check("drained", "warning", f"each of the first {FIRST} requests took at least "
                     f"{least_ms:.0f} ms where {usual:.1f} ms are usual: something was queued before "
                     "the load", "let the queue drain between runs, or warm up longer", "setup", figures)
    return Check("drained", "ok", "nothing was queued before the load", figures=figures)
