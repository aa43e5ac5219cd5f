"""The certificates of all promises to one run: live, look by look, and again from its rows on reading.

What a promise becomes: a latency promise is a share of requests over its limit; so is a goodput of g per second where
λ are offered, of which 1 − g/λ may be late or failed; an error rate is the share that failed. Promises against a
baseline are no certificate's business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.analyse.certificate import (
    CONFIDENCE,
    Certificate,
    Certifier,
    certificate,
    error_certifier,
    known,
    latency_certifier,
    watched,
)
from harness.analyse.figures import RunFigures, good_ms
from harness.analyse.frames import NS_PER_MS
from harness.analyse.model import Verdict
from harness.analyse.words import more
from harness.catalog.scenario import Scenario
from harness.catalog.slo import Promise

FIRST = 512  # where no latency is promised, the tail of so many first requests says which latencies matter


@dataclass(frozen=True)
class Looking:
    """How far the looks at one run's promises are; a certifier is None until the first requests have told what is slow.

    `rate` is requests offered per second, `good_ns` the latency within which an answer is good (infinite: any);
    `requests` is how many were looked at, `now_s` the seconds of load until the last look.
    """

    promises: tuple[Promise, ...]
    certifiers: tuple[Certifier | None, ...]
    rate: float
    good_ns: float
    confidence: float
    requests: int = 0
    now_s: float = 0.0


def why_not(scenario: Scenario) -> str:
    """Why no certificate can be had for runs of a resolved scenario; "" where one can."""
    stage = scenario.stage[0]
    if scenario.closed or scenario.locustfile:
        return "its load is a closed loop, which hides queueing"
    if len(scenario.stage) > 1 or stage.rate_end not in (None, stage.rate):
        return "its load changes while it runs, and a certificate speaks of one load"
    promises = [promise for promise in scenario.promises if not promise.relative]
    if not promises:
        return "it promises nothing that one run can keep or break"
    most = max((promise.limit for promise in promises if promise.metric == "goodput"), default=0.0)
    if stage.rate is not None and most >= stage.rate:
        return f"it promises a goodput of {most:g}/s and offers only {stage.rate:g}/s"
    return ""


def begin(scenario: Scenario, confidence: float = CONFIDENCE) -> Looking:
    """No request seen yet. The scenario is resolved and has a certificate (`why_not`)."""
    promises = tuple(promise for promise in scenario.promises if not promise.relative)
    good_ns = good_ms(scenario.promises) * NS_PER_MS
    looking = Looking(promises, (None,) * len(promises), scenario.stage[0].rate or 0.0, good_ns, confidence)
    slow_ns = good_ns if math.isfinite(good_ns) else None
    return replace(looking, certifiers=tuple(_certifier(looking, promise, slow_ns) for promise in promises))


def look(looking: Looking, latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64], now_ns: int) -> Looking:
    """After one more look at the counted requests due so far, from the first, in order of due time: latencies in ns,
    infinite for a failed one, NaN for one whose end is not known at `now_ns`. All promises see the same requests."""
    looking = replace(looking, now_s=now_ns / 1e9)
    begun = looking.requests
    fresh = known(latency_ns[begun:], due_ns[begun:], now_ns, _patience_ns(looking))
    if None in looking.certifiers:
        if len(fresh) < FIRST:
            return looking
        slow_ns = _slow_ns(fresh[:FIRST])
        looking = replace(looking, certifiers=tuple(
            certifier or _certifier(looking, promise, slow_ns)
            for certifier, promise in zip(looking.certifiers, looking.promises, strict=True)))
    return replace(looking, requests=begun + len(fresh), certifiers=tuple(
        certifier and watched(certifier, fresh, due_ns[begun:begun + len(fresh)]) for certifier in looking.certifiers))


def standing(looking: Looking) -> str:
    """What may be said now, `p(99) < 100ms: about 12 more seconds; errors < 1%: pass`."""
    said = ((text, one.verdict if one.verdict != "inconclusive" else
             more(one.more_s) if math.isfinite(one.more_s) else "open") for text, one in certificates(looking).items())
    return "; ".join(f"{text}: {word}" for text, word in said)


def decided(looking: Looking) -> str:
    """What stands, `p(99) < 100ms: pass; errors < 1%: pass`, once every promise has its verdict; "" before."""
    said = certificates(looking)
    if len(said) < len(looking.promises) or any(one.verdict == "inconclusive" for one in said.values()):
        return ""
    return "; ".join(f"{text}: {one.verdict}" for text, one in said.items())


def certainly_broken(looking: Looking) -> str:
    """Which promise with `abortOnFail` is broken for certain, and may end the load already; "" for none."""
    said = certificates(looking)
    return next((f"{promise.text}: fail" for promise in looking.promises
                 if promise.abort and looking.now_s >= promise.abort_after_s
                 and promise.text in said and said[promise.text].verdict == "fail"), "")


def certificates(looking: Looking) -> dict[str, Certificate]:
    """What may be said now of every promise, by its text; without those that are not begun."""
    return {promise.text: certificate(certifier)
            for promise, certifier in zip(looking.promises, looking.certifiers, strict=True) if certifier is not None}


def certified(run: RunFigures, confidence: float = CONFIDENCE) -> dict[str, Certificate]:
    """The certificates that a run's rows give on reading; none where there can be none.

    Of a run that was stopped by looks, which saw its start as well, all requests: so the certificate is the one that
    stopped it. Of others, those after the warm-up that was found. Due times are taken as evenly spaced: they only serve
    to tell how long it takes.
    """
    latency_ms = run.uncut_ms if run.stopped_by_looking else run.latency_ms
    if why_not(run.scenario) or not len(latency_ms):
        return {}
    latency_ns = latency_ms.astype(np.float64) * NS_PER_MS
    due_ns = np.linspace(0, run.scenario.duration_s * 1e9, len(latency_ns), dtype=np.int64)
    return certificates(look(begin(run.scenario, confidence), latency_ns, due_ns, int(due_ns[-1])))


def together(found: Sequence[Certificate]) -> tuple[Verdict, str, float]:
    """What independent runs say of one promise: the verdict, why, and about how many more seconds it takes.

    Their evidence multiplies, and may not be contradictory: a product of e-values is one, whenever each run was stopped
    (Vovk & Wang 2021, Ann. Statist. 49, §4). A run whose batch length is not found yet has not bet; for a pass, none
    may lean to the other side.
    """
    confidence, most = found[0].confidence, max(found, key=lambda one: one.effective_n)
    sure = f"{confidence:.0%} confidence"
    if {"pass", "fail"} <= {one.verdict for one in found}:
        return "inconclusive", f"some runs keep it and some break it, each at {sure}: find out what differs", math.inf
    passes, fails = (sum(log for log in logs if math.isfinite(log)) for logs in
                     ([one.log_e_pass for one in found], [one.log_e_fail for one in found]))
    said = f"{most.reason}, {sure}" if len(found) == 1 else f"{len(found)} runs together, {sure}; in one, {most.reason}"
    lean = all(one.log_e_pass >= one.log_e_fail for one in found)
    if max(passes, fails) >= -math.log(1 - confidence) and (lean or fails > passes):
        return "pass" if passes > fails else "fail", said, 0.0
    more_s = min(one.more_s for one in found)
    return "inconclusive", f"{more(more_s)}: {said}", more_s


def _certifier(looking: Looking, promise: Promise, slow_ns: float | None) -> Certifier | None:
    """The promise's certifier; None where it takes a slow latency and none is known yet."""
    if promise.metric == "latency":
        return latency_certifier(promise.quantile, promise.limit, looking.confidence)
    if promise.metric == "goodput" and math.isfinite(looking.good_ns):
        return latency_certifier(promise.limit / looking.rate, looking.good_ns, looking.confidence)
    if slow_ns is None:
        return None
    allowed = promise.limit if promise.metric == "errors" else 1 - promise.limit / looking.rate
    return error_certifier(allowed, slow_ns, looking.confidence)


def _slow_ns(first_ns: NDArray[np.float64]) -> float:
    answered = first_ns[np.isfinite(first_ns) & (first_ns > 0)]
    return float(np.quantile(answered, 0.99)) if len(answered) else NS_PER_MS


def _patience_ns(looking: Looking) -> float:
    """After how long without an answer every promise knows what to make of a request; infinite where it must end."""
    return max((certifier.limit_ns if certifier else math.inf for certifier in looking.certifiers), default=math.inf)
