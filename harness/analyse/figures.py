"""One run reduced to its figures: what a cell needs of it once its rows are gone."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analyse import gpu_figures
from harness.analyse.checks import checks_of
from harness.analyse.counters import mean_ms, requests_by_batch
from harness.analyse.frames import NS_PER_MS, Latencies, Rows, RunView
from harness.analyse.model import Check
from harness.analyse.probe_figures import Probes, peak_pss_mb, peak_rss_mb, used_cores
from harness.catalog.scenario import Scenario
from harness.catalog.slo import Promise
from harness.record.schema import ABSENT, RunMeta

FIRST_DUE = 50


@dataclass(frozen=True)
class RunFigures:
    """A run without its rows.

    `latency_ms` is in order of due times, `ordered_ms` ascending, both float32[n] with infinity for a failed request.
    `uncut_ms` is `latency_ms` with the warm-up that was found, which live looks could not leave out.
    Rates are per second of offered window. `error_rate` counts failed requests (`failed_share`) and, from the `judged`
    answers, `wrong` ones. `time_ms` are sums over `timed` answers; `batches` counts answers by the size of their batch;
    `counted` is as in Cell. `stopped` says why the run was stopped early, "" where it went to its end; `schedule` is as
    in RunSummary.
    """

    meta: RunMeta
    scenario: Scenario
    checks: tuple[Check, ...]
    latency_ms: Latencies
    ordered_ms: Latencies
    uncut_ms: Latencies
    offered_rate: float
    throughput: float
    goodput: float
    error_rate: float
    time_ms: Mapping[str, float]
    timed: int
    batches: Mapping[int, int]
    cpu_cores: float
    rss_mb: float
    stopped: str = ""
    schedule: str = ""
    pss_mb: float = math.nan
    failed_share: float = math.nan
    judged: int = 0
    wrong: int = 0
    gpu: gpu_figures.Seen | None = None
    counted: tuple[str, ...] = ()

    @property
    def stopped_by_looking(self) -> bool:
        """Whether the run's length depended on what was seen in it."""
        until = self.meta.facts.get("until")
        return isinstance(until, dict) and (until.get("asked") == "verdict" or bool(until.get("why")))

    @property
    def valid(self) -> bool:
        """Whether its figures count."""
        return self.meta.status == "ok" and not any(check.severity == "invalid" for check in self.checks)


def figures(view: RunView, probes: Probes) -> RunFigures:
    """The figures of a run; `probes` are the columns of probes.parquet, empty where there were none. A warm-up found
    inside the window counts in none but the checks."""
    rows = view.rows.after(view.warm_up.requests)
    warm_s = max(0, int(rows.due_ns[0])) / 1e9 if view.warm_up.requests else 0.0
    window_s, end_ns = view.window_s - warm_s, view.window_s * 1e9
    right = 1 - rows.wrong_share
    in_window = ~rows.failed & (rows.done_ns <= end_ns)
    limit = good_ms(view.scenario.promises)
    good = np.count_nonzero(rows.latency_ms <= limit) if math.isfinite(limit) else np.count_nonzero(~rows.failed)
    ended = ~rows.failed[~rows.unanswered]
    answered = float(np.mean(ended)) if len(ended) else 0.0
    spent, timed, counted = time_by_part(view, rows)
    sizes = rows.batch[~rows.failed & (rows.batch > 0)]
    by_size = {size: int(n) for size, n in enumerate(np.bincount(sizes)) if n} if len(sizes) else {}
    if not by_size and (by_size := requests_by_batch(view.before, view.after)):
        counted = (*counted, "batches")
    return RunFigures(
        view.meta, view.scenario, checks_of(view), rows.latency_ms, rows.ordered_ms, view.rows.latency_ms,
        offered_rate=len(rows) / window_s,
        throughput=np.count_nonzero(in_window) * right / window_s,
        goodput=float(good) * right / window_s,
        error_rate=1 - answered * right if len(rows) else math.nan,
        time_ms=spent, timed=timed,
        batches=by_size,
        cpu_cores=used_cores(probes, view.window_s), rss_mb=peak_rss_mb(probes),
        stopped=view.stopped, schedule=schedule_of(view), pss_mb=peak_pss_mb(probes),
        failed_share=1 - answered if len(rows) else math.nan,
        judged=int(np.count_nonzero(rows.judged)), wrong=int(np.count_nonzero(rows.judged == 2)),
        gpu=gpu_figures.seen(probes, warm_s, view.window_s), counted=counted,
    )


