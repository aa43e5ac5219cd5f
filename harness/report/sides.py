"""Two machines, or CPU and GPU, beside each other: the rows, the words and the figures of what each achieves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from harness.analyse.model import Cell, Interval
from harness.analyse.sides import Faced, Side, alone, faced
from harness.analyse.words import plain
from harness.catalog.device import parted
from harness.report import breakdown, canvas
from harness.report.canvas import INK, Chart, inks
from harness.report.charts import latency_axis
from harness.report.select import Match, p99
from harness.report.tables import MARK, ratio, spread
from harness.report.words import clean, escaped, figure, listed, markdown_escaped, percent, times

if TYPE_CHECKING:
    from rich.console import RenderableType

HEAD = ("setup", "on", "verdict", "offered (/s)", "goodput (/s)", "p99 (ms)", "errors", "$/million good", "J/request",
        "goodput ÷ base", "p99 ÷ base")
SIGNS = "●■▲◆▼"  # as canvas.MARKS draws them
VERDICTS = {"pass": "kept", "fail": "broken", "inconclusive": "undecided (~)", "invalid": "not measured"}
WORDS = 2  # columns of words; the others are figures
Row = tuple[str, ...]


@dataclass(frozen=True)
class Across:
    """The sides, the first being the base, and what they share."""

    base: Side
    others: tuple[Side, ...]
    met: tuple[Faced, ...]

    @property
    def title(self) -> str:
        """`AMD EPYC, 4 CPUs against NVIDIA H100`."""
        return clean(f"{' and '.join(side.name for side in self.others)} against {self.base.name}")

    @property
    def missing(self) -> tuple[str, ...]:
        """What only some sides measured, a sentence each."""
        return alone(self.base, self.others)


@dataclass(frozen=True)
class Table:
    """One workload under one promise."""

    title: str
    rows: tuple[Row, ...]


def across(sides: Sequence[Side]) -> Across:
    """The first side against all others."""
    base, *others = sides
    return Across(base, tuple(others), faced(base, others))


def tables(found: Across) -> tuple[Table, ...]:
    """A table per workload and promise: a setup's base, then its other sides."""
    made = []
    for workload, promise in dict.fromkeys((each.workload, each.promise) for each in found.met):
        group = [each for each in found.met if (each.workload, each.promise) == (workload, promise)]
        rows: list[Row] = []
        for setup in dict.fromkeys(each.setup for each in group):
            own = [each for each in group if each.setup == setup]
            rows.append(_row(setup, found.base.name, own[0].base, ("base", "base")))
            rows += [_row(setup, each.side, each.cell, (ratio(each.ratios["goodput"]), ratio(each.ratios["p99"])))
                     for each in own]
        made.append(Table(clean(f"{workload}: {promise or 'nothing promised'}"), tuple(rows)))
    return tuple(made)


def notes(found: Across) -> tuple[str, ...]:
    """How to read the tables."""
    said = ["Each row is the highest of the loads measured at which the promise was kept, or, where it was kept at "
            "none, the load of most goodput: a machine that was not loaded further may carry more.",
            "÷ base compares the same setup. ~: no difference can be told; in brackets the smallest ratio that would "
            "have shown."]
    if any(not each.same_load for each in found.met):
        said.append("Loads are set per core, so unlike machines were offered unlike loads; their repetitions are then "
                    "compared as two groups (Welch's t), not as pairs.")
    return tuple(said)


def sentences(found: Across) -> tuple[str, ...]:
    """What each setup gains, one sentence each."""
    return tuple(clean(_sentence(found.base.name, each)) for each in found.met)


def _sentence(base: str, each: Faced) -> str:
    goodput, tail = each.ratios["goodput"], each.ratios["p99"]
    told = [f"{times(goodput.ratio.value)} the goodput ({plain(goodput.ratio.low)} to {plain(goodput.ratio.high)})"] \
        if goodput.told else []
    told += [f"{times(tail.ratio.value)} the p99"] if tail.told else []
    untold = [f"{name}{ratio(compared).removeprefix('~')}" for name, compared in (("goodput", goodput), ("p99", tail))
              if not compared.told]
    lead = f"{each.side} has {listed(told)} of {base}{_cheaper(each)}" if told else f"on {each.side} against {base}"
    doubt = f"{', ' if told else ' '}~ no difference in {listed(untold)} can be told" if untold else ""
    promise = each.promise or "nothing promised"
    kept = (f"{promise}: {VERDICTS[each.cell.verdict]} at {figure(each.cell.offered_rate)}/s, on {base} "
            f"{VERDICTS[each.base.verdict]} at {figure(each.base.offered_rate)}/s")
    return f"{each.setup} on {each.workload}: {lead}{doubt}; {kept}."


