"""Was this load what was asked for? Accusations against the generator, the host and the harness.

Thresholds are those of docs/design.md; each check takes a RunView and gives a Check.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.analyse.frames import RunView
from harness.analyse.model import Check
from harness.analyse.quantiles import kth_smallest, rank
from harness.record.schema import ABSENT

LAG_P99_MS = 0.5
LAG_P999_MS = 2.0
LAG_SHARE_OF_P50 = 0.1
EARLY_MS = 0.05
RATE_TOLERANCE = 0.005
CPU_SHARE = 0.7
PAUSED_SHARE = 0.001
DECISIVE_SHARE = 0.01
SURE = 0.99
FLOWN_TOLERANCE = 0.001


def status(view: RunView) -> Check:
    """Invalid for a run that was cut short."""
    if view.meta.status == "ok":
        return Check("status", "ok", "the run went to its end")
    return Check("status", "invalid", f"the run is {view.meta.status}: {view.meta.reason}",
                 "look at server.log and load.log in its folder, then measure it again", "harness")


def completeness(view: RunView) -> Check:
    """Invalid unless every seq of the schedule has exactly one row, and every request was sent and waited for."""
    rows = view.rows
    said = [int(each["n"]) for each in view.generators if "n" in each]
    expected = sum(said) if said else rows.highest + 1
    lost = expected - rows.distinct
    twice = rows.recorded - rows.distinct
    never = int(np.count_nonzero(~rows.sent & ~view.crowded & ~rows.unanswered)) + rows.errors.get("aborted", 0)
    figures: dict[str, float] = {"expected": expected, "recorded": rows.recorded, "lost": lost, "twice": twice,
                                 "never_ended": never}
    if not len(rows):
        return Check("completeness", "invalid", "no counted request was recorded",
                     "make the run longer than its warm-up", "harness", figures)
    if lost or twice or rows.highest + 1 != expected:
        return Check("completeness", "invalid", f"{lost} of {expected} due requests have no row and {twice} have two",
                     "the generator died or lost rows: look at load.log", "generator", figures)
    if never:
        return Check("completeness", "invalid", f"{never} due requests were never sent or not waited for",
                     "give the generator a core of its own, or ask for less", "generator", figures)
    return Check("completeness", "ok", f"all {expected} due requests have their row", figures=figures)


def lag(view: RunView) -> Check:
    """Invalid where requests went out too late (p99 and p99.9 of sent − due) or too early.

    Too late are more requests than 1 % (0.1 %) of this many give in 99 of 100 runs (binomial), so that of a few hundred
    a single late one does not decide.
    """
    if view.scenario.closed:
        return Check("lag", "ok", "a closed loop has no schedule to lag behind")
    late = view.rows.lag_ms[~view.crowded[view.rows.sent]]
    if not len(late):
        return Check("lag", "ok", "every request waited for the setup, which held all connections")
    allowance = _allowance_ms(view)
    p99, p999 = (kth_smallest(late, rank(q, len(late)) - 1) for q in (0.99, 0.999))
    allowed99, allowed999 = max(LAG_P99_MS, allowance), max(LAG_P999_MS, allowance)
    figures = {"p99_ms": p99, "p99.9_ms": p999, "allowed_p99_ms": allowed99, "allowed_p99.9_ms": allowed999}
    if late.min() < -EARLY_MS:
        return Check("lag", "invalid", f"a request was sent {-late.min():.2f} ms before it was due",
                     "the generator's clock is wrong: run `tailrace calibrate`", "generator",
                     figures | {"earliest_ms": float(late.min())})
    if _beyond(late, allowed99, 0.01) or _beyond(late, allowed999, 0.001):
        host = _late_by_host(view, allowed99)
        return Check("lag", "invalid", f"requests went out late: lag p99 {p99:.2f} ms (allowed {allowed99:.2f}), "
                     f"p99.9 {p999:.2f} ms (allowed {allowed999:.2f})" + (", for the host paused" if host else ""),
                     "stop other work on this machine" if host else
                     "give the generator a quiet core of its own, or ask for less load",
                     "host" if host else "generator", figures)
    return Check("lag", "ok", f"lag p99 {p99:.2f} ms, p99.9 {p999:.2f} ms", figures=figures)


def _beyond(late_ms: NDArray[np.float32], allowed_ms: float, share: float) -> bool:
    """Whether surely more than `share` of the requests were later than allowed."""
    return _surely(int(np.count_nonzero(late_ms > allowed_ms)), len(late_ms), share)


def _surely(seen: int, n: int, share: float) -> bool:
    """Whether `seen` of `n` is more than the share gives in 99 of 100 runs."""
    return seen > 0 and float(special.bdtr(seen - 1, n, share)) > SURE


def _late_by_host(view: RunView, allowed_ms: float) -> bool:
    """Whether at least half of the requests sent too late were due in a pause that only the host can have made."""
    rows, (pauses, sure) = view.rows, pauses_of(view)
    late = rows.sent & (rows.sent_ns - rows.due_ns > allowed_ms * 1e6)
    return sure and _overlapping(rows.due_ns[late], rows.sent_ns[late], pauses) >= 0.5


def pauses_of(view: RunView) -> tuple[NDArray[np.int64], bool]:
    """Stretches in ns (int64[m, 2]) in which a generator's CPU ran nothing that was due, and whether all meters had
    realtime priority, so that it was not the generator's own work."""
    told = [each for each in view.generators if "hiccup_pauses_ns" in each]
    pauses = np.asarray([pair for each in told for pair in each["hiccup_pauses_ns"]], dtype=np.int64).reshape(-1, 2)
    return pauses, bool(told) and all(bool(each.get("hiccup_realtime")) for each in told)


