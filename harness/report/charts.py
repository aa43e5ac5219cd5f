"""The figures of latency: how slow the slowest are, and whether that lasted."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from harness.analyse.model import Cell
from harness.report import canvas, captions
from harness.report.canvas import BROKEN, FAINT, INK, QUIET, Chart, Ink
from harness.report.select import Match, latency_promises, p99
from harness.report.traces import Key, Timeline, Trace, edges_ms, key, slower, timeline
from harness.report.words import clean, milliseconds, percent

Traces = Mapping[Key, Trace]
POINTS = 240
MANY = 8                   # more setups than this share less room, and their bands would hide each other
KEY_STEP, KEY_STEP_MANY = 44, 34
KEY_SIGNS = {"-": "■", "--": "□", ":": "▪", "-.": "▫"}


@canvas.styled
def tails(match: Match, traces: Traces, ink: Mapping[str, Ink]) -> Chart:
    """The share of requests slower than each latency, log-log, with a band over the repetitions and the promise."""
    shown = [cell for cell in match.cells if key(cell) in traces]
    many = len(shown) > MANY
    fig, (axes,) = canvas.paper(max(460, 90 + KEY_STEP_MANY * len(shown)) if many else 460, right=212, left=88, top=60)
    canvas.title(fig, f"Latency tails: {match.title}")
    deepest = max((int(traces[key(cell)].n.sum()) for cell in shown), default=1000)
    spans = [_tail(axes, traces[key(cell)], ink[cell.setup], faint=cell.verdict == "invalid", band=not many)
             for cell in shown]
    low, high = min((s[0] for s in spans), default=1.0), max((s[1] for s in spans), default=10.0)
    promises = latency_promises(match.cells)
    high = max([high, *(promise.limit / 1e6 for promise in promises)])
    axes.set(xscale="log", yscale="log", xlim=(low / 1.15, high * 1.3), ylim=(max(0.6 / deepest, 1e-6), 1.25))
    for promise in promises:
        limit = promise.limit / 1e6
        axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(f"promise: {clean(promise.text)}", (limit, 1.25), xytext=(0, 5), textcoords="offset points",
                      ha="right" if limit > math.sqrt(low * high) else "left", color=INK)
        axes.plot([limit], [1 - promise.quantile], "o", color=INK, markersize=5, markerfacecolor="white", zorder=4)
    latency_axis(axes.xaxis, axes.get_xlim())
    axes.set(xlabel="latency from the due time (ms, log)", ylabel="share of requests that took longer (log)")
    _share_axis(axes)
    _key_list(fig, [(cell, ink[cell.setup]) for cell in reversed(shown)])
    caption = captions.tails(match)
    return Chart(f"Tails: {match.title}", canvas.svg(fig, f"Latency tails of {match.title}"), caption)


def _tail(axes: Axes, seen: Trace, ink: Ink, *, faint: bool, band: bool) -> tuple[float, float]:
    """Draws one setup's curve and its band where asked; the latencies in ms where it starts and ends."""
    x, pooled = edges_ms(), slower(seen.counts.sum(axis=0), float(seen.n.sum()))
    answered = np.flatnonzero(seen.counts.sum(axis=0))
    if not len(answered):
        return 1.0, 10.0
    first, last = answered[0], answered[-1]
    keep = np.unique(np.append(np.linspace(max(first - 1, 0), last, POINTS).astype(int), answered[-20:]))
    floor = 0.5 / max(float(seen.n.sum()), 1.0)
    dash = ":" if faint else ink.dash
    if band and len(seen.n) > 1:
        each = np.array([slower(counts, n) for counts, n in zip(seen.counts, seen.n, strict=True)])[:, keep]
        axes.fill_between(x[keep], np.maximum(each.min(axis=0), floor), np.maximum(each.max(axis=0), floor),
                          color=ink.colour, alpha=0.14, linewidth=0)
    axes.plot(x[keep], np.maximum(pooled[keep], floor), color=ink.colour, linestyle=dash, alpha=0.5 if faint else 1.0)
    place = int(np.argmax(pooled <= 0.01))
    if pooled[place] <= 0.01 and not faint:
        axes.plot([x[place]], [0.01], ink.mark, color=ink.colour, markersize=7, markeredgecolor="white", zorder=5)
    return float(x[first]), float(x[last])


def _key_list(fig: Figure, entries: list[tuple[Cell, Ink]]) -> None:
    """Names beside the plot, the slowest on top as its curve is, each with its mark and its p99."""
    height = fig.get_figheight() * 72
    step = KEY_STEP_MANY if len(entries) > MANY else KEY_STEP
    for i, (cell, ink) in enumerate(entries):
        y = 1 - (76 + step * i) / height
        x = 1 - 196 / canvas.WIDTH
        fig.text(x, y, KEY_SIGNS[ink.dash], color=ink.colour, va="center")
        fig.text(x + 18 / canvas.WIDTH, y, clean(cell.setup), color=INK, va="center", weight="bold")
        said = "invalid: see validity" if cell.verdict == "invalid" else f"p99 {milliseconds(p99(cell).value)}"
        fig.text(x + 18 / canvas.WIDTH, y - 17 / height, said, color=QUIET, va="center")


