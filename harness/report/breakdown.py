"""The figures behind latency: where the time goes, in what batches, and what more load does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.analyse.model import Cell
from harness.report import canvas, captions
from harness.report.canvas import FAINT, INK, QUIET, Chart, Ink
from harness.report.select import Match, latency_promises, p99
from harness.report.words import clean, figure, milliseconds

# A part of the time, how it is called, its colour and the colour of text on it; sequential tones that print in grey.
PARTS: dict[str, tuple[str, str, str]] = {
    "lag": ("sent late", "#b0b0b0", INK), "connect_send": ("connect and send", "#cfcfcf", INK),
    "queue": ("queue", "#e8a33d", INK), "wait": ("batch wait", "#f3d9a4", INK),
    "copy": ("copy", "#b9a7cf", INK), "kernel": ("kernel", "#5d4580", "white"),
    "model": ("model", "#24527a", "white"), "rest": ("the rest", "#9cc3dd", INK),
}
ACROSS = 4


@canvas.styled
def times(match: Match) -> Chart:
    """Stacked bars of the mean time a request spends in each part, one bar per setup; a star marks parts from the
    server's own counters."""
    shown = [cell for cell in match.cells if sum(cell.time_ms.values()) > 0]
    names = [*(part for part in PARTS if any(part in cell.time_ms for cell in shown)),
             *dict.fromkeys(part for cell in shown for part in cell.time_ms if part not in PARTS)]
    quiet = any("model" not in cell.time_ms for cell in shown)
    fig, (axes,) = canvas.paper(126 + 44 * max(len(shown), 1), left=140, right=150 if quiet else 84, top=72)
    canvas.title(fig, f"Where the time goes: {match.title}")
    widest = max((sum(cell.time_ms.values()) for cell in shown), default=1.0)
    for row, cell in enumerate(shown):
        start = 0.0
        for part in names:
            start = _segment(axes, row, start, cell.time_ms.get(part, 0.0), look=_look(part), widest=widest)
        told = "" if "model" in cell.time_ms else ", not told"
        told += " *" if captions.counted_parts(cell) else ""
        axes.annotate(f"{milliseconds(start)}{told}", (start, row), xytext=(6, 0), textcoords="offset points",
                      va="center")
    axes.set(xlim=(0, widest), ylim=(max(len(shown), 1) - 0.4, -0.6), xlabel="mean time of an answered request (ms)")
    axes.set_yticks(range(len(shown)), [clean(cell.setup) for cell in shown])
    axes.grid(visible=False, axis="y")
    _legend(axes, [_look(part, "kernel" in names) for part in names])
    return Chart(f"Where the time goes: {match.title}", canvas.svg(fig, f"Time by part, {match.title}"),
                 captions.parts(match))


def _segment(axes: Axes, row: int, start: float, width: float, *, look: tuple[str, str, str], widest: float) -> float:
    """Draws one part of a bar, with its ms where they fit; where the next part starts."""
    axes.barh(row, width, 0.62, left=start, color=look[1], edgecolor="white", linewidth=0.8)
    if width > 0.075 * widest:
        axes.text(start + width / 2, row, figure(width, 2), ha="center", va="center", color=look[2])
    return start + width


def _look(part: str, gpu: bool = False) -> tuple[str, str, str]:
    """`gpu`: beside kernels, what is left of the model is what the CPU does of it."""
    if part == "model" and gpu:
        return ("model on CPU", *PARTS[part][1:])
    return PARTS.get(part, (clean(part).replace("_", " "), "#dddddd", INK))


def _legend(axes: Axes, looks: Sequence[tuple[str, str, str]]) -> None:
    x = 0
    for name, colour, _ in looks:
        for text, place, tone in (("■", x, colour), (name, x + 15, INK)):
            axes.annotate(text, (0, 1), xycoords="axes fraction", xytext=(place, 12), textcoords="offset points",
                          color=tone)
        x += 34 + 7 * len(name)


