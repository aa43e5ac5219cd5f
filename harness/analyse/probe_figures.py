"""What the probes beside a run say of CPU and memory, the server's and everyone's."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probes = Mapping[str, NDArray[Any]]


def used_cores(probes: Probes, window_s: float) -> float:
    """Mean cores busy for the server's processes while load counted; NaN where fewer than two looks tell.

    From the CPU seconds of every process between its first and its last look inside the window.
    """
    if not probes:
        return math.nan
    chosen = _server(probes, "cpu_s") & (probes["t_ns"] >= 0) & (probes["t_ns"] <= window_s * 1e9)
    times, pids, values = probes["t_ns"][chosen], probes["pid"][chosen], probes["value"][chosen]
    span_s = float(times.max() - times.min()) / 1e9 if len(times) else 0.0
    if span_s <= 0:
        return math.nan
    spent = sum(float(np.ptp(values[pids == pid])) for pid in np.unique(pids))
    return spent / span_s


def peak_rss_mb(probes: Probes) -> float:
    """The greatest sum over the server's processes of resident MB at one look, pages they share counted in each; NaN
    where nothing tells."""
    return _greatest_sum(probes, "rss_mb")


def peak_pss_mb(probes: Probes) -> float:
    """The same of the proportional set size, which counts a shared page once; NaN where the kernel does not tell."""
    return _greatest_sum(probes, "pss_mb")


def _greatest_sum(probes: Probes, metric: str) -> float:
    if not probes:
        return math.nan
    chosen = _server(probes, metric)
    _, look = np.unique(probes["t_ns"][chosen], return_inverse=True)
    return float(np.bincount(look, weights=probes["value"][chosen]).max()) if len(look) else math.nan


def passed(probes: Probes, scope: str, metric: str, window_s: float) -> float:
    """By how much a figure of a whole scope that only grows grew while load counted; 0 where fewer than two looks
    tell."""
    if not probes:
        return 0.0
    chosen = _inside(probes, window_s) & (probes["scope"] == scope) & (probes["metric"] == metric)
    values = probes["value"][chosen & (probes["pid"] == 0)]
    return float(np.ptp(values)) if len(values) > 1 else 0.0


def busy_cores(probes: Probes, scope: str, window_s: float) -> float:
    """Mean cores of a scope that were busy while load counted, whoever used them: between the first and the last look
    inside the window, which may be far from its ends where it is short; NaN where fewer than two tell."""
    span_s = _looked_s(probes, scope, window_s)
    return passed(probes, scope, "cores_busy_s", window_s) / span_s if span_s > 0 else math.nan


def other_share(probes: Probes, scope: str, cpus: int, window_s: float) -> float:
    """Share of a scope's CPUs that processes outside of it used while load counted; 0 where nothing tells."""
    span_s = _looked_s(probes, scope, window_s)
    if span_s <= 0 or not cpus:
        return 0.0
    own = _inside(probes, window_s) & (probes["scope"] == scope) & (probes["metric"] == "cpu_s")
    pids, values = probes["pid"][own], probes["value"][own]
    spent = sum(float(np.ptp(values[pids == pid])) for pid in np.unique(pids))
    return max(0.0, busy_cores(probes, scope, window_s) - spent / span_s) / cpus


def strays(probes: Probes) -> tuple[float, list[str]]:
    """The most CPUs outside its own that a process of the server could use at any look, and which processes."""
    if not probes:
        return 0.0, []
    chosen = _server(probes, "outside_cpus") & (probes["value"] > 0)
    names = sorted({str(name) for name in probes["name"][chosen]})
    return float(np.max(probes["value"][chosen], initial=0.0)), names


def gone(probes: Probes, window_s: float) -> list[str]:
    """Names of the server's processes that were there at the first look while load counted and not at the last."""
    if not probes:
        return []
    chosen = _server(probes, "cpu_s") & _inside(probes, window_s)
    times, pids = probes["t_ns"][chosen], probes["pid"][chosen]
    if not len(times):
        return []
    last = set(pids[times == times.max()].tolist())
    first = times == times.min()
    return [str(name) for pid, name in zip(pids[first], probes["name"][chosen][first], strict=True)
            if int(pid) not in last]


def _looked_s(probes: Probes, scope: str, window_s: float) -> float:
    """Seconds between the first and the last look at how busy a scope's cores were while load counted; 0 for none."""
    if not probes:
        return 0.0
    looks = probes["t_ns"][_inside(probes, window_s) & (probes["scope"] == scope)
                           & (probes["metric"] == "cores_busy_s")]
    return float(np.ptp(looks)) / 1e9 if len(looks) > 1 else 0.0


def _inside(probes: Probes, window_s: float) -> NDArray[np.bool_]:
    return np.asarray((probes["t_ns"] >= 0) & (probes["t_ns"] <= window_s * 1e9), dtype=np.bool_)


def _server(probes: Probes, metric: str) -> NDArray[np.bool_]:
    return np.asarray((probes["scope"] == "server") & (probes["metric"] == metric), dtype=np.bool_)
