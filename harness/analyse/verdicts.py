"""What the rows of all repetitions say about each promise.

Pass only if the far end of the interval keeps the promise, fail only if the near end breaks it; between them, or where
the interval abstains, the verdict is inconclusive and says how much more measuring it would take. A single run, and
runs that were stopped by what was seen in them, are judged by their certificates, which allow for that.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from harness.analyse.certificate import Certificate
from harness.analyse.failures import (
    doubtful,
    either,
    failed_share,
    share_bounds,
    unseen,
    worth_of_failures,
    wrong_share,
)
from harness.analyse.figures import RunFigures
from harness.analyse.frames import NS_PER_MS
from harness.analyse.intervals import quantile_interval, worth
from harness.analyse.looking import certified, together
from harness.analyse.model import Check, Interval, PromiseVerdict, Verdict
from harness.analyse.quantiles import CONFIDENCE, mean_interval, pooled_quantile
from harness.analyse.words import UNLIKE, bounded, more, plain
from harness.catalog.slo import Promise


def judge_all(promises: Sequence[Promise], runs: Sequence[RunFigures]) -> tuple[PromiseVerdict, ...]:
    """The verdicts on a cell's promises over its valid repetitions, as far as they can be told without a baseline."""
    looked = len(runs) == 1 or any(run.stopped_by_looking for run in runs)
    evidence = [certified(run) for run in runs] if looked else []
    return tuple(judge(promise, runs, evidence) for promise in promises)


def judge(promise: Promise, runs: Sequence[RunFigures],
          evidence: Sequence[Mapping[str, Certificate]] = ()) -> PromiseVerdict:
    """The verdict on one promise over the valid repetitions of a cell; by the runs' certificates where given."""
    if promise.relative:
        none = Interval(math.nan, math.nan, math.nan)
        return PromiseVerdict(promise.text, "inconclusive", none, promise.limit, "there is no baseline beside it")
    found = [said[promise.text] for said in evidence if promise.text in said]
    if not evidence or len(found) < len(evidence):
        return _JUDGES[promise.metric](promise, runs)
    limit = promise.limit / NS_PER_MS if promise.metric == "latency" else promise.limit
    verdict, reason, more_s = together(found)
    said = PromiseVerdict(promise.text, verdict, _seen(promise, runs), limit, reason, more_s, found[0].confidence)
    return said if promise.metric == "latency" or verdict == "fail" else _with_wrong(promise, runs, said)


def _seen(promise: Promise, runs: Sequence[RunFigures]) -> Interval:
    """The promised figure as measured, with its interval over repetitions where there are several."""
    if promise.metric == "latency":
        return quantile_interval(runs, promise.quantile)
    return mean_interval([run.error_rate if promise.metric == "errors" else run.goodput for run in runs])


def beyond(promise: Promise, run: RunFigures) -> float:
    """Share of a run's requests slower than a latency promise's limit, or failed."""
    within = int(np.searchsorted(run.ordered_ms, promise.limit / NS_PER_MS, side="left"))
    return 1 - within / len(run.ordered_ms) if len(run.ordered_ms) else math.nan


