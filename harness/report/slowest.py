"""Why the slowest percent was slow, in words and figures: one run's, and the setups of a match beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness.analyse.explain import Explanation
from harness.analyse.explain_causes import CAUSES
from harness.analyse.model import Cell
from harness.report import canvas
from harness.report.canvas import INK, Chart
from harness.report.rows import Drawings, of_cell
from harness.report.select import Match
from harness.report.words import clean, figure, listed, milliseconds, percent

# A cause: what was waited for, the word in a legend, its colour and the colour of text on it. Related ones are near.
SAID: dict[str, tuple[str, str, str, str]] = {
    "host_pause": ("pauses of the machine", "host pause", "#7a1f1f", "white"),
    "server_pause": ("the whole server standing still", "server stood still", "#b5473c", "white"),
    "collection": ("garbage collection", "garbage collection", "#dd8a7d", INK),
    "burst": ("queueing behind a burst of arrivals", "burst", "#e8a33d", INK),
    "capacity": ("queueing at a server kept busy", "kept busy", "#f3d9a4", INK),
    "long_input": ("long inputs", "long input", "#24527a", "white"),
    "model": ("model runs longer than their input explains", "slow model", "#5b8db8", "white"),
    "batch": ("batching: waiting for company, and larger batches", "batch", "#9cc3dd", INK),
    "cold": ("opening connections", "cold connection", "#2f7d5b", "white"),
    "network": ("sending and receiving", "network", "#86b99f", INK),
    "http": ("HTTP and handing over inside the server", "HTTP", "#c9dccb", INK),
    "generator": ("the generator sending late", "sent late", "#8a8a8a", "white"),
    "untold": ("what these records do not tell", "not told", "#dddddd", INK),
}
PART_SAID = {"lag": "sent late", "connect": "connect", "send": "send", "queue": "queue", "wait": "batch wait",
             "model": "model", "copy": "GPU copy", "kernel": "GPU kernel", "gc": "garbage collection",
             "respond": "respond", "receive": "receive"}
PART_TONES = {"lag": "#8a8a8a", "connect": "#2f7d5b", "send": "#86b99f", "queue": "#e8a33d", "wait": "#f3d9a4",
              "model": "#24527a", "copy": "#b9a7cf", "kernel": "#5d4580", "gc": "#dd8a7d",
              "respond": "#9cc3dd", "receive": "#c9dccb"}
WORTH = 0.005           # a share below it is left out of sentences and labels
ROOM = 0.07             # of a bar's length, that a label needs


@dataclass(frozen=True)
class Slow:
    """A setup's slowest percent over the runs whose figures count: `shares` of causes, most first, sum 1."""

    setup: str
    shares: Mapping[str, float]
    runs: tuple[Explanation, ...]


def slow_cell(cell: Cell, drawn: Drawings) -> Slow | None:
    """What made a cell's slowest percent slow, each of its requests counting alike; None where no run has enough
    answers."""
    found = [each.tail for each in of_cell(cell, drawn) if each.tail is not None]
    total = sum(each.slowest for each in found)
    if not total:
        return None
    shares = {cause: sum(each.shares.get(cause, 0.0) * each.slowest for each in found) / total for cause in CAUSES}
    return Slow(cell.setup, {cause: share for cause, share in sorted(shares.items(), key=lambda item: -item[1])
                             if share > 0}, tuple(found))


def sentence(shares: Mapping[str, float]) -> str:
    """`62 % queueing behind a burst of arrivals, 38 % long inputs`."""
    return listed([f"{percent(share)} {SAID[cause][0]}" for cause, share in shares.items() if share >= WORTH])


def conclusion(found: Explanation) -> str:
    """The run in a paragraph."""
    cause, share = next(iter(found.shares.items()))
    lead = f"The slowest percent of {found.answered:,} answered requests ({found.slowest}, from " \
           f"{milliseconds(found.from_ms)} to {milliseconds(found.worst_ms)}; the median takes " \
           f"{milliseconds(found.median_ms)}) was slow"
    why = f"mostly for {SAID[cause][0]} ({percent(share)})" if share > 0.5 else "for no single reason"
    failed = f" {found.failed:,} requests had no good answer: they have no latency and are slower than any of these." \
        if found.failed else ""
    return f"{lead} {why}. Of the delay beyond a usual request's: {sentence(found.shares)}.{failed}"