def schedule_of(view: RunView) -> str:
    """What is alike for two runs that met the same arrivals and payloads: the seed and a digest of the first due times;
    "" of a closed loop, whose times are the setup's."""
    if view.scenario.closed:
        return ""
    due_ns = np.ascontiguousarray(view.rows.due_ns[:FIRST_DUE]).tobytes()
    return f"{view.meta.seeds.get('attempt')}-{hashlib.sha256(due_ns).hexdigest()[:12]}"


def good_ms(promises: tuple[Promise, ...]) -> float:
    """The latency within which an answer is good: the limit of the promise made to most requests (the greatest
    quantile; of two, the smaller limit); infinite where no latency is promised.

    A limit promised to half the requests cannot be what every good answer must meet.
    """
    latency = [promise for promise in promises if promise.metric == "latency" and not promise.relative]
    if not latency:
        return math.inf
    return min(latency, key=lambda promise: (-promise.quantile, promise.limit)).limit / NS_PER_MS


def time_by_part(view: RunView, rows: Rows) -> tuple[dict[str, float], int, tuple[str, ...]]:
    """`time_spent`, with the parts that no answer tells taken from the means of the server's own counters; and which
    those are. None is where they would add up to more than the answers took: then they tell of other requests."""
    spent, timed = time_spent(rows)
    silent = {"queue": not np.any(rows.queue_us >= 0)}
    silent |= dict.fromkeys(("model", "copy", "kernel"), not np.any(rows.model_us >= 0))
    means = {part: mean * timed for part, mean in mean_ms(view.before, view.after).items() if silent[part]}
    rest = spent["rest"] - sum(means.values())
    if not means or rest < 0:
        return spent, timed, ()
    return {**spent, **means, "rest": rest}, timed, tuple(means)


def time_spent(rows: Rows) -> tuple[dict[str, float], int]:
    """Sums in ms over answered requests of lag, queue, wait, model and the rest, and how many they are; where a GPU's
    copy and kernel are told, they are taken out of model.

    Over the answers whose setup tells, where it does; else only lag and rest are known.
    """
    answered = ~rows.failed & rows.sent & (rows.done_ns != ABSENT)
    told = answered & (rows.model_us >= 0)
    chosen = told if np.any(told) else answered
    lag = float(np.sum((rows.sent_ns - rows.due_ns)[chosen])) / NS_PER_MS
    total = float(np.sum((rows.done_ns - rows.due_ns)[chosen])) / NS_PER_MS
    parts = {"lag": lag}
    if np.any(told):
        parts |= {name: _sum_ms(column[chosen])
                  for name, column in (("queue", rows.queue_us), ("wait", rows.wait_us), ("model", rows.model_us))}
        parts |= _on_gpu(rows, chosen, parts["model"])
    return parts | {"rest": total - sum(parts.values())}, int(np.count_nonzero(chosen))


def _on_gpu(rows: Rows, chosen: NDArray[np.bool_], model_ms: float) -> dict[str, float]:
    """copy, kernel, and what is then left of the model's sum; nothing where no answer tells of a GPU. Copies that ran
    beside kernels count once: together they are no longer than the model's run."""
    told = {"copy": rows.copy_us[chosen], "kernel": rows.kernel_us[chosen]}
    if not any(np.any(column >= 0) for column in told.values()):
        return {}
    spent = {name: _sum_ms(column) for name, column in told.items()}
    within = min(1.0, model_ms / max(sum(spent.values()), 1e-9))
    gpu = {name: value * within for name, value in spent.items()}
    return {**gpu, "model": model_ms - sum(gpu.values())}


def _sum_ms(column_us: NDArray[np.int32]) -> float:
    return float(np.sum(np.maximum(column_us, 0), dtype=np.float64)) / 1e3
