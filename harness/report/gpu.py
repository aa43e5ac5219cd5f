"""What the GPU did and what its energy costs: a table of a report, there only where something ran on a GPU."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analyse.model import Analysis, Cell, GpuUse
from harness.report.select import matches
from harness.report.words import clean, escaped, figure, markdown_escaped, percent

if TYPE_CHECKING:
    from rich.table import Table

TITLE = "What the GPU did while load counted"
Row = tuple[str, ...]
_FROM = {"counter": "its energy counter", "power": "its power, integrated",
         "counter and power": "its energy counter in some runs, its power integrated in others"}


def rows(analysis: Analysis) -> list[Row]:
    """A row per cell that ran on a GPU, heads first; none where none did."""
    seen = [(match.title, cell, cell.gpu) for match in matches(analysis) for cell in match.cells if cell.gpu]
    if not seen:
        return []
    priced = any(math.isfinite(use.usd_per_million_good) for _, _, use in seen)
    head: Row = ("", "setup", "busy", "idle", "memory (MB)", "power (W)", "J/request", "kWh/million good",
                 *(("energy $/million good",) if priced else ()))
    return [head, *(_row(title, cell, use, priced) for title, cell, use in seen)]


def notes(analysis: Analysis) -> list[str]:
    """How those figures are counted."""
    uses = [cell.gpu for cell in analysis.cells if cell.gpu]
    if not uses:
        return []
    said = ["Busy: share of the time in which some kernel ran, however little of the GPU it used; idle is the rest.",
            *(f"Energy is the GPU's alone, from {_FROM[use]}." for use in dict.fromkeys(
                each.energy_from for each in uses) if use in _FROM)]
    prices = sorted({use.usd_per_kwh for use in uses if math.isfinite(use.usd_per_kwh)})
    said += [f"At ${price:g} per kWh. Whoever rents an instance pays its energy with its price: this is no addition "
             "to the cost beside it." for price in prices]
    return said


def html(analysis: Analysis) -> str:
    """The table and its notes; "" where nothing ran on a GPU."""
    table = rows(analysis)
    if not table:
        return ""
    head = "".join(f"<th scope='col'>{escaped(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    said = "".join(f"<li>{escaped(note)}</li>" for note in notes(analysis))
    return (f"<h3>{TITLE}</h3><div class='scroll'><table class='checks upkeep'><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div><ul class='notes'>{said}</ul>")


def markdown(analysis: Analysis) -> list[str]:
    """The same for a pull request."""
    table = rows(analysis)
    if not table:
        return []
    lines = ["| " + " | ".join(markdown_escaped(cell) for cell in row) + " |" for row in table]
    return [f"## {TITLE}", "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]]),
            "\n".join(f"- {markdown_escaped(note)}" for note in notes(analysis))]


def grid(analysis: Analysis) -> "Table | None":
    """The same for a terminal; None where nothing ran on a GPU."""
    from rich import box  # noqa: PLC0415 -- a page needs no rich
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = rows(analysis)
    if not table:
        return None
    made = Table(title=Text(TITLE, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
                 caption=Text("\n".join(notes(analysis)), style="dim"), caption_justify="left")
    for index, name in enumerate(table[0]):
        made.add_column(Text(name), justify="left" if index < 2 else "right", no_wrap=index == 1)
    for row in table[1:]:
        made.add_row(*(Text(cell) for cell in row))
    return made


def _row(title: str, cell: Cell, use: GpuUse, priced: bool) -> Row:
    figures: Sequence[str] = (
        percent(use.busy), percent(1 - use.busy), figure(use.memory_mb), figure(use.power_w),
        figure(use.joules_per_request), figure(use.kwh_per_million_good),
        *((figure(use.usd_per_million_good),) if priced else ()))
    return (clean(title), clean(cell.setup), *figures)
