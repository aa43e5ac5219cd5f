"""Predictions that know how far off they usually are, and where they say nothing.

The error is held out: each recorded run is predicted by a twin fitted to the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.decide.twin import Clients, Floats, Played, Structure, Twin, play, poisson
from harness.decide.twin_fit import fitted
from harness.decide.twin_seen import Seen, quantiles_s

# rate, about how many, seed -> (due times, share of the first that settle and are not told)
Arrivals = Callable[[float, int, int], tuple[Floats, float]]

LEAST_RUNS = 3
LEAST_ANSWERS = 200
MOST_ERROR = 0.2
SLACK = 1.02
MOST_BUSY = 0.97
LARGEST = 1_000_000
PER_WORKER = 60
MOST_HELD_OUT = 8
PLAYS = 5
NEAR = 1.1


@dataclass(frozen=True)
class Range:
    """What the fit has seen: offered loads of one machine, the largest batch, the share of time workers were busy."""

    rate_low: float
    rate_high: float
    largest_batch: int
    busy_high: float
    workers: int


@dataclass(frozen=True)
class Fitted:
    """A twin with its range and its held-out error: the median and the greatest of |log p99 ratio| (NaN where nothing
    could be held out)."""

    twin: Twin
    range: Range
    error: float
    worst: float
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """Latencies in ms under a load; `error` is the held-out relative error of the p99; `abstains` says why nothing
    should be concluded from it ("" where it may). `good` is the share of requests answered within the limit asked.
    `unlike` says in what it differs from all runs held out, so that `error` is NaN ("" where in the load alone)."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    good: float
    busy: float
    error: float
    abstains: str
    unlike: str = ""


def learned(runs: Sequence[Seen], hint: Structure, clients: Clients) -> Fitted:
    """The twin of all runs with what is known about its errors. Raises ValueError where no run holds an answer."""
    twin = fitted(runs, hint, clients)
    errors = held_out(runs, hint, clients)
    busy = [play(twin, run.due_s, 0).busy for run in runs]
    return Fitted(
        twin, Range(min(run.rate for run in runs), max(run.rate for run in runs),
                    max(1, *(int(run.batch.max(initial=0)) for run in runs)), max(busy),
                    hint.workers * hint.replicas),
        float(np.median(errors)) if errors else math.nan, max(errors, default=math.nan),
        tuple(run.run_id for run in runs))


def held_out(runs: Sequence[Seen], hint: Structure, clients: Clients) -> list[float]:
    """|log of predicted ÷ measured p99| of each load that was not saturated, by a twin fitted to the others; of each
    run where all met one load."""
    errors = []
    every = loads(runs)
    usable = [load for load in (every if len(every) > 1 else [[run] for run in runs])
              if not any(run.saturated for run in load) and sum(run.counted.sum() for run in load) >= LEAST_ANSWERS]
    for load in usable[:: max(1, math.ceil(len(usable) / MOST_HELD_OUT))]:
        others = [run for run in runs if all(run is not each for each in load)]
        if len(others) < LEAST_RUNS - 1:
            continue
        said, measured = p99_of(fitted(others, hint, clients), load), seen_p99(load)
        if math.isfinite(measured) and math.isfinite(said):
            errors.append(abs(math.log(said / measured)))
    return errors


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
    """The p99 of all that counts in some runs, in seconds."""
    return float(quantiles_s(np.concatenate([run.latency_s[run.counted] for run in runs]), (0.99,))[0])


def p99_of(twin: Twin, runs: Sequence[Seen], seed: int = 0) -> float:
    """The p99 that the twin gives the runs' own due times and payloads, in seconds: over PLAYS draws of the rest."""
    plays = [play(twin, run.due_s, seed + i, lengths=run.lengths).latency_s[run.counted]
             for run in runs for i in range(PLAYS)]
    return float(quantiles_s(np.concatenate(plays), (0.99,))[0])


def predicted(known: Fitted, twin: Twin, rate: float, limit_s: float = math.inf, seed: int = 0,
              arrivals: Arrivals = poisson, unlike: str = "") -> Prediction:
    """The twin (known.twin or a changed one) under such arrivals at `rate`; a large fleet is played in full."""
    workers = twin.structure.replicas * twin.structure.workers
    n = min(max(40_000, PER_WORKER * workers), LARGEST)
    due_s, settling = arrivals(rate, n, seed)
    seen = play(twin, due_s, seed, settling)
    p50, p95, p99 = quantiles_s(seen.latency_s, (0.5, 0.95, 0.99)) * 1e3
    return Prediction(rate, float(p50), float(p95), float(p99), 1 - seen.beyond(limit_s), seen.busy,
                      math.nan if unlike else known.error, why_not(known, twin, seen, rate), unlike)


def why_not(known: Fitted, twin: Twin, seen: Played, rate: float) -> str:
    """Why the prediction should not be used, or ""."""
    fit = known.range
    share = rate * fit.workers / (twin.structure.replicas * twin.structure.workers)
    largest = int(np.quantile(seen.batch, 0.99)) if len(seen.batch) else 0
    fitted_on = f"the {fit.rate_low:.0f} to {fit.rate_high:.0f} it was fitted on"
    reasons = (
        (seen.busy > MOST_BUSY, f"workers would be busy {seen.busy:.0%} of the time: the queue grows without end"),
        (len(known.run_ids) < LEAST_RUNS or math.isnan(known.error),
         f"only {len(known.run_ids)} runs to fit, too few to hold one out; measure more loads"),
        (known.error > MOST_ERROR, f"its held-out error here is {known.error:.0%}"),
        (share > SLACK * fit.rate_high and seen.busy > SLACK * fit.busy_high,
         f"{share:.0f} requests/s for each machine is beyond {fitted_on}"),
        (share < fit.rate_low / 2, f"{share:.3g} requests/s for each machine is below {fitted_on}"),
        (largest > 1 + 1.25 * fit.largest_batch,
         f"batches of {largest} would form, and none above {fit.largest_batch} was measured"))
    return next((reason for holds, reason in reasons if holds), "")
