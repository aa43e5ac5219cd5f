"""Is the record what was measured, of what was asked? Accusations that come from facts beside the rows."""

import re

import numpy as np

from harness.analyse.frames import RunView
from harness.analyse.model import Check

RECEIVE_P99_MS = 1.0
RECEIVE_SHARE_OF_P50 = 0.1
RECEIVE_TOO_LATE = 2.0
RECEIVE_MOMENTS = 3     # tenths of a second in which reading was late; fewer are a pause of the host
STEP_MS = 1.0
DRIFT = 500e-6
FRESH_PAYLOADS = 1000
MORE_THAN_ONCE = 1.2
CACHE_PAIRS = 6
CACHED_RATIO = 0.6
CACHED_SHARE = 0.9
FLOODED_BYTES = 8_000_000

_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^}]*\})?\s+([0-9.eE+-]+)", re.MULTILINE)
_RETRIES = re.compile(r"(?:^|_)retr(?:y|ies|ied)(?:_(?!created$)|$)")
_SERVED = re.compile(r"(?:^|_)(?:predictions|inferences|inference_count)(?:_total)?$")


def altered(view: RunView) -> Check:
    """Invalid where a file of the record is no longer what was written."""
    if view.altered:
        return Check("altered", "invalid", f"the record was changed after the run: {'; '.join(view.altered)}",
                     "measure it again, or fetch the record anew", "harness", {"files": len(view.altered)})
    return Check("altered", "ok", "the record is as it was written")


def lock(view: RunView) -> Check:
    """Invalid where the environment held other packages than its lock, or the model other files than its manifest; a
    note where, as was asked for, the machine's own packages stood in for locked ones of another version."""
    unlike = [str(each) for each in view.meta.facts.get("unlike_lock") or []]
    if unlike:
        return Check("lock", "invalid", f"what ran is not what is locked: {'; '.join(unlike)}",
                     "remove the cache's folder of it, so that it is made anew", "harness",
                     {"differences": len(unlike)})
    instead = [str(each) for each in view.meta.facts.get("stands_in") or []]
    if instead:
        return Check("lock", "note", f"environment and model are as locked, but for {'; '.join(instead)}",
                     "bring the wheels of the locked versions to compare with other machines", "harness",
                     {"stands_in": len(instead)})
    return Check("lock", "ok", "environment and model are as locked")


def wall_clock(view: RunView) -> Check:
    """A warning where the wall clock was stepped within the run: latencies are of another clock, but receive stamps of
    the kernel and times in logs are not."""
    steps = [float(each["wall_step_ms"]) for each in view.generators if "wall_step_ms" in each]
    step, allowed = max(steps, key=abs, default=0.0), STEP_MS + DRIFT * view.scenario.duration_s * 1e3
    figures = {"step_ms": step, "allowed_ms": allowed}
    if abs(step) > allowed:
        return Check("wall_clock", "warning", f"the wall clock was stepped by {step:.0f} ms within the run",
                     "let the clock be slewed, not stepped, while measuring", "host", figures)
    return Check("wall_clock", "ok", "the wall clock was not stepped", figures=figures)


def receive_lag(view: RunView) -> Check:
    """A warning where answers lay in the kernel too long before the generator read them: p99 above 1 ms and above a
    tenth of the median latency; invalid above twice that. A note where all of them did so at one or two moments: in a
    short run one pause of the host is a whole percent, and `host_pauses` weighs it."""
    told = [float(each["receive_p99_ms"]) for each in view.generators if "receive_p99_ms" in each]
    if not told:
        return Check("receive_lag", "note", "the kernel gave no receive stamps, so when answers came is not known",
                     "look at the check lag: who sends late reads late", "harness")
    allowed = max(RECEIVE_P99_MS, RECEIVE_SHARE_OF_P50 * view.median_ms)
    figures = {"p99_ms": max(told), "allowed_p99_ms": allowed}
    moments = max(float(each.get("receive_late_moments", RECEIVE_MOMENTS)) for each in view.generators)
    if max(told) > allowed and moments < RECEIVE_MOMENTS:
        return Check("receive_lag", "note", f"answers were read late at {moments:.0f} moment{'s' * (moments > 1)}: p99 "
                     f"{max(told):.2f} ms after they came", "see host_pauses", "host", figures)
    if max(told) > allowed:
        return Check("receive_lag", "invalid" if max(told) > RECEIVE_TOO_LATE * allowed else "warning",
                     f"answers were read late: p99 {max(told):.2f} ms after they came (allowed {allowed:.2f})",
                     "give the generator a quiet core of its own, or ask for less load", "generator", figures)
    return Check("receive_lag", "ok", f"answers were read {max(told):.2f} ms (p99) after they came", figures=figures)


