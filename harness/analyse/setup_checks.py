"""Did the setup answer, rightly, and had it settled? Accusations against what was measured."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.analyse.frames import RunView
from harness.analyse.model import Check

WRONG_SHARE = 0.01
COLD_SHARE = 0.1
ERROR_SHARE = 0.01
SEGMENTS = 20
PER_SEGMENT = 20
SLOWER = 1.2
GROWN = 2.0
TREND_P = 1e-3
ANSWERS_TO_JUDGE = 20


def answers(view: RunView) -> Check:
    """Invalid where more than 1 % of the judged answers are wrong or of all answers empty; a warning below that, and
    where none was judged while all have the same length."""
    rows = view.rows
    good = ~rows.failed
    n, judged = int(np.count_nonzero(good)), int(np.count_nonzero(rows.judged))
    wrong = int(np.count_nonzero(rows.judged == 2))
    empty = int(np.count_nonzero(rows.bytes[good] == 0))
    figures: dict[str, float] = {"answers": n, "judged": judged, "wrong": wrong, "empty": empty}
    if wrong or empty:
        share = max(wrong / max(judged, 1), empty / max(n, 1))
        what = f"{wrong} of {judged} judged answers are wrong" if wrong else f"{empty} of {n} answers are empty"
        return Check("answers", "invalid" if share > WRONG_SHARE else "warning",
                     f"{what} although their status says success",
                     "run `tailrace check SETUP`: errors may be swallowed", "setup", figures)
    if n and not judged:
        same = n >= ANSWERS_TO_JUDGE and bool(np.all(rows.bytes[good] == rows.bytes[good][0]))
        return Check("answers", "warning" if same else "note",
                     "no answer was judged" + (" and all have the same length" if same else ""),
                     "raise the share of answers that are judged", "setup" if same else "harness", figures)
    return Check("answers", "ok", f"{judged} judged answers are all right", figures=figures)


def errors(view: RunView) -> Check:
    """A note where requests failed, a warning above 1 %; failures are results, not faults of the measurement."""
    rows = view.rows
    failed = int(np.count_nonzero(rows.failed))
    if not failed:
        return Check("errors", "ok", "every request was answered")
    share = failed / len(rows)
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(rows.errors.items(), key=lambda item: -item[1]))
    return Check("errors", "warning" if share > ERROR_SHARE else "note",
                 f"{failed} of {len(rows)} requests failed ({kinds})",
                 "look at server.log in the run's folder", "setup",
                 {"share": share, **{kind: float(n) for kind, n in rows.errors.items()}})


def connections(view: RunView) -> Check:
    """A warning where more than a tenth of the requests had to open a connection: keep-alive is off, or broken."""
    cold = float(np.mean(view.rows.cold)) if len(view.rows) else 0.0
    figures = {"cold_share": cold, "allowed": COLD_SHARE}
    if cold > COLD_SHARE:
        return Check("connections", "warning", f"{cold:.0%} of the requests opened a connection: the server does not "
                     "keep them alive", "turn keep-alive on, or raise its timeout", "setup", figures)
    return Check("connections", "ok", f"{cold:.1%} of the requests opened a connection", figures=figures)


def saturation(view: RunView) -> Check:
    """A note where latency grew through every stage of steady load: more was asked than can be served, and every
    quantile depends on how long one waits.

    Kendall's tau over the medians of 20 stretches (p < 0.001), the last fifth at least twice the first.
    """
    for index, stage in enumerate(view.stages):
        medians = _medians(view, index)
        if stage.arrivals == "closed" or stage.rate_end not in (None, stage.rate) or len(medians) < SEGMENTS:
            continue
        likelihood = _growing(medians)
        first, last = float(np.median(medians[:4])), float(np.median(medians[-4:]))
        if likelihood < TREND_P and last >= GROWN * first:
            return Check("saturation", "note", f"over-saturated: the median grew from {first:.1f} to "
                         f"{last:.1f} ms within the run, so a queue only grew",
                         "latency at this load depends on the run's length: compare goodput, or lower the load",
                         "setup", {"first_ms": first, "last_ms": last, "p_value": likelihood})
    return Check("saturation", "ok", "no queue grew without end")


def warmup(view: RunView) -> Check:
    """A warning where the first quarter of a steady run was slower than the rest: Mann–Whitney over the medians of 20
    stretches (p < 0.001), and slower by a fifth."""
    stage = view.stages[0]
    medians = _medians(view, 0)
    if len(view.stages) > 1 or stage.rate_end not in (None, stage.rate) or len(medians) < SEGMENTS:
        return Check("warmup", "ok", "too short or too varied to tell whether it had settled")
    early, rest = medians[:SEGMENTS // 4], medians[SEGMENTS // 4:]
    likelihood = _greater(early, rest)
    ratio = float(np.median(early) / np.median(rest)) if np.isfinite(np.median(rest)) else 0.0
    figures = {"ratio": ratio, "p_value": likelihood}
    if likelihood < TREND_P and ratio > SLOWER:
        return Check("warmup", "warning", f"not settled: the first quarter was {ratio:.2f} times as slow as the rest",
                     "raise warmup_s of the scenario", "setup", figures)
    return Check("warmup", "ok", "the first quarter was no slower than the rest", figures=figures)


def server_timing(view: RunView) -> Check:
    """A warning where the setup tells of more time in the server than the client waited for an answer."""
    rows = view.rows
    told = (rows.model_us >= 0) & ~rows.failed
    if not np.any(told):
        return Check("server_timing", "note", "the setup does not tell where its time goes", blames="setup")
    inside_ms = sum(np.maximum(part[told], 0) for part in (rows.queue_us, rows.wait_us, rows.model_us)) / 1e3
    outside_ms = (rows.done_ns - rows.sent_ns)[told] / 1e6
    over = float(np.mean(inside_ms > outside_ms * 1.01 + 0.1))
    if over > 0.01:
        return Check("server_timing", "warning", f"{over:.1%} of the answers tell of more time than they took",
                     "the setup's Server-Timing header is wrong: see docs/design.md", "setup", {"share": over})
    return Check("server_timing", "ok", "the times told by the server fit into those measured", figures={"share": over})


def _growing(values: NDArray[np.float64]) -> float:
    """p-value of Kendall's test against growth, normal approximation (Kendall 1970, §4)."""
    n = len(values)
    later, earlier = np.triu_indices(n, 1)[::-1]
    agreeing = float(np.sum(values[later] > values[earlier])) - float(np.sum(values[later] < values[earlier]))
    return float(special.ndtr(-agreeing / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)))


def _greater(these: NDArray[np.float64], those: NDArray[np.float64]) -> float:
    """p-value of Mann and Whitney's test that `these` are no greater than `those`, normal approximation (1947)."""
    m, n = len(these), len(those)
    above = float(np.sum(these[:, None] > those)) + 0.5 * float(np.sum(these[:, None] == those))
    return float(special.ndtr(-(above - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)))


def _medians(view: RunView, stage: int) -> NDArray[np.float64]:
    """Medians in ms of 20 stretches of equally many requests of a stage; none where a stretch has fewer than 20."""
    latency = view.rows.latency_ms[view.rows.stage == stage]
    each = len(latency) // SEGMENTS
    if each < PER_SEGMENT:
        return np.zeros(0)
    parts = latency[:each * SEGMENTS].reshape(SEGMENTS, each)
    return np.partition(parts, math.ceil(each / 2) - 1, axis=1)[:, math.ceil(each / 2) - 1].astype(np.float64)
