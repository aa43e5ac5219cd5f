"""All repetitions of one setup under one load become one cell."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.analyse.figures import RunFigures, good_ms
from harness.analyse.gpu_figures import use_of
from harness.analyse.intervals import effective, quantile_interval
from harness.analyse.model import Cell, Interval, RunSummary
from harness.analyse.quantiles import mean_interval, order_statistic_interval, quantile
from harness.analyse.verdicts import beyond, cell_verdict, judge_all
from harness.record.schema import RunMeta

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


def cell(runs: Sequence[RunFigures], failed: Sequence[RunMeta]) -> Cell:
    """The cell of runs that have rows (at least one) and of attempts that failed without any."""
    valid = [run for run in runs if run.valid]
    used = valid or list(runs)
    meta, scenario = runs[-1].meta, runs[-1].scenario
    quantiles = {q: quantile_interval(used, q) for q in QUANTILES}
    promises = judge_all(scenario.promises, used)
    verdict, reason = cell_verdict(promises, runs, len(failed))
    limit = good_ms(scenario.promises)
    summaries = [_summary(run) for run in runs] + [_absent(each) for each in failed]
    return Cell(
        meta.arm, meta.workload, meta.scenario, meta.load,
        offered_rate=_mean([run.offered_rate for run in used]),
        closed_loop=scenario.closed,
        runs=tuple(sorted(summaries, key=lambda run: run.repetition)),
        quantiles_ms=quantiles,
        goodput=_at_least_0(mean_interval([run.goodput for run in used])),
        throughput=_at_least_0(mean_interval([run.throughput for run in used])),
        error_rate=_mean([run.error_rate for run in used]),
        verdict=verdict, verdict_reason=reason, promises=promises,
        time_ms=_time_ms(used), batches=_batches(used),
        counted=tuple(dict.fromkeys(part for run in used for part in run.counted)),
        cpu_cores=_mean([run.cpu_cores for run in used]),
        rss_mb=max((run.rss_mb for run in used if math.isfinite(run.rss_mb)), default=math.nan),
        start_s=_mean([float(run.meta.facts.get("start_s") or math.nan) for run in used]),
        cost=None, good_ms=limit if math.isfinite(limit) else math.nan,
        pss_mb=max((run.pss_mb for run in used if math.isfinite(run.pss_mb)), default=math.nan), knobs=dict(meta.knobs),
        server_cpus=len(meta.server_cpus), machine_id=meta.machine_id,
        device=meta.device,
        gpu=use_of([(run.gpu, run.throughput, run.goodput) for run in used if run.gpu is not None]),
        hashes={noun: meta.hashes.get(noun, "") for noun in ("workload", "scenario")},
    )


def _summary(run: RunFigures) -> RunSummary:
    p99 = quantile(run.ordered_ms, 0.99)
    size = effective(run, p99) if len(run.ordered_ms) else 0.0
    promised = {promise.quantile for promise in run.scenario.promises if promise.metric == "latency"}
    return RunSummary(
        run.meta.run_id, run.meta.repetition, run.meta.status, run.meta.reason, run.checks, len(run.ordered_ms),
        run.offered_rate, run.throughput, run.goodput, run.error_rate,
        {q: quantile(run.ordered_ms, q) for q in (*QUANTILES, *promised)}, effective=size,
        p99_ms=order_statistic_interval(run.ordered_ms, 0.99, effective=size),
        beyond={promise.text: beyond(promise, run) for promise in run.scenario.promises
                if promise.metric == "latency" and not promise.relative},
        schedule=run.schedule, stopped=run.stopped, looked=run.stopped_by_looking,
    )


def _absent(meta: RunMeta) -> RunSummary:
    """An attempt that left no rows."""
    return RunSummary(meta.run_id, meta.repetition, meta.status, meta.reason, (), 0, math.nan, math.nan, math.nan,
                      math.nan, {})


def _time_ms(runs: Sequence[RunFigures]) -> dict[str, float]:
    """Mean ms per answer of each part, over the answers of all runs, or of those whose servers counted parts that
    nobody else tells."""
    runs = [run for run in runs if run.counted] or runs
    timed = sum(run.timed for run in runs)
    names = dict.fromkeys(name for run in runs for name in run.time_ms)
    return {name: sum(run.time_ms.get(name, 0.0) for run in runs) / timed for name in names} if timed else {}


def _batches(runs: Sequence[RunFigures]) -> dict[int, float]:
    """Share of the answers that came from a batch of each size; empty where the setup does not tell."""
    counts: Counter[int] = Counter()
    for run in runs:
        counts.update(run.batches)
    total = counts.total()
    return {size: counts[size] / total for size in sorted(counts)} if total else {}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _at_least_0(figure: Interval) -> Interval:
    """A rate's interval without the part below zero."""
    return Interval(figure.value, max(figure.low, 0.0) if math.isfinite(figure.low) else figure.low, figure.high)