def _latency(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    limit_ms = promise.limit / NS_PER_MS
    value = quantile_interval(runs, promise.quantile)
    few = _too_few_runs(promise, runs, value, limit_ms)
    if few:
        return few
    if not math.isfinite(value.high):
        return _unbounded(promise, runs, value)
    said = PromiseVerdict(promise.text, _verdict(value, limit_ms), value, limit_ms, f"{bounded(value)} ms", 0.0)
    if said.verdict == "inconclusive" and value.high > UNLIKE * value.low:
        why = f"{plain(value.value)} ms, but its repetitions differ too much to bound it: find out why"
        return replace(said, reason=why, more_s=math.inf)
    return _open(said, runs, math.log(value.value / limit_ms), math.log(value.high / value.low) / 2)


def _unbounded(promise: Promise, runs: Sequence[RunFigures], value: Interval) -> PromiseVerdict:
    """Where the quantile's interval abstains: the runs' certificates may tell still, which look at the limit and not at
    the quantile; or the share of slower requests that it is broken, or, where failures make the quantile infinite, that
    it is kept."""
    found = [said[promise.text] for run in runs if promise.text in (said := certified(run))]
    if len(found) == len(runs):
        verdict, reason, _ = together(found)
        if verdict != "inconclusive":
            return PromiseVerdict(promise.text, verdict, value, promise.limit / NS_PER_MS, reason, 0.0,
                                  found[0].confidence)
    near = pooled_quantile([run.ordered_ms[np.isfinite(run.ordered_ms)] for run in runs], promise.quantile)
    size, needed = worth(runs, promise.quantile, near)
    # Repetitions are independent whatever each remembers, and their shares vary no more than zeros and ones of the same
    # mean would: one request each, at least.
    share = _by_share(promise, runs, value, max(size, len(runs)))
    if share.verdict == "fail" or (not math.isfinite(value.value) and (size >= needed or share.verdict != "pass")):
        return share
    if not size:
        return PromiseVerdict(promise.text, "inconclusive", value, promise.limit / NS_PER_MS,
                              f"{more(_measured_s(runs))} or longer repetitions: too short to tell how long the setup "
                              "remembers a burst", _measured_s(runs))
    more_s = max(_measured_s(runs) * (needed / size - 1), 1.0)
    return PromiseVerdict(promise.text, "inconclusive", value, promise.limit / NS_PER_MS,
                          f"{more(more_s)}: {size:.0f} effective requests where {needed:.0f} are needed", more_s)


def _by_share(promise: Promise, runs: Sequence[RunFigures], value: Interval, size: float) -> PromiseVerdict:
    """Is the share of requests beyond the limit below 1 − q?

    The same promise said the other way round, and always finite. The interval is the wider one of Student's over the
    repetitions and Clopper and Pearson's for `size` effective requests.
    """
    spread, allowed = mean_interval([beyond(promise, run) for run in runs]), 1 - promise.quantile
    low, high = share_bounds(spread.value * size, size)
    share = Interval(spread.value, max(0.0, min(spread.low, low)), min(1.0, max(spread.high, high)))
    verdict = _verdict(share, allowed)
    reason = (f"{share.value:.2%} of requests ({share.low:.2%} to {share.high:.2%}) are slower or failed, "
              f"{allowed:.2%} may")
    said = PromiseVerdict(promise.text, verdict, value, promise.limit / NS_PER_MS, reason, 0.0)
    return _open(said, runs, share.value - allowed, (share.high - share.low) / 2)


def _with_wrong(promise: Promise, runs: Sequence[RunFigures], said: PromiseVerdict) -> PromiseVerdict:
    """A certificate's verdict, which knows failures and slowness only, beside what judged answers say: with a wrong one
    among them no pass, and a fail where wrong answers alone break the promise."""
    wrong = wrong_share(runs)
    if not wrong.value:
        return replace(said, reason=f"{said.reason}; {unseen(runs)}") if said.verdict == "pass" else said
    if promise.metric == "errors":
        broken = wrong.low > promise.limit
    else:
        broken = runs[0].offered_rate * (1 - wrong.low) < promise.limit
    if broken:
        return replace(said, verdict="fail", reason=doubtful(runs), more_s=0.0)
    return replace(said, verdict="inconclusive", more_s=math.inf,
                   reason=f"{doubtful(runs)}: too few are judged to promise that; find out which are wrong")


def _errors(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    """The share of failed requests and of wrong answers; the upper bound counts what could not yet be seen."""
    value = either(failed_share(runs), wrong_share(runs))
    few = _too_few_runs(promise, runs, value, promise.limit)
    if few:
        return few
    n, verdict = sum(len(run.ordered_ms) for run in runs), _verdict(value, promise.limit)
    said = PromiseVerdict(promise.text, verdict, value, promise.limit,
                          f"{value.value:.3%} ({value.low:.3%} to {value.high:.3%}) of {n} requests", 0.0)
    if not value.value and verdict != "fail":
        return _none_failed(promise, runs, n, said)
    said = replace(said, reason=f"{said.reason}, {doubtful(runs)}") if any(run.wrong for run in runs) else said
    return _open(said, runs, value.value - promise.limit, (value.high - value.low) / 2)


def _none_failed(promise: Promise, runs: Sequence[RunFigures], n: int, said: PromiseVerdict) -> PromiseVerdict:
    """The verdict where nothing failed: for how long bursts it holds, or how many more requests it takes."""
    wanted, size = math.log((1 - CONFIDENCE) / 2) / math.log1p(-promise.limit), worth_of_failures(runs)
    if said.verdict == "pass":
        return replace(said, reason=f"no request of {n} failed, which promises it while failures come in bursts of at "
                       f"most {max(int(n / wanted), 1)}; {unseen(runs)}")
    more_s = max(_measured_s(runs) * (wanted / size - 1), 1.0)
    worth_ = "" if round(size) == n else f" (worth {size:.0f} independent ones)"
    return replace(said, more_s=more_s, reason=f"{more(more_s)}: no request of {n}{worth_} failed, {wanted:.0f} are "
                   "needed to promise that")


def _goodput(promise: Promise, runs: Sequence[RunFigures]) -> PromiseVerdict:
    """Good answers a second over the repetitions, and as many fewer as wrong ones may be."""
    value, wrong = mean_interval([run.goodput for run in runs]), wrong_share(runs)
    right = value.value / max(1 - wrong.value, 1e-9)
    value = Interval(value.value, min(value.low, right * (1 - wrong.high)), max(value.high, right * (1 - wrong.low)))
    few = _too_few_runs(promise, runs, value, promise.limit)
    if few:
        return few
    verdict = _verdict(Interval(-value.value, -value.high, -value.low), -promise.limit)
    said = PromiseVerdict(promise.text, verdict, value, promise.limit, f"{bounded(value)} good answers a second", 0.0)
    return _open(said, runs, value.value - promise.limit, (value.high - value.low) / 2)


def _open(said: PromiseVerdict, runs: Sequence[RunFigures], gap: float, half: float) -> PromiseVerdict:
    """The verdict; an inconclusive one says first how many more seconds it takes until an interval of half that width,
    shrinking with the root of the time, is as narrow as the gap to the limit."""
    if said.verdict != "inconclusive":
        return said
    more_s = _more_s(runs, gap, half)
    return replace(said, reason=f"{more(more_s)}: {said.reason}", more_s=more_s)


def _more_s(runs: Sequence[RunFigures], gap: float, half: float) -> float:
    return max(_measured_s(runs) * ((half / max(abs(gap), 1e-12)) ** 2 - 1), 1.0)


def _measured_s(runs: Sequence[RunFigures]) -> float:
    return sum(run.scenario.duration_s for run in runs)


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


class Accused(Protocol):
    """A run as far as a cell's verdict looks at it."""

    @property
    def valid(self) -> bool: ...

    @property
    def checks(self) -> tuple[Check, ...]: ...

    @property
    def stopped(self) -> str: ...


def cell_verdict(promises: Sequence[PromiseVerdict], runs: Sequence[Accused], failed: int) -> tuple[Verdict, str]:
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
    """The first accusation, and whose doing it is."""
    if not accused:
        return "they were cut short"
    whose = f" (the {accused[0].blames}'s doing)" if accused[0].blames else ""
    return f"{accused[0].message}{whose}"
