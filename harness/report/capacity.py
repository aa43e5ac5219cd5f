"""The throughput–latency curve of a capacity search: the twin's line with its band, the probes, the promise."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from harness.analyse.quantiles import effective_size, order_statistic_interval
from harness.catalog.slo import Promise
from harness.decide.capacity import Found, Sent
from harness.decide.capacity_boundary import strictest
from harness.report import canvas
from harness.report.canvas import BROKEN, COLOURS, INK, QUIET, Chart

MARKS = {"pass": "o", "fail": "X", "inconclusive": "D", "invalid": "v"}


@canvas.styled
def curve(found: Found, promises: Sequence[Promise], name: str) -> Chart:
    """Latency at the promise's quantile against offered load. `found.boundary` must be there."""
    assert found.boundary is not None
    promise = strictest(promises)
    quantile = promise.quantile or 0.99
    fig, (axes,) = canvas.paper(400, left=80, right=28, top=60)
    canvas.title(fig, f"Latency against load: {name}")
    rates, latency_ms = found.boundary.curve[:, 0], found.boundary.curve[:, 1] * 1e3
    shown = np.isfinite(latency_ms)
    value, low, high = found.rate.value, found.rate.low, found.rate.high
    if math.isfinite(value):
        axes.fill_betweenx([1e-3, 1e7], low, high, color=COLOURS[0], alpha=0.12, linewidth=0)
        axes.axvline(value, color=COLOURS[0], linewidth=1.4)
        # The line of the slowest and the fastest twin that the probes allow: the same curve at a stretched load.
        axes.fill(np.concatenate([rates[shown] * low / value, (rates[shown] * high / value)[::-1]]),
                  np.concatenate([latency_ms[shown], latency_ms[shown][::-1]]), color=QUIET, alpha=0.18, linewidth=0)
    axes.plot(rates[shown], latency_ms[shown], color=QUIET)
    top = max([promise.limit / 1e6 if promise.metric == "latency" else 0.0,
               *(_point(axes, each, quantile) for each in found.sent if each.probe.kind != "burst")])
    if promise.metric == "latency":
        axes.axhline(promise.limit / 1e6, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    bottom = float(np.min(latency_ms[shown], initial=top))
    axes.set(yscale="log", ylim=(bottom / 1.6, top * 3), xlim=(0, float(rates.max())),
             xlabel="offered load (requests/s)", ylabel=f"p{quantile * 100:g} latency (ms, log)")
    caption = (f"Line: the fitted twin, with the band that the probes allow. Marks: probes ({_legend(found)}). "
               + (f"Shaded: the capacity, {value:.0f} ({low:.0f} to {high:.0f}) requests/s." if math.isfinite(value)
                  else found.why))
    return Chart(f"Capacity: {name}", canvas.svg(fig, f"Latency against load of {name}"), caption)


def _point(axes: Axes, each: Sent, quantile: float) -> float:
    """Draws a probe with the interval of its quantile; the greatest finite latency drawn, in ms."""
    latency_ms = (each.result.seen.latency_s[each.result.seen.counted] * 1e3).astype(np.float32)
    if not len(latency_ms):
        return 0.0
    ordered = np.sort(latency_ms)
    figure = order_statistic_interval(ordered, quantile, effective=effective_size(
        latency_ms >= ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]))
    ends = [end for end in (figure.low, figure.high) if math.isfinite(end)]
    if not math.isfinite(figure.value):
        return 0.0
    colour = BROKEN if each.verdict in ("fail", "invalid") else COLOURS[0]
    if len(ends) == 2:
        axes.plot([each.result.seen.rate] * 2, ends, color=colour, linewidth=1.4, alpha=0.7)
    axes.plot([each.result.seen.rate], [figure.value], MARKS[each.verdict], color=colour, markersize=8,
              markeredgecolor="white", zorder=5)
    return max([figure.value, *ends])


def _legend(found: Found) -> str:
    names = {"pass": "● passed", "fail": "✖ failed", "inconclusive": "◆ cannot be told", "invalid": "▼ not believed"}
    return ", ".join(names[verdict] for verdict in dict.fromkeys(
        each.verdict for each in found.sent if each.probe.kind != "burst"))