@canvas.styled
def causes(match: Match, slow: Mapping[str, Slow]) -> Chart:
    """One bar of 100 % per setup that tells, one at the least: what its slowest percent waited for."""
    shown = [slow[cell.setup] for cell in match.cells if cell.setup in slow]
    fig, (axes,) = canvas.paper(150 + 44 * len(shown), left=140, right=20, top=96)
    canvas.title(fig, f"Why the slowest percent was slow: {match.title}")
    present = [cause for cause in CAUSES if any(each.shares.get(cause, 0.0) >= WORTH for each in shown)]
    for row, each in enumerate(shown):
        _bar(axes, row, {cause: 100 * each.shares.get(cause, 0.0) for cause in present},
             {cause: SAID[cause][2:] for cause in present}, 100.0)
    axes.set(xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6), xlabel="share of the slowest percent's delay (%)")
    axes.set_yticks(range(len(shown)), [clean(each.setup) for each in shown])
    axes.grid(visible=False, axis="y")
    _legend(axes, [(SAID[cause][1], SAID[cause][2]) for cause in present])
    return Chart(f"Why the slowest percent was slow: {match.title}",
                 canvas.svg(fig, f"Causes of the slowest percent, {match.title}"), caption(match, slow))


def caption(match: Match, slow: Mapping[str, Slow]) -> str:
    """A sentence per setup."""
    said = []
    for cell in match.cells:
        if cell.setup in slow:
            each = slow[cell.setup]
            said.append(f"{clean(cell.setup)}: {sentence(each.shares)}.")
    silent = [clean(cell.setup) for cell in match.cells if cell.setup not in slow]
    if silent:
        said.append(f"~ Too few answers of {listed(silent)} for a slowest percent.")
    return " ".join(said)


@canvas.styled
def run_figure(found: Explanation) -> str:
    """One run as SVG: the causes of its slowest percent, and where a usual and a slow request spend their time."""
    fig, (upper, lower) = canvas.paper(330, 2, left=170, right=90, top=84, gap=1.0)
    canvas.title(fig, f"Why the slowest percent was slow: {found.setup} · {found.workload} · {found.scenario}")
    present = [cause for cause in CAUSES if found.shares.get(cause, 0.0) >= WORTH]
    _bar(upper, 0, {cause: 100 * found.shares[cause] for cause in present},
         {cause: SAID[cause][2:] for cause in present}, 100.0)
    upper.set(xlim=(0, 100), ylim=(0.6, -0.6), xlabel="share of the delay beyond a usual request's (%)")
    upper.set_yticks([0], ["its causes"])
    _legend(upper, [(SAID[cause][1], SAID[cause][2]) for cause in present])
    rows = (("a usual request", found.usual_ms), ("the slowest percent", found.slow_ms))
    widest = max(sum(parts.values()) for _, parts in rows)
    tones = {part: (PART_TONES[part], "white" if part in ("model", "kernel", "connect", "lag") else INK)
             for part in found.usual_ms}
    for row, (_, parts) in enumerate(rows):
        _bar(lower, row, parts, tones, widest)
        lower.annotate(milliseconds(sum(parts.values())), (sum(parts.values()), row), xytext=(6, 0),
                       textcoords="offset points", va="center")
    lower.set(xlim=(0, widest), ylim=(1.6, -0.6), xlabel="time by part (ms)")
    lower.set_yticks(range(2), [name for name, _ in rows])
    _legend(lower, [(PART_SAID[part], PART_TONES[part]) for part in found.usual_ms
                    if max(found.usual_ms[part], found.slow_ms[part]) > WORTH * widest])
    for axes in (upper, lower):
        axes.grid(visible=False, axis="y")
    return canvas.svg(fig, conclusion(found))


def _bar(axes: Axes, row: int, widths: Mapping[str, float], tones: Mapping[str, Sequence[str]],
         whole: float) -> None:
    """A stacked bar, with figures where they fit."""
    start = 0.0
    for name, width in widths.items():
        axes.barh(row, width, 0.62, left=start, color=tones[name][0], edgecolor="white", linewidth=0.8)
        if width > ROOM * whole:
            axes.text(start + width / 2, row, figure(width, 2), ha="center", va="center", color=tones[name][1])
        start += width


def _legend(axes: Axes, names: Sequence[tuple[str, str]]) -> None:
    """Names above the axes, in as many lines as they need."""
    lines: list[list[tuple[str, str]]] = [[]]
    for name, colour in names:
        if lines[-1] and sum(34 + 7 * len(each) for each, _ in [*lines[-1], (name, colour)]) > canvas.WIDTH - 190:
            lines.append([])
        lines[-1].append((name, colour))
    for up, line in enumerate(reversed(lines)):
        x = 0
        for name, colour in line:
            for text, place, tone in (("■", x, colour), (name, x + 15, INK)):
                axes.annotate(text, (0, 1), xycoords="axes fraction", xytext=(place, 10 + 18 * up),
                              textcoords="offset points", color=tone)
            x += 34 + 7 * len(name)
