"""Did the setup answer, and rightly? Accusations against what was measured."""

import numpy as np

from harness.analyse.frames import RunView
from harness.analyse.model import Check

WRONG_SHARE = 0.01
CHURN_SHARE = 0.05
NO_KEEP_ALIVE_SHARE = 0.9
ERROR_SHARE = 0.01
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
    failed = int(np.count_nonzero(rows.failed & ~rows.unanswered))
    if not failed:
        return Check("errors", "ok", "every request was answered")
    share = failed / len(rows)
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(rows.errors.items(), key=lambda item: -item[1]))
    return Check("errors", "warning" if share > ERROR_SHARE else "note",
                 f"{failed} of {len(rows)} requests failed ({kinds})",
                 "look at server.log in the run's folder", "setup",
                 {"share": share, **{kind: float(n) for kind, n in rows.errors.items()}})


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


def connections(view: RunView) -> Check:
    """A warning where requests had to open connections: nearly all (keep-alive is off), or more than a twentieth beyond
    what requests in flight at once and failures explain (the server closes them after a while)."""
    rows = view.rows
    cold = int(np.count_nonzero(rows.cold))
    explained = int(rows.in_flight.max()) + 1 + int(np.count_nonzero(rows.failed))
    share, churn = cold / len(rows), (cold - explained) / len(rows)
    figures = {"cold_share": share, "unexplained_share": churn, "allowed": CHURN_SHARE}
    if churn > NO_KEEP_ALIVE_SHARE:
        return Check("connections", "warning", f"keep-alive is off: {share:.0%} of the requests opened a connection",
                     "turn keep-alive on", "setup", figures)
    if churn > CHURN_SHARE:
        return Check("connections", "warning", f"connections churn: {share:.0%} of the requests opened one",
                     "let a connection carry more requests, or live longer", "setup", figures)
    return Check("connections", "ok", f"{share:.1%} of the requests opened a connection", figures=figures)