@canvas.styled
def over_time(match: Match, traces: Traces, ink: Mapping[str, Ink]) -> Chart:
    """Median and p99 in slices of time, one panel per setup on one scale, with a cross where requests failed."""
    shown = [(cell, timeline(traces[key(cell)])) for cell in match.cells
             if key(cell) in traces and traces[key(cell)].n.sum()]
    rows = max(len(shown), 1)
    each = 76 if rows > MANY else 104
    fig, panels = canvas.paper(104 + each * rows, rows, sharex=True, sharey=True, right=52, left=80, top=64, gap=0.42)
    canvas.title(fig, f"Latency over time: {match.title}")
    values = [line[np.isfinite(line)] for _, seen in shown for line in (seen.p50_ms, seen.p99_ms)]
    finite = np.concatenate([*values, np.array([1.0])]) if not any(len(v) for v in values) else np.concatenate(values)
    limits = (float(finite.min()) / 1.5, float(finite.max()) * 1.8)
    for axes, (cell, seen) in zip(panels, shown, strict=False):
        _panel(axes, cell, seen, ink[cell.setup], limits)
        for promise in latency_promises([cell]):
            if limits[0] < promise.limit / 1e6 < limits[1]:
                axes.axhline(promise.limit / 1e6, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    panels[-1].set_xlabel("time since the start of counted load (s)")
    fig.text(22 / canvas.WIDTH, 0.5, "latency (ms, log)", rotation=90, ha="center", va="center")
    caption = captions.over_time(match, {cell.setup: seen for cell, seen in shown})
    return Chart(f"Over time: {match.title}", canvas.svg(fig, f"Latency over time of {match.title}"), caption)


def _panel(axes: Axes, cell: Cell, seen: Timeline, ink: Ink, limits: tuple[float, float]) -> None:
    x = (seen.start_s + seen.end_s) / 2
    axes.set(yscale="log", ylim=limits, xlim=(0, float(seen.end_s[-1])))
    axes.set_title(clean(cell.setup), color=INK, weight="bold", pad=4)
    single = "o" if len(x) == 1 else "None"
    for line, width, name in ((seen.p50_ms, 1.2, "p50"), (seen.p99_ms, 2.0, "p99")):
        drawn = np.where(np.isfinite(line), line, np.nan)
        axes.plot(x, drawn, marker=single, color=ink.colour, linewidth=width, alpha=0.75 if name == "p50" else 1.0)
        last = np.flatnonzero(np.isfinite(line))
        if len(last):
            axes.annotate(name, (1, float(line[last[-1]])), xycoords=("axes fraction", "data"), xytext=(6, 0),
                          textcoords="offset points", va="center", color=INK)
    wrong = seen.errors > 0
    if wrong.any():
        axes.plot(x[wrong], np.full(int(wrong.sum()), 0.9), "x", transform=axes.get_xaxis_transform(), color=BROKEN,
                  markersize=7, markeredgewidth=1.8, clip_on=False)
        count, share = int(seen.errors.sum()), float(seen.errors.sum() / seen.n.sum())
        axes.annotate(f"× {count:,} failed ({percent(share)})", (1, 1), xycoords="axes fraction", xytext=(0, 4),
                      textcoords="offset points", ha="right", color=BROKEN)
    latency_axis(axes.yaxis, limits, most=4)


def latency_axis(axis: object, span: tuple[float, float], most: int = 9) -> None:
    """Ticks at 1, 2 and 5 times powers of ten as a reader writes them."""
    low, high = math.log10(span[0]), math.log10(span[1])
    steps: tuple[int, ...] = (1, 2, 5)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps
                 if span[0] <= m * 10.0**e <= span[1]]
        if len(ticks) <= most:
            break
    axis.set_major_locator(FixedLocator(ticks))  # type: ignore[attr-defined]  # matplotlib's axis types differ by version
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]


def _share_axis(axes: Axes) -> None:
    """Shares as a reader says them, and which quantile that is."""
    ticks = [10.0**-e for e in range(7) if axes.get_ylim()[0] <= 10.0**-e]
    names = {1.0: "all", 0.1: "10 %\np90", 0.01: "1 %\np99", 0.001: "0.1 %\np99.9", 1e-4: "0.01 %\np99.99"}
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(round(value, 7), f"{value:.0e}")))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(0.01, color=FAINT, linewidth=1.2, zorder=1)
