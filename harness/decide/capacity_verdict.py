"""Whether a probe's load keeps the promises: by the certificate, or because the setup drowned in it."""

import math
from collections.abc import Sequence

import numpy as np

from harness.analyse.certificate import certify, certify_errors
from harness.analyse.model import Verdict
from harness.catalog.slo import Promise
from harness.decide.twin_seen import Seen

FALLEN = 4.0  # by how many deviations of a count answers fell behind
OVERLOADED = 0.5  # share of requests that broke a promise


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
    if not seen.saturated or not seen.counted.any():
        return False
    came = seen.rate * float(np.ptp(seen.due_s))
    behind = (1 - seen.throughput() / seen.rate) * math.sqrt(came)
    broken = [float(np.mean(seen.latency_s[seen.counted] >= each.limit / 1e9 if each.metric == "latency"
                            else np.isinf(seen.latency_s[seen.counted]))) for each in promises]
    return behind > FALLEN and max(broken) > OVERLOADED
