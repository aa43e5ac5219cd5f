"""What the probes beside a run say of the server's CPU and memory."""

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
    if not probes:
        return math.nan
    chosen = _server(probes, "rss_mb")
    _, look = np.unique(probes["t_ns"][chosen], return_inverse=True)
    return float(np.bincount(look, weights=probes["value"][chosen]).max()) if len(look) else math.nan


def _server(probes: Probes, metric: str) -> NDArray[np.bool_]:
    return np.asarray((probes["scope"] == "server") & (probes["metric"] == metric), dtype=np.bool_)
