"""Predictions that know how far off they usually are, and where they say nothing.

The error is held out: each recorded load is predicted by a twin fitted to the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin import Clients, Floats, Played, Structure, Twin, lone_s, play, poisson, requests_for
from harness.decide.twin_fit import fitted
from harness.decide.twin_seen import Seen, quantiles_s

# rate, about how many, seed -> (due times, share of the first that settle and are not told)
Arrivals = Callable[[float, int, int], tuple[Floats, float]]

LEAST_RUNS = 3
LEAST_ANSWERS = 200
MOST_ERROR = 0.2
SLACK = 1.02
MOST_BUSY = 0.97
LEAST_PLAYED = 40_000
MOST_HELD_OUT = 8
PLAYS = 5
NEAR = 1.1
WINDOWS_S = (0.01, 0.1, 1.0, 10.0)
RISING = 1.1  # a lone request that takes so many times as long as at twice the load would take longer still at less
CROWDED = 1.25  # of the company that was measured: what chance does to a quantile of counts


@dataclass(frozen=True)
class Range:
    """What the fit has seen: offered loads of one machine, the largest batch, the share of time workers were busy."""

    rate_low: float
    rate_high: float
    largest_batch: int
    busy_high: float
    workers: int


class Held(NamedTuple):
    """A load held out: |log of predicted ÷ measured p99|, and the `company` its requests were in."""

    error: float
    company: Floats


@dataclass(frozen=True)
class Fitted:
    """A twin with its range and its held-out error: the median and the greatest of |log p99 ratio| (NaN where nothing
    could be held out) over the loads `held` out."""

    twin: Twin
    range: Range
    error: float
    worst: float
    run_ids: tuple[str, ...]
    held: tuple[Held, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is known of how far off a twin is: the error of its p99, where runs like it were held out, and in `basis`
    which ("" for the loads of the fit). Else the error is NaN, and `unlike` says in what it differs from all of them.
    `largest_batch` is the largest that those runs built beyond the fit's."""

    error: float
    unlike: str = ""
    basis: str = ""
    largest_batch: int = 0


@dataclass(frozen=True)
class Prediction:
    """Latencies in ms under a load; `error` is the held-out relative error of the p99; `abstains` says why nothing
    should be concluded from it ("" where it may). `good` is the share of requests answered within the limit asked.
    `unlike` says in what it differs from all runs held out, so that `error` is NaN, and `basis` which runs gave the
    error where they are not the loads of the fit ("" for neither)."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    good: float
    busy: float
    error: float
    abstains: str
    unlike: str = ""
    basis: str = ""


def learned(runs: Sequence[Seen], hint: Structure, clients: Clients) -> Fitted:
    """The twin of all runs with what is known about its errors. Raises ValueError where no run holds an answer."""
    twin = fitted(runs, hint, clients)
    held = held_out(runs, hint, clients)
    errors = [each.error for each in held]
    busy = [play(twin, run.due_s, 0).busy for run in runs]
    return Fitted(
        twin, Range(min(run.rate for run in runs), max(run.rate for run in runs),
                    max(1, *(int(run.batch.max(initial=0)) for run in runs)), max(busy),
                    hint.workers * hint.replicas),
        float(np.median(errors)) if errors else math.nan, max(errors, default=math.nan),
        tuple(run.run_id for run in runs), tuple(held))


def held_out(runs: Sequence[Seen], hint: Structure, clients: Clients) -> list[Held]:
    """Each load that was not saturated, predicted by a twin fitted to the others; each run where all met one load. One
    that is too light for the others to tell counts only where there is no other."""
    found: list[Held] = []
    light: list[Held] = []
    every = loads(runs)
    usable = [load for load in (every if len(every) > 1 else [[run] for run in runs]) if tells_p99(load)]
    for load in usable[:: max(1, math.ceil(len(usable) / MOST_HELD_OUT))]:
        others = [run for run in runs if all(run is not each for each in load)]
        if len(others) < LEAST_RUNS - 1:
            continue
        twin = fitted(others, hint, clients)
        error = p99_error(twin, load)
        if math.isfinite(error):
            crowds = [company(run.due_s, run.counted) for run in load if run.counted.any()]
            told = not too_light(twin, min(run.rate for run in others), max(run.rate for run in load))
            (found if told else light).append(Held(error, np.max(crowds, axis=0)))
    return found or light


def tells_p99(load: Sequence[Seen]) -> bool:
    """Whether a load was carried, and sent long enough to hold a prediction of its p99 against it."""
    return not any(run.saturated for run in load) and sum(run.counted.sum() for run in load) >= LEAST_ANSWERS


def p99_error(twin: Twin, load: Sequence[Seen]) -> float:
    """|log of predicted ÷ measured p99| of a load; NaN where one of them has no end."""
    said, measured = p99_of(twin, load), seen_p99(load)
    return abs(math.log(said / measured)) if math.isfinite(measured) and math.isfinite(said) else math.nan


def company(due_s: Floats, told: NDArray[np.bool_] | slice) -> Floats:
    """How crowded arrivals are, float[WINDOWS_S]: the 99 % quantile, over the requests told, of how many were due in
    the window that ends with one, itself included. An empirical arrival envelope (Cruz 1991, A calculus for network
    delay I) that grows neither with the length of a schedule nor with one odd burst in it. In a window longer than
    the schedule it is taken to go on as it went."""
    nth, span_s = np.arange(1, len(due_s) + 1), float(due_s[-1] - due_s[0])
    return np.array([np.quantile((nth - np.searchsorted(due_s, due_s - window_s))[told], 0.99)
                     if window_s <= span_s else len(due_s) * window_s / max(span_s, WINDOWS_S[0])
                     for window_s in WINDOWS_S])


def loads(runs: Sequence[Seen]) -> list[list[Seen]]:
    """The runs by the load asked for (offered, where that is not known), lightest first; loads nearer than NEAR are
    one."""
    found: list[list[Seen]] = []
    for run in sorted(runs, key=_asked):
        if found and _asked(run) <= NEAR * _asked(found[-1][0]):
            found[-1].append(run)
        else:
            found.append([run])
    return found


def _asked(run: Seen) -> float:
    return run.asked or run.rate


def seen_p99(runs: Sequence[Seen]) -> float:
    """The p99 of a run of one load, in the median over its repetitions, in seconds: what a host does to one of them is
    not the setup's."""
    return float(np.median([_p99(run.latency_s[run.counted]) for run in runs if run.counted.any()]))