def rate(view: RunView) -> Check:
    """Invalid where the rate sent differs from the rate due by more than 0.5 %."""
    rows = view.rows
    if view.scenario.closed or len(rows) < 2:
        return Check("rate", "ok", "no rate was asked for")
    if bool(np.any(view.crowded)):
        most = int(rows.in_flight.max())
        return Check("rate", "ok", f"the setup held {most} requests at once and so slowed the sending")
    due_ns = int(rows.due_ns[-1] - rows.due_ns[0])
    sent = rows.sent_ns[rows.sent]
    sent_ns = int(sent.max() - sent.min()) if len(sent) > 1 else 0
    if due_ns <= 0 or sent_ns <= 0:
        return Check("rate", "ok", "all requests were due at once")
    due, achieved = (len(rows) - 1) * 1e9 / due_ns, (len(sent) - 1) * 1e9 / sent_ns
    figures = {"due_per_s": due, "sent_per_s": achieved, "allowed_share": RATE_TOLERANCE}
    if abs(achieved / due - 1) > RATE_TOLERANCE:
        return Check("rate", "invalid", f"{achieved:.1f} requests a second were sent where {due:.1f} were due",
                     "more generator cores, or a lower rate", "generator", figures)
    return Check("rate", "ok", f"{achieved:.1f} requests a second, as due", figures=figures)


def shared_cores(view: RunView) -> Check:
    """Invalid where server and generator ran on the same CPUs."""
    both = sorted(set(view.meta.server_cpus) & set(view.meta.load_cpus))
    if both:
        return Check("shared_cores", "invalid", f"server and generator shared CPU {', '.join(map(str, both))}",
                     "measure on a machine with at least two CPUs", "host", {"shared": len(both)})
    return Check("shared_cores", "ok", "server and generator had CPUs of their own")


def generator_cpu(view: RunView) -> Check:
    """Invalid where a generator process used more than 70 % of its core."""
    shares = [float(each["cpu_s"]) / float(each["wall_s"]) for each in view.generators
              if each.get("wall_s") and "cpu_s" in each]
    if not shares:
        return Check("generator_cpu", "note", "the generators did not tell how much CPU they used", blames="harness")
    figures = {"share": max(shares), "allowed": CPU_SHARE}
    if max(shares) > CPU_SHARE:
        return Check("generator_cpu", "invalid", f"a generator used {max(shares):.0%} of its core: it measured itself",
                     "more generator cores, or a lower rate", "generator", figures)
    return Check("generator_cpu", "ok", f"the busiest generator used {max(shares):.0%} of its core", figures=figures)


