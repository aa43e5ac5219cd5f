"""Whether a probe's load keeps the promises, by the certificate or because the setup drowned in it, and how far such
loads let a boundary go."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.analyse.certificate import certify, certify_errors
from harness.analyse.model import Verdict
from harness.catalog.slo import Promise
from harness.decide.capacity_boundary import Boundary, excess
from harness.decide.twin_seen import Seen

FALLEN = 4.0  # by how many deviations of a count answers fell behind
OVERLOADED = 0.5  # share of requests that broke a promise
CLEARLY = 2.0  # times as many requests as may: less happens by chance where the promise is just kept


def verdict_of(seen: Seen, promises: Sequence[Promise]) -> Verdict:
    """What the certificate says of all promises over the counted requests: fail if it says so of any, or where there is
    no steady state to certify: fewer are answered than come, and most break the promise."""
    if overloaded(seen, promises):
        return "fail"
    latency_ns, due_ns = seen.latency_s[seen.counted] * 1e9, np.rint(seen.due_s[seen.counted] * 1e9).astype(np.int64)
    slow_ns = next((promise.limit for promise in promises if promise.metric == "latency"), 1e9)
    verdicts = [certify(latency_ns, due_ns, promise.quantile, promise.limit).verdict if promise.metric == "latency"
                else certify_errors(latency_ns, due_ns, promise.limit, slow_ns).verdict for promise in promises]
    if "fail" in verdicts:
        return "fail"
    return "pass" if all(verdict == "pass" for verdict in verdicts) else "inconclusive"


def overloaded(seen: Seen, promises: Sequence[Promise]) -> bool:
    """Whether answers fell behind by more than chance in the number that came (a Poisson count's deviation), while most
    of the counted requests broke a promise."""
    if not seen.saturated or not most_broke(seen, promises):
        return False
    came = seen.rate * float(np.ptp(seen.due_s))
    behind = (1 - seen.throughput() / seen.rate) * math.sqrt(came)
    return behind > FALLEN


def drowned(seen: Seen, promises: Sequence[Promise]) -> bool:
    """Whether the setup did not carry the load: it answered less than was offered, or most requests broke a promise."""
    return seen.saturated or most_broke(seen, promises)


def most_broke(seen: Seen, promises: Sequence[Promise]) -> bool:
    """Whether most of the counted requests broke a promise."""
    latency_s = seen.latency_s[seen.counted]
    return any(float(np.mean(latency_s >= each.limit / 1e9 if each.metric == "latency" else np.isinf(latency_s)))
               > OVERLOADED for each in promises) if len(latency_s) else False


def limited(found: Boundary, loads: Sequence[Seen], promises: Sequence[Promise]) -> Boundary:
    """The boundary, no higher than the lowest load that broke a promise CLEARLY, of those above all that kept them, or
    than what that one still answered where it drowned the setup: it may carry more for a while, until the first hiccup
    from which it does not recover."""
    broken = [(seen, max(excess(seen.latency_s[seen.counted], promises).values())) for seen in loads]
    kept = max((seen.rate for seen, share in broken if share <= 0), default=0.0)
    above = [seen.met if drowned(seen, promises) else seen.rate
             for seen, share in broken if share > math.log(CLEARLY) and seen.rate > kept]
    return replace(found, rate=min(found.rate, max(kept, min(above)))) if above else found
