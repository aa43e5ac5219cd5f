"""What the rows of all repetitions say about each promise.

Pass only if the far end of the interval keeps the promise, fail only if the near end breaks it; between them, or
with too few effective requests, the verdict is inconclusive and says how much more measuring it would take.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from harness.analyse.figures import RunFigures
from harness.analyse.frames import NS_PER_MS
from harness.analyse.model import Check, Interval, PromiseVerdict, Verdict
from harness.analyse.quantiles import (
    CONFIDENCE,
    effective_size,
    mean_interval,
    needed_samples,
    quantile_interval,
)
from harness.analyse.words import UNLIKE, bounded, plain
from harness.catalog.slo import Promise

LONGEST_S = 24 * 3600.0
SEEN_BEYOND = 50


def judge(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    """The verdict on one promise over the valid repetitions of a cell."""
    return _JUDGES[promise.metric](promise, runs)


def beyond(promise: Promise, run: RunFigures) -> float:
    """Share of a run's requests slower than a latency promise's limit, or failed."""
    within = int(np.searchsorted(run.ordered_ms, promise.limit / NS_PER_MS, side="left"))
    return 1 - within / len(run.ordered_ms) if len(run.ordered_ms) else math.nan


def effective(run: RunFigures, threshold_ms: float) -> float:
    """How many independent requests say as much about whether the threshold is passed as this run's.

    Where fewer than 50 requests are beyond it, how they cluster cannot be seen, and the latency that 50 are beyond is
    used: lower thresholds are crossed for longer, so this errs to the careful side.
    """
    n = len(run.ordered_ms)
    enough = run.ordered_ms[max(n - SEEN_BEYOND, n // 2)] if n else np.float32(0)
    return effective_size(run.latency_ms >= min(np.float32(threshold_ms), enough))


def _latency(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    limit_ms = promise.limit / NS_PER_MS
    value = quantile_interval([run.ordered_ms for run in runs], promise.quantile)
    few = _too_few_runs(promise, runs, value, limit_ms)
    if few:
        return few
    enough = needed_samples(promise.quantile)
    size = sum(effective(run, value.value) for run in runs)
    measured_s = sum(run.scenario.duration_s for run in runs)
    if size < enough:
        more_s = measured_s * (enough / max(size, 1.0) - 1)
        share = _by_share(promise, runs, value, size)
        return share if share.verdict == "fail" else PromiseVerdict(
            promise.text, "inconclusive", value, limit_ms,
            f"only {size:.0f} effective requests where {enough} are needed: {_more(more_s)}")
    if math.isnan(value.high):
        return _by_share(promise, runs, value, size)
    verdict = _verdict(value, limit_ms)
    if verdict != "inconclusive":
        return PromiseVerdict(promise.text, verdict, value, limit_ms, f"{bounded(value)} ms")
    if value.high > UNLIKE * value.low:
        return PromiseVerdict(promise.text, verdict, value, limit_ms,
                              f"{plain(value.value)} ms, but its repetitions differ too much to bound it: find out why")
    gap, width = abs(math.log(value.value / limit_ms)), math.log(value.high / value.low) / 2
    return PromiseVerdict(promise.text, verdict, value, limit_ms, f"{bounded(value)} ms touches the limit: "
                          + _more(measured_s * ((width / max(gap, 1e-9)) ** 2 - 1)))


def _by_share(promise: Promise, runs: Sequence[RunFigures], value: Interval, size: float) -> PromiseVerdict:
    """Where failures make the quantile unbounded: is the share of requests beyond the limit below 1 − q?

    The same promise said the other way round, and always finite. The interval is the wider one of Student's over the
    repetitions and Clopper and Pearson's for `size` effective requests.
    """
    spread, allowed = mean_interval([beyond(promise, run) for run in runs]), 1 - promise.quantile
    low, high = _share_bounds(spread.value * size, size)
    share = Interval(spread.value, max(0.0, min(spread.low, low)), min(1.0, max(spread.high, high)))
    verdict = _verdict(share, allowed)
    return PromiseVerdict(promise.text, verdict, value, promise.limit / NS_PER_MS,
                          f"{share.value:.2%} of requests ({share.low:.2%} to {share.high:.2%}) are slower or failed, "
                          f"{allowed:.2%} may")


def _errors(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    """The share of failed requests; the upper bound counts what could not yet be seen."""
    spread = mean_interval([run.error_rate for run in runs])
    n = sum(len(run.ordered_ms) for run in runs)
    seen = round(spread.value * n)
    low, high = _share_bounds(seen, n)
    value = Interval(spread.value, max(0.0, min(low, spread.low)), max(high, spread.high))
    few = _too_few_runs(promise, runs, value, promise.limit)
    if few:
        return few
    verdict = _verdict(value, promise.limit)
    reason = f"{value.value:.3%} ({value.low:.3%} to {value.high:.3%}) of {n} requests"
    if verdict == "inconclusive" and not seen:
        wanted = math.log((1 - CONFIDENCE) / 2) / math.log1p(-promise.limit) if 0 < promise.limit < 1 else math.inf
        rate = n / sum(run.scenario.duration_s for run in runs)
        reason = f"no request of {n} failed, {wanted:.0f} are needed to promise that: {_more((wanted - n) / rate)}"
    return PromiseVerdict(promise.text, verdict, value, promise.limit, reason)


def _share_bounds(seen: float, n: float) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) for the share behind `seen` of `n`."""
    low = float(special.betaincinv(seen, n - seen + 1, (1 - CONFIDENCE) / 2)) if seen > 0 else 0.0
    high = float(special.betaincinv(seen + 1, n - seen, (1 + CONFIDENCE) / 2)) if seen < n else 1.0
    return low, high