def text(found: Across) -> "RenderableType":
    """The tables, sentences and notes for a terminal."""
    from rich import box  # noqa: PLC0415 -- a page needs no rich
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = []
    for table in tables(found):
        grid = Grid(title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, name in enumerate(HEAD):
            grid.add_column(Text(name), justify="left" if index <= WORDS else "right", no_wrap=index in (0, WORDS))
        for row in table.rows:
            grid.add_row(*(Text(cell) for cell in row))
        parts.append(grid)
    parts += [Text(line) for line in sentences(found)]
    parts += [Text(f"  {line}", style="dim") for line in (*notes(found), *found.missing)]
    return Group(*parts)


def html(table: Table) -> str:
    """One table; every text is escaped."""
    head = "".join(f"<th scope='col'>{escaped(name)}</th>" for name in HEAD)
    body = "".join(f"<tr><th scope='row'>{escaped(row[0])}</th>"
                   + "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:]) + "</tr>" for row in table.rows)
    return (f"<p class='over'>{escaped(table.title)}</p><div class='scroll'><table class='figures'><thead>"
            f"<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def markdown(found: Across) -> str:
    """The same for a pull request."""
    said = [f"- {markdown_escaped(line)}" for line in sentences(found)]
    parts = [f"# {markdown_escaped(found.title)}", "\n".join(said)]
    for table in tables(found):
        lines = ["| " + " | ".join(markdown_escaped(cell) for cell in row) + " |" for row in (HEAD, *table.rows)]
        rule = "|" + "---|" * (WORDS + 1) + "---:|" * (len(HEAD) - WORDS - 1)
        parts += [f"## {markdown_escaped(table.title)}", "\n".join([lines[0], rule, *lines[1:]])]
    parts.append("\n".join(f"- {markdown_escaped(line)}" for line in (*notes(found), *found.missing)))
    return "\n\n".join(parts) + "\n"


@canvas.styled
def frontier(found: Across, workload: str) -> Chart:
    """p99 against goodput of every load measured, a line per setup and side; filled marks kept the promise."""
    setups = sorted({each.setup for each in found.met if each.workload == workload})
    ink = inks(setups)
    fig, (axes,) = canvas.paper(400, right=190)
    canvas.title(fig, f"Goodput and the slowest percent: {workload}")
    points: list[tuple[float, float]] = []
    for number, side in enumerate((found.base, *found.others)):
        for setup in setups:
            cells = sorted((cell for cell in side.cells if cell.workload == workload and _drawn(cell)
                            and parted(cell.setup)[0] == setup), key=lambda cell: cell.offered_rate)
            _line(axes, cells, ink[setup].colour, canvas.MARKS[number], "-" if number else ":")
            points += [(cell.goodput.value, p99(cell).value) for cell in cells]
    axes.set(xscale="log", yscale="log", xlabel="good answers a second (log)", ylabel="p99 (ms, log)")
    for axis, limit, values in ((axes.xaxis, axes.set_xlim, [x for x, _ in points]),
                                (axes.yaxis, axes.set_ylim, [y for _, y in points])):
        limits = (min(values, default=1.0) / 1.5, max(values, default=10.0) * 1.8)
        limit(limits)
        latency_axis(axis, limits, most=6)
    keys = [(f"{SIGNS[number % len(SIGNS)]}  {side.name}", INK)
            for number, side in enumerate((found.base, *found.others))]
    for place, (name, colour) in enumerate([*((setup, ink[setup].colour) for setup in setups), *keys]):
        axes.annotate(clean(name), (1, 1), xycoords="axes fraction", xytext=(10, -10 - 22 * place),
                      textcoords="offset points", color=colour, weight="normal" if colour == INK else "bold",
                      fontsize=10 if colour == INK else None)
    said = " ".join(line for each, line in zip(found.met, sentences(found), strict=True) if each.workload == workload)
    return Chart(f"Goodput and p99: {workload}", canvas.svg(fig, f"Goodput against p99, {workload}"), said)


def time_spent(found: Across, workload: str) -> Chart:
    """Where the time of a request goes on each side, the rows of the table as bars."""
    cells: list[Cell] = []
    for each in (each for each in found.met if each.workload == workload):
        cells += [replace(each.base, setup=f"{each.setup}, {found.base.device}"),
                  replace(each.cell, setup=f"{each.setup}, {_short(found, each)}")]
    unique = tuple({cell.setup: cell for cell in cells}.values())
    return breakdown.times(Match(workload, "on each side", 1.0, unique, alone=True))


def _short(found: Across, each: Faced) -> str:
    """The other side's device; its number where several have that device."""
    side = next(side for side in found.others if side.name == each.side)
    alike = [other for other in (found.base, *found.others) if other.device == side.device]
    return side.device if len(alike) == 1 else f"{side.device} {alike.index(side) + 1}"


def _row(setup: str, side: str, cell: Cell, ratios: tuple[str, str]) -> Row:
    dollars = figure(cell.cost.per_million_good_usd) if cell.cost else "–"
    joules = figure(cell.gpu.joules_per_request) if cell.gpu else "–"
    return (clean(setup), clean(side), MARK[cell.verdict], figure(cell.offered_rate), figure(cell.goodput.value),
            spread(p99(cell)), percent(cell.error_rate), dollars, joules, *ratios)


def _cheaper(each: Faced) -> str:
    if not (each.cell.cost and each.base.cost):
        return ""
    ours, theirs = each.cell.cost.per_million_good_usd, each.base.cost.per_million_good_usd
    return f", at {times(ours / theirs)} the cost of a million good answers" if 0 < ours < math.inf > theirs > 0 else ""


def _drawn(cell: Cell) -> bool:
    tail: Interval = p99(cell)
    return cell.verdict != "invalid" and math.isfinite(tail.value) and cell.goodput.value > 0


def _line(axes: Axes, cells: Sequence[Cell], colour: str, mark: str, dash: str) -> None:
    axes.plot([cell.goodput.value for cell in cells], [p99(cell).value for cell in cells], color=colour, linestyle=dash,
              linewidth=1.4)
    for cell in cells:
        filled = colour if cell.verdict == "pass" else "white"
        axes.plot([cell.goodput.value], [p99(cell).value], mark, color=colour, markersize=8, markerfacecolor=filled,
                  markeredgecolor=INK if cell.verdict == "pass" else colour)
