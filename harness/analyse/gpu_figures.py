"""What the probes beside a run say of its GPU: use, memory, power, energy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analyse.model import GpuUse
from harness.analyse.probe_figures import Probes

Floats = NDArray[np.float64]
Energy = Literal["counter", "power", ""]

J_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Seen:
    """One run's GPU while load counted: the mean share of time in which some kernel ran, the most memory in use, the
    mean power, and whether that is the card's own energy counter over time or its power readings integrated (""
    where neither tells). NaN where nothing tells."""

    busy: float
    memory_mb: float
    power_w: float
    energy_from: Energy


def seen(probes: Probes, start_s: float, end_s: float) -> Seen | None:
    """What was seen between two times of the run; None of a run whose GPU was not looked at."""
    if not probes or not np.any(probes["scope"] == "gpu"):
        return None
    busy, memory, power, energy = (series(probes, name, start_s, end_s) for name in
                                   ("gpu_busy", "gpu_mem_mb", "gpu_power_w", "gpu_energy_j"))
    counted = power_of_counter(*energy)
    power_w = counted if math.isfinite(counted) else mean_over_time(*power)
    source: Energy = "counter" if math.isfinite(counted) else "power" if math.isfinite(power_w) else ""
    return Seen(mean_over_time(*busy), float(np.max(memory[1])) if len(memory[1]) else math.nan, power_w, source)


def series(probes: Probes, metric: str, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    """(times in s, values) of a metric of the card between two times, by time."""
    chosen = (probes["scope"] == "gpu") & (probes["metric"] == metric) & \
        (probes["t_ns"] >= start_s * 1e9) & (probes["t_ns"] <= end_s * 1e9)
    order = np.argsort(probes["t_ns"][chosen], kind="stable")
    return probes["t_ns"][chosen][order] / 1e9, probes["value"][chosen][order].astype(np.float64)


def power_of_counter(t_s: Floats, energy_j: Floats) -> float:
    """Mean W from a counter of J that only grows; a step in which it fell (it wrapped, or the driver was loaded anew)
    is left out with its time. NaN of fewer than two looks, and of a counter that never moved."""
    steps, passed = np.diff(energy_j), np.diff(t_s)
    kept = (steps >= 0) & (passed > 0)
    spent = float(np.sum(steps[kept]))
    return spent / float(np.sum(passed[kept])) if spent > 0 else math.nan


def mean_over_time(t_s: Floats, values: Floats) -> float:
    """The mean of a figure that is read at unequal distances (trapezoidal rule over its time); of one reading that
    reading, NaN of none."""
    if len(values) < 2 or t_s[-1] <= t_s[0]:
        return float(values[-1]) if len(values) else math.nan
    return float(np.trapezoid(values, t_s) / (t_s[-1] - t_s[0]))


def joules_each(power_w: float, per_s: float) -> float:
    """J for each of `per_s` answers a second: W ÷ 1/s; infinite of none."""
    return power_w / per_s if per_s > 0 else math.inf if power_w > 0 else math.nan


def kwh_per_million(power_w: float, per_s: float) -> float:
    """kWh for a million of them: J each × 10⁶ ÷ 3.6 · 10⁶ J."""
    return joules_each(power_w, per_s) * 1e6 / J_PER_KWH


def use_of(runs: Sequence[tuple[Seen, float, float]]) -> GpuUse | None:
    """A cell's use of the GPU from its runs' (what was seen, answers a second, good answers a second): means of the
    runs, energy by mean power over mean rates; None where no run's GPU was looked at."""
    if not runs:
        return None
    whole = [each for each, _, _ in runs]
    power_w, answers, good = (_mean(values) for values in zip(*((each.power_w, a, g) for each, a, g in runs),
                                                              strict=True))
    sources = {each.energy_from for each in whole if each.energy_from}
    return GpuUse(
        _mean([each.busy for each in whole]),
        max((each.memory_mb for each in whole if math.isfinite(each.memory_mb)), default=math.nan), power_w,
        joules_each(power_w, answers), kwh_per_million(power_w, good), " and ".join(sorted(sources)))


def with_price(use: GpuUse | None, usd_per_kwh: float) -> GpuUse | None:
    """The use with what its energy costs at a price."""
    if use is None:
        return None
    return replace(use, usd_per_kwh=usd_per_kwh, usd_per_million_good=use.kwh_per_million_good * usd_per_kwh)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