def payloads(view: RunView) -> Check:
    """A warning where fewer than 1 000 different payloads were sent over and over: whatever remembers an answer, on
    whatever way, then looks fast."""
    pool, n = int(view.meta.facts.get("payload_pool") or 0), view.rows.went_out
    if not pool or pool >= n:
        return Check("payloads", "ok", "no payload was sent twice")
    figures = {"payloads": pool, "times": n / pool}
    if pool < FRESH_PAYLOADS and n > MORE_THAN_ONCE * pool:
        return Check("payloads", "warning", f"{pool} payloads were sent {n / pool:.1f} times each",
                     "raise `pool` in workload.toml", "harness", figures)
    return Check("payloads", "ok", f"a payload came again after {pool} others", figures=figures)


def cached(view: RunView) -> Check:
    """Where a payload is answered much faster when it comes again: invalid if the load repeated payloads, else a
    warning.

    Of pairs sent after the load, nine in ten of the repeats are faster than their first, by 40 % in the median.
    """
    told = view.meta.facts.get("repeats") or {}
    fresh, again = (np.asarray(told.get(name) or [], dtype=np.float64) for name in ("fresh_ms", "repeat_ms"))
    if len(fresh) < CACHE_PAIRS or len(fresh) != len(again):
        return Check("cached", "note", f"not told whether answers are remembered: {len(fresh)} of {CACHE_PAIRS} pairs",
                     "look at server.log: payloads sent twice after the load failed or took too long", "harness",
                     {"pairs": float(len(fresh))})
    ratio, faster = float(np.median(again / fresh)), float(np.mean(again < fresh))
    figures = {"ratio": ratio, "faster_share": faster, "pairs": float(len(fresh))}
    if ratio < CACHED_RATIO and faster >= CACHED_SHARE:
        pool = int(view.meta.facts.get("payload_pool") or 0)
        return Check("cached", "invalid" if 0 < pool < view.rows.went_out else "warning",
                     f"answers are remembered: a repeated payload takes {ratio:.0%} of the time of a new one",
                     "turn the cache off, or send payloads that do not repeat", "setup", figures)
    return Check("cached", "ok", f"a repeated payload takes {ratio:.0%} of the time of a new one", figures=figures)


def retries(view: RunView) -> Check:
    """A warning where the setup's own counters tell of retries, or of more predictions than were asked for: failures
    were hidden, and latencies hold more than one try."""
    found = [(name, float(value)) for name, value in _SAMPLE.findall(view.after.metrics)]
    tried = sum(value for name, value in found if _RETRIES.search(name))
    served = max((value for name, value in found if _SERVED.search(name)), default=0.0)
    asked = view.rows.went_out + int(view.meta.facts.get("golden") or 0)
    figures = {"retries": tried, "served": served, "asked": float(asked)}
    if tried > 0:
        return Check("retries", "warning", f"the setup tells of {tried:.0f} retries, which hid as many failures",
                     "look at server.log for what failed", "setup", figures)
    if served > asked:
        return Check("retries", "warning", f"the setup made {served:.0f} predictions for {asked} requests: it retries, "
                     "or someone else asks it", "look at server.log for what failed", "setup", figures)
    return Check("retries", "ok", "no counter of the setup tells of retries", figures=figures)


def ending(view: RunView) -> Check:
    """A warning where the setup had to be killed after the run, a note where it left processes behind its first one."""
    told = view.meta.facts.get("stop") or {}
    killed, left = ([str(name) for name in told.get(word) or []] for word in ("killed", "left"))
    figures = {"killed": float(len(killed)), "left": float(len(left))}
    if killed:
        return Check("ending", "warning", f"it did not end when told and was killed: {', '.join(killed)}",
                     "end on SIGTERM, with all children", "setup", figures)
    return Check("ending", "ok", "it ended when told", figures=figures)


def log(view: RunView) -> Check:
    """A warning where the setup wrote more than 8 MB of log: writing it took time from serving."""
    if view.log_bytes > FLOODED_BYTES:
        return Check("log", "warning", "it wrote more than 8 MB of log", "log less under load", "setup",
                     {"bytes_kept": view.log_bytes})
    return Check("log", "ok", f"it wrote {view.log_bytes:,} bytes of log")


def listeners(view: RunView) -> Check:
    """A warning where the network can reach a socket of the setup."""
    reachable = [str(each) for each in view.meta.facts.get("open_listeners") or []]
    if reachable:
        return Check("listeners", "warning", f"the network can reach {', '.join(reachable)}",
                     "bind every socket to {host}", "setup", {"sockets": len(reachable)})
    return Check("listeners", "ok", "only this machine can reach it")