def _goodput(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    value = mean_interval([run.goodput for run in runs])
    few = _too_few_runs(promise, runs, value, promise.limit)
    if few:
        return few
    verdict = _verdict(Interval(-value.value, -value.high, -value.low), -promise.limit)
    return PromiseVerdict(promise.text, verdict, value, promise.limit, f"{bounded(value)} good answers a second")


_JUDGES: dict[str, Callable[[Promise, Sequence[RunFigures]], PromiseVerdict]] = {
    "latency": _latency, "errors": _errors, "goodput": _goodput,
}


def _too_few_runs(promise: Promise, runs: Sequence[RunFigures], value: Interval, limit: float) -> PromiseVerdict | None:
    if len(runs) >= 2:
        return None
    return PromiseVerdict(promise.text, "inconclusive", value, limit,
                          "one repetition says nothing about the next: measure at least five")


def _verdict(value: Interval, limit: float) -> Verdict:
    """Where the interval lies against an upper limit."""
    if value.high <= limit:
        return "pass"
    return "fail" if value.low > limit else "inconclusive"


def _more(seconds: float) -> str:
    if not seconds < LONGEST_S:
        return "too close to tell within a day of measuring"
    return f"measure about {max(1, math.ceil(seconds)):,} s more"


def cell_verdict(promises: Sequence[PromiseVerdict], runs: Sequence[RunFigures], failed: int) -> tuple[Verdict, str]:
    """The cell's verdict and why: invalid beats all, then fail, inconclusive, pass. A run that was stopped because it
    asked for more than can be served is a fail.

    A measurement spoilt from outside (generator, host) is left out, and the rest judged, while more than half of at
    least two runs remain; one spoilt by the setup itself (wrong answers) spoils the cell.
    """
    spoilt = [run for run in runs if not run.valid]
    accused = [check for run in spoilt for check in run.checks if check.severity == "invalid"]
    valid = len(runs) - len(spoilt)
    if any(check.blames == "setup" for check in accused) or (spoilt and (valid < 2 or valid <= len(spoilt))):
        return "invalid", f"{len(spoilt)} of {len(runs)} runs are invalid: {_first(accused)}"
    over = [run.stopped for run in runs if run.stopped and run.valid]
    if over:
        return "fail", over[0]
    without = f" ({len(spoilt)} of {len(runs)} runs left out: {_first(accused)})" if spoilt else ""
    for verdict in ("fail", "inconclusive"):
        said = [f"{promise.text}: {promise.reason}" for promise in promises if promise.verdict == verdict]
        if said:
            return verdict, "; ".join(said) + without
    if failed:
        return "inconclusive", f"{failed} of {failed + len(runs)} runs failed{without}"
    if not promises:
        return "pass", f"nothing was promised{without}"
    return "pass", "; ".join(f"{promise.text}: {promise.reason}" for promise in promises) + without


def _first(accused: Sequence[Check]) -> str:
    return accused[0].message if accused else "they were cut short"