def host_pauses(view: RunView) -> Check:
    """Invalid where so many requests met a pause of the host that pauses alone could decide the strictest promise; a
    warning where they are surely more than 0.1 %.

    A pause counts where it is longer than the lag allowed at p99.9, and meets a request between its due time and its
    answer. A meter without realtime priority also sees the generator's own work, so it can only warn.
    """
    rows, (pauses, sure) = view.rows, pauses_of(view)
    if not any("hiccup_pauses_ns" in each for each in view.generators):
        return Check("host_pauses", "note", "no meter of host pauses ran", blames="harness")
    long = pauses[(pauses[:, 1] - pauses[:, 0]) / 1e6 > max(LAG_P999_MS, _allowance_ms(view))]
    met = share_met(view, long)
    decisive = min([1 - promise.quantile for promise in view.scenario.promises if promise.metric == "latency"],
                   default=DECISIVE_SHARE)
    figures = {"pauses": float(len(long)), "met_share": met, "allowed": PAUSED_SHARE, "decisive": decisive,
               "longest_ms": float(np.max(pauses[:, 1] - pauses[:, 0], initial=0)) / 1e6}
    dropped = sum(int(each.get("hiccup_dropped", 0)) for each in view.generators)
    if dropped:
        figures["dropped"] = dropped
    if not _surely(round(met * len(rows)), len(rows), PAUSED_SHARE):
        if dropped:
            return Check("host_pauses", "warning", f"the host paused so often that {dropped} pauses were only counted",
                         "stop other work on this machine", "host", figures)
        return Check("host_pauses", "ok", f"{met:.2%} of the requests met a pause of the host", figures=figures)
    pauses_said = "the one pause" if len(long) == 1 else f"one of {len(long)} pauses"
    return Check("host_pauses", "invalid" if sure and met >= decisive else "warning",
                 f"{met:.2%} of the requests met {pauses_said} of the host",
                 "stop other work on this machine, or measure longer", "host", figures)


def share_met(view: RunView, spans_ns: NDArray[np.int64]) -> float:
    """Share of the requests that were due, and unanswered, within any of the spans (int64[m, 2], ns)."""
    rows = view.rows
    return _overlapping(rows.due_ns, np.where(rows.done_ns == ABSENT, rows.due_ns, rows.done_ns), spans_ns)


def _overlapping(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], pauses: NDArray[np.int64]) -> float:
    """Share of the stretches that overlap any of the pauses (int64[m, 2])."""
    if not len(pauses) or not len(start_ns):
        return 0.0
    ended = np.searchsorted(np.sort(pauses[:, 1]), start_ns, side="right")
    begun = np.searchsorted(np.sort(pauses[:, 0]), end_ns, side="right")
    return float(np.mean(begun > ended))


def _allowance_ms(view: RunView) -> float:
    """A tenth of the median of what was answered: a delay below it is no fault of the measurement."""
    return LAG_SHARE_OF_P50 * view.median_ms


def collector_pauses(view: RunView) -> Check:
    """A warning where Python's garbage collector stopped a generator for longer than the lag allowed at p99.9."""
    stopped_ms = max((float(each.get("gc_ms", 0.0)) for each in view.generators), default=0.0)
    passes = sum(int(each.get("gc_pauses", 0)) for each in view.generators)
    figures = {"passes": float(passes), "stopped_ms": stopped_ms, "allowed_ms": LAG_P999_MS}
    if stopped_ms > LAG_P999_MS:
        return Check("collector_pauses", "warning", f"the garbage collector stopped a generator for "
                     f"{stopped_ms:.1f} ms", "report it with the run's folder", "generator", figures)
    return Check("collector_pauses", "ok", "the garbage collector did not stop the generator", figures=figures)


def littles_law(view: RunView) -> Check:
    """Invalid where requests in flight, as the generators counted them, differ from what the rows' times add up to.

    L = λW holds for any whole run (Little 1961; Kim & Whitt 2013 for finite windows). The generators sum the number in
    flight over time while they send (∫L dt), the rows give Σ W of all that was sent, warm-up included; so a breach
    means rows lost or times damaged. A note where a generator counted nothing.
    """
    rows = view.rows
    backwards = int(np.count_nonzero(rows.done_ns[rows.whole] < rows.sent_ns[rows.whole]))
    if backwards:
        return Check("littles_law", "invalid", f"{backwards} answers came before their request",
                     "the clock or the merging of rows is broken", "harness", {"backwards": backwards})
    told = [float(each["in_flight_ns"]) for each in view.generators if "in_flight_ns" in each]
    if not told or len(told) < len(view.generators):
        return Check("littles_law", "note", "the generators did not count the requests in flight", blames="harness")
    counted, expected, allowed = sum(told) / 1e9, rows.flown_ns / 1e9, FLOWN_TOLERANCE * sum(told) / 1e9
    figures = {"counted_s": counted, "by_rows_s": expected, "allowed_difference_s": allowed}
    if abs(counted - expected) > allowed:
        return Check("littles_law", "invalid", f"requests were in flight for {counted:.2f} s together, and their rows "
                     f"add up to {expected:.2f} s", "rows were lost or their times damaged", "harness", figures)
    return Check("littles_law", "ok", f"requests were in flight for {counted:.2f} s together, as their rows say",
                 figures=figures)