@canvas.styled
def batches(match: Match, ink: Mapping[str, Ink]) -> Chart:
    """The share of requests by the size of the batch they were served in, one small panel per setup that tells it."""
    shown = [cell for cell in match.cells if any(size > 0 for size in cell.batches)]
    rows = max(1, -(-len(shown) // ACROSS))
    fig, panels = canvas.paper(110 + 150 * rows, rows, ACROSS, sharey=True, top=66, right=12, gap=0.62)
    canvas.title(fig, f"Batch sizes: {match.title}")
    largest = max((size for cell in shown for size in cell.batches), default=1)
    for axes, cell in zip(panels, shown, strict=False):
        sizes = sorted(size for size in cell.batches if size > 0)
        axes.bar(sizes, [100 * cell.batches[size] for size in sizes], 0.85, color=ink[cell.setup].colour)
        axes.set(xlim=(0.4, max(largest, 4) + 0.6), ylim=(0, 104))
        star = " *" if "batches" in cell.counted else ""
        axes.set_title(clean(cell.setup) + star, color=INK, weight="bold", fontsize=12.5)
        axes.xaxis.set_major_locator(FixedLocator(_size_ticks(max(largest, 4))))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("batch size")
    for axes in panels[len(shown):]:
        axes.set_visible(False)
    panels[0].set_ylabel("share of requests (%)")
    return Chart(f"Batches: {match.title}", canvas.svg(fig, f"Batch sizes, {match.title}"), captions.batches(match))


def _size_ticks(largest: int) -> list[float]:
    """1, the largest size, and between them powers of two that leave each other room."""
    ticks = [1.0]
    for size in (*(2**i for i in range(1, 16) if 2**i < largest), largest):
        if size - ticks[-1] >= largest / 8:
            ticks.append(float(size))
    return ticks


@canvas.styled
def loads(climb: Sequence[Match], ink: Mapping[str, Ink]) -> Chart:
    """Goodput and p99 against offered load, one line per setup; hollow marks are measurements that are not valid."""
    fig, (upper, lower) = canvas.paper(590, 2, sharex=True, right=160, gap=0.16)
    title = f"{climb[0].workload} · {climb[0].scenario}"
    canvas.title(fig, f"More load: {title}")
    names = sorted({cell.setup for match in climb for cell in match.cells})
    ends: list[tuple[float, float, str]] = []
    most = max(cell.offered_rate for match in climb for cell in match.cells)
    upper.plot([0, most * 1.04], [0, most * 1.04], color=FAINT, linewidth=1.5)
    upper.annotate("all that is offered", (most, most), xytext=(-10, 0), textcoords="offset points", color=QUIET,
                   ha="right")
    for name in names:
        cells = [cell for match in climb for cell in match.cells if cell.setup == name]
        goodput = [cell.goodput.value for cell in cells]
        _line(upper, cells, goodput, ink[name])
        _line(lower, cells, [p99(cell).value for cell in cells], ink[name])
        ends.append((goodput[-1], cells[-1].offered_rate, name))
    _names(upper, ends, ink)
    for promise in latency_promises([cell for match in climb for cell in match.cells]):
        lower.axhline(promise.limit / 1e6, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        lower.annotate(f"promise: {clean(promise.text)}", (1, promise.limit / 1e6), xycoords=("axes fraction", "data"),
                       xytext=(6, 0), textcoords="offset points", va="center")
    upper.set(ylabel="goodput (good answers per s)", ylim=(0, None), xlim=(0, most * 1.04))
    lower.set(ylabel="p99 (ms, log)", yscale="log", xlabel="offered load (requests per s)")
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lower.yaxis.set_minor_locator(NullLocator())
    return Chart(f"More load: {title}", canvas.svg(fig, f"Goodput and p99 against load, {title}"),
                 captions.loads(climb))


def _line(axes: Axes, cells: Sequence[Cell], values: Sequence[float], ink: Ink) -> None:
    x = np.array([cell.offered_rate for cell in cells])
    y = np.where(np.isfinite(values), values, np.nan)
    valid = np.array([cell.verdict != "invalid" for cell in cells])
    axes.plot(x, y, color=ink.colour, linestyle=ink.dash)
    axes.plot(x[valid], y[valid], ink.mark, color=ink.colour, markersize=7, markeredgecolor="white")
    axes.plot(x[~valid], y[~valid], ink.mark, color="white", markersize=7, markeredgecolor=ink.colour)


def _names(axes: Axes, ends: list[tuple[float, float, str]], ink: Mapping[str, Ink]) -> None:
    """Names in the right margin at the height of each line's end, moved apart where they would touch."""
    axes.set_ylim(0, None)
    top = axes.get_ylim()[1]
    room, below = 0.085, -1.0
    for height, _, name in sorted(ends):
        below = max(height / top, below + room)
        axes.annotate("■", (1, below), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points", va="center",
                      color=ink[name].colour)
        axes.annotate(clean(name), (1, below), xycoords="axes fraction", xytext=(22, 0), textcoords="offset points",
                      va="center", color=INK)