def p99_of(twin: Twin, runs: Sequence[Seen], seed: int = 0) -> float:
    """The same that the twin gives the runs' own due times and payloads, over PLAYS draws of the rest."""
    return float(np.median([_p99(play(twin, run.due_s, seed + i, lengths=run.lengths).latency_s[run.counted])
                            for run in runs if run.counted.any() for i in range(PLAYS)]))


def _p99(latency_s: Floats) -> float:
    return float(quantiles_s(latency_s, (0.99,))[0])


def predicted(known: Fitted, twin: Twin, rate: float, limit_s: float = math.inf, seed: int = 0,
              arrivals: Arrivals = poisson, evidence: Evidence | None = None) -> Prediction:
    """The twin (known.twin or a changed one) under such arrivals at `rate`; a large fleet is played in full. How far
    off it is, `evidence` says where it differs from the runs held out in more than the load and the arrivals."""
    due_s, settling = arrivals(rate, requests_for(twin, LEAST_PLAYED), seed)
    seen = play(twin, due_s, seed, settling)
    p50, p95, p99 = quantiles_s(seen.latency_s, (0.5, 0.95, 0.99)) * 1e3
    evidence = evidence or Evidence(known.error)
    if arrivals is not poisson and not evidence.unlike:
        crowd = company(due_s, slice(int(settling * len(due_s)), None)) / twin.structure.machines
        evidence = as_crowded(known, crowd, evidence)
    return Prediction(rate, float(p50), float(p95), float(p99), 1 - seen.beyond(limit_s), seen.busy, evidence.error,
                      why_not(known, twin, seen, rate, evidence), evidence.unlike, evidence.basis)


def as_crowded(known: Fitted, crowd: Floats, evidence: Evidence) -> Evidence:
    """The evidence under arrivals of such `company` for each machine: the error is no less than that of the loads held
    out that were as crowded in every window."""
    beyond = [crowd / (1 + CROWDED * each.company) for each in known.held]
    errors = [each.error for each, ratio in zip(known.held, beyond, strict=True) if ratio.max() <= 1]
    if errors:
        return replace(evidence, error=max(evidence.error, float(np.median(errors))))
    if not beyond:
        return evidence
    nearest = min(range(len(beyond)), key=lambda i: float(beyond[i].max()))
    window = int(np.argmax(beyond[nearest]))
    return Evidence(math.nan, f"up to {crowd[window]:.0f} requests would come within {WINDOWS_S[window]:g} s to each "
                    f"machine, and no load held out was as crowded ({known.held[nearest].company[window]:.0f} in the "
                    "nearest)")


def too_light(twin: Twin, lightest: float, share: float) -> bool:
    """Whether a machine that meets `share` requests a second meets too few to know what one takes: half of the lightest
    load measured, or fewer at all than that where lone requests got slower towards it."""
    rising = lone_s(twin.service, lightest) > RISING * lone_s(twin.service, 2 * lightest)
    return share < lightest / (NEAR if rising else 2)


def why_not(known: Fitted, twin: Twin, seen: Played, rate: float, evidence: Evidence | None = None) -> str:
    """Why the prediction should not be used, or ""."""
    fit, evidence = known.range, evidence or Evidence(known.error)
    share = rate * fit.workers / (twin.structure.replicas * twin.structure.workers)
    largest = int(np.quantile(seen.batch, 0.99)) if len(seen.batch) else 0
    built = max(fit.largest_batch, evidence.largest_batch)
    fitted_on = f"the {fit.rate_low:.0f} to {fit.rate_high:.0f} it was fitted on"
    reasons = (
        (seen.busy > MOST_BUSY, f"workers would be busy {seen.busy:.0%} of the time: the queue grows without end"),
        (len(known.run_ids) < LEAST_RUNS or math.isnan(known.error),
         f"only {len(known.run_ids)} runs to fit, too few to hold one out; measure more loads"),
        (bool(evidence.unlike), f"{evidence.unlike}, so that its error is not known"),
        (evidence.error > MOST_ERROR, f"its held-out error here is {evidence.error:.0%}"),
        (share > SLACK * fit.rate_high and seen.busy > SLACK * fit.busy_high,
         f"{share:.0f} requests/s for each machine is beyond {fitted_on}"),
        (too_light(twin, fit.rate_low, share), f"{share:.3g} requests/s for each machine is below {fitted_on}"),
        (largest > 1 + CROWDED * built, f"batches of {largest} would form, and none above {built} was measured"))
    return next((reason for holds, reason in reasons if holds), "")
