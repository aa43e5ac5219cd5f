"""Is a promise kept? pass, fail, or how much longer to look, for one setup under one load.

The answer holds at the stated confidence although requests queue behind each other and however often one looks: see
`harness/analyse/sequential.py` for the method and its sources, docs/certificate.md for its measured error rates. What a
certificate cannot know: a burst rarer than the run is long, and warm-up or drift, which its caller must have left out.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.analyse.model import Verdict
from harness.analyse.sequential import (
    FAIL_PRIOR,
    NONE,
    PASS_PRIOR,
    Evidence,
    extended,
    look,
    no_evidence,
)

CONFIDENCE = 0.95
ENOUGH_TO_CALL_IT_DRIFT = 10_000
EVERY_ANSWER = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Certificate:
    """One look at one promise.

    `log_e_pass` is the natural log of the evidence against "broken", `log_e_fail` of that against "kept"; a verdict
    stands from ln(1/(1 − confidence)) on. `effective_n` is how many independent requests the batches are worth.
    `more_s` is how many seconds more it takes at the pace so far: 0 with a verdict, inf where the pace leads nowhere.
    """

    verdict: Verdict
    confidence: float
    log_e_pass: float
    log_e_fail: float
    effective_n: float
    batches: int
    batch_length: int
    exceed_rate: float
    more_s: float
    reason: str


@dataclass(frozen=True)
class Certifier:
    """A promise and the evidence about it so far, for looks while a run goes on; `watched` makes the next one.

    A request breaks the promise when its latency is over `limit_ns`; `slow_ns` is where latency stops to matter for
    judging how long the setup remembers.
    """

    limit_ns: float
    slow_ns: float
    confidence: float
    evidence: Evidence
    over: int = 0
    first_due_ns: int = 0
    last_due_ns: int = 0


def latency_certifier(quantile: float, limit_ns: float, confidence: float = CONFIDENCE) -> Certifier:
    """For the promise that at most 1 − quantile of the requests take longer than `limit_ns`, failed ones included."""
    if not 0 < limit_ns < math.inf:
        raise ValueError(f"a limit must be a positive number of nanoseconds, not {limit_ns}")
    return Certifier(limit_ns, limit_ns, confidence, no_evidence(1 - quantile))


def error_certifier(allowed: float, slow_ns: float, confidence: float = CONFIDENCE) -> Certifier:
    """For the promise that at most the share `allowed` of requests fails.

    Failures come in bursts as latencies do, so latency tells how long the setup remembers before one has failed:
    `slow_ns` is a latency of the tail, such as the limit of the latency promise.
    """
    if not 0 < slow_ns < math.inf:
        raise ValueError(f"slow_ns must be a positive number of nanoseconds, not {slow_ns}")
    return Certifier(EVERY_ANSWER, slow_ns, confidence, no_evidence(allowed))


def watched(certifier: Certifier, latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64]) -> Certifier:
    """The certifier with the next requests: ns, in order of due time, infinite for a failed one.

    Every request due so far must be in, the slow ones first of all: see `known`. Raises ValueError for a latency that
    is not a number and for due times out of order. O(requests) per call.
    """
    if len(latency_ns) == 0:
        return certifier
    if np.isnan(latency_ns).any():
        raise ValueError("a latency is not a number; use known() to leave out requests that are still on their way")
    started = certifier.evidence.count > 0
    if np.any(np.diff(due_ns) < 0) or (started and due_ns[0] < certifier.last_due_ns):
        raise ValueError("requests must be given in order of due time")
    over = latency_ns > certifier.limit_ns
    companion = np.minimum(latency_ns / certifier.slow_ns, 1.0) ** 3
    return replace(
        certifier,
        evidence=extended(certifier.evidence, over[None, :], companion[None, :]),
        over=certifier.over + int(np.count_nonzero(over)),
        first_due_ns=certifier.first_due_ns if started else int(due_ns[0]),
        last_due_ns=int(due_ns[-1]),
    )


def known(
    latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64], now_ns: int, limit_ns: float
) -> NDArray[np.float64]:
    """The latencies up to the first request whose fate is open at `now_ns`; NaN in the input means not answered yet.

    One that is out for longer than the limit is as good as failed (infinite). Cutting there, instead of leaving out
    what is still on its way, keeps the slow ones in.
    """
    open_ns = np.isnan(latency_ns)
    late = open_ns & (now_ns - due_ns > limit_ns)
    undecided = np.flatnonzero(open_ns & ~late)
    end = int(undecided[0]) if len(undecided) else len(latency_ns)
    return np.where(late, math.inf, latency_ns)[:end]


def certificate(certifier: Certifier) -> Certificate:
    """What may be said now."""
    evidence, confidence = certifier.evidence, certifier.confidence
    seen = look(evidence)
    level, excess = int(seen.level[0]), float(seen.excess[0])
    log_pass, log_fail = float(seen.log_pass[0]), float(seen.log_fail[0])
    threshold = -math.log(1 - confidence)
    verdict: Verdict = "inconclusive"
    if max(log_pass, log_fail) >= threshold:
        verdict = "pass" if log_pass > log_fail else "fail"
    batches, length = int(seen.batches[0]), 0 if level == NONE else 1 << level
    more_s = 0.0 if verdict != "inconclusive" else seconds_to_go(certifier, level, threshold * excess)
    return Certificate(
        verdict, confidence, log_pass, log_fail, batches / excess, batches, length,
        certifier.over / evidence.count if evidence.count else math.nan, more_s,
        reason(certifier, verdict, batches, length, more_s),
    )


def seconds_to_go(certifier: Certifier, level: int, threshold: float) -> float:
    """Seconds until the bet that is nearest to `threshold` gets there at its pace so far; inf where none gets nearer.

    Before a batch length is found: as long again as until now, since what is looked for are longer batches.
    """
    evidence = certifier.evidence
    elapsed_s = (certifier.last_due_ns - certifier.first_due_ns) / 1e9
    if level == NONE:
        return elapsed_s if elapsed_s > 0 else math.inf
    capital = evidence.capital[level, :, 0]
    missing = threshold - np.log((*PASS_PRIOR, *FAIL_PRIOR)) - capital
    growing = capital > 0
    if not growing.any():
        return math.inf
    return float(np.maximum(missing[growing] / capital[growing], 0.0).min()) * elapsed_s


def reason(certifier: Certifier, verdict: Verdict, batches: int, length: int, more_s: float) -> str:
    """One sentence: what was seen against what may be, and what is missing."""
    count, allowed = certifier.evidence.count, certifier.evidence.allowed
    if not count:
        return "no request is in yet"
    what = "failed" if certifier.limit_ns == EVERY_ANSWER else f"took longer than {certifier.limit_ns / 1e6:g} ms"
    seen = f"{certifier.over} of {count} requests ({certifier.over / count:.3%}) {what}, where {allowed:.3g} may"
    if verdict != "inconclusive":
        return f"{seen}; {batches} batches of {length} are nearly independent"
    if not batches:
        if count >= ENOUGH_TO_CALL_IT_DRIFT:
            return f"{seen}; no batch is long enough to be independent of the next: latency drifts or a queue grows"
        return f"{seen}; too few to tell how long the setup remembers"
    if math.isinf(more_s):
        return f"{seen}; too near to the limit for any foreseeable length"
    return seen


def certify(
    latency_ns: NDArray[np.float64],
    due_ns: NDArray[np.int64],
    quantile: float,
    limit_ns: float,
    confidence: float = CONFIDENCE,
) -> Certificate:
    """Is the quantile of these latencies' law below the limit? Arrays and errors as for `watched`."""
    return certificate(watched(latency_certifier(quantile, limit_ns, confidence), latency_ns, due_ns))


def certify_errors(
    latency_ns: NDArray[np.float64],
    due_ns: NDArray[np.int64],
    allowed: float,
    slow_ns: float,
    confidence: float = CONFIDENCE,
) -> Certificate:
    """Is the share of failed (infinite) requests below `allowed`? Arrays and errors as for `watched`."""
    return certificate(watched(error_certifier(allowed, slow_ns, confidence), latency_ns, due_ns))
