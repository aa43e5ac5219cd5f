"""The comparison as a table in the manner of benchstat: for a terminal, for Markdown, for a page.

A cell without a valid measurement shows its verdict and the reason, never a naked figure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analyse.compare import TELLING
from harness.analyse.model import Analysis, Cell, Comparison, Interval
from harness.report import gpu
from harness.report.select import Match, against, among, bounded, matches, p99
from harness.report.upkeep import broken_contracts, contract_notes
from harness.report.words import clean, escaped, figure, markdown_escaped, percent, times

if TYPE_CHECKING:
    from rich.console import RenderableType

MARK = {"pass": "✓ pass", "fail": "✗ fail", "inconclusive": "~ inconclusive", "invalid": "! invalid",
        "failed": "! failed", "skipped": "– skipped"}


@dataclass(frozen=True)
class Line:
    """One setup: its verdict, why, and its figures in the order of the table's head; none where there is no valid
    measurement. `mark` follows the name where a note explains it."""

    setup: str
    verdict: str
    why: str
    figures: tuple[str, ...]
    mark: str = ""

    @property
    def name(self) -> str:
        """The setup with its mark."""
        return f"{self.setup} {self.mark}".rstrip()


@dataclass(frozen=True)
class Table:
    """One match: heads carry the units, notes explain the signs that appear in it."""

    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def tables(analysis: Analysis) -> tuple[Table, ...]:
    """A table for every workload, scenario and load; setups that were skipped or failed stand in it too."""
    met = matches(analysis)
    made = [_table(analysis, match) for match in met]
    shown = {f"{line.setup} × {match.workload}" for match, table in zip(met, made, strict=True) for line in table.lines}
    rest = [line for name, line in _absent(analysis) if name not in shown]
    return (*made, Table("Not measured", (), tuple(rest), ())) if rest else tuple(made)


def text(analysis: Analysis) -> "RenderableType":
    """The tables for a terminal, ready for rich to print."""
    from rich.console import Group  # noqa: PLC0415 -- a page needs no rich
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = []
    for table in tables(analysis):
        parts.append(_grid(table))
        parts += [Text(f"  {line.setup}: {line.why}", style="dim") for line in table.lines
                  if line.why and line.verdict != "pass"]
        parts += [Text(f"  {note}", style="dim") for note in table.notes]
        parts.append(Text())
    on_gpu = gpu.grid(analysis)
    return Group(*parts, *([on_gpu] if on_gpu else []))


def markdown(analysis: Analysis) -> str:
    """The tables as GitHub-flavoured Markdown."""
    return "\n\n".join(_markdown(table) for table in tables(analysis))


def html(table: Table) -> str:
    """One table as HTML; every text is escaped."""
    head = "".join(f"<th scope='col'>{escaped(name)}</th>" for name in ("setup", "verdict", *table.head))
    rows = "".join(_row(line, max(len(table.head), 1)) for line in table.lines)
    notes = "".join(f"<li>{escaped(note)}</li>" for note in table.notes)
    below = f"<ul class='notes'>{notes}</ul>" if notes else ""
    return (f"<p class='over'>{escaped(table.title)}</p><div class='scroll'><table class='figures'>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{below}")


def _table(analysis: Analysis, match: Match) -> Table:
    base = next((each.baseline for cell in match.cells if (each := against(analysis, cell)) is not None), "")
    costs = any(cell.cost for cell in match.cells)
    head = ["p50 (ms)", "p99 (ms)", "p99.9 (ms)", "goodput (/s)", "errors"]
    head += ["$/million good"] * costs + [f"p99 ÷ {clean(base)}'s"] * bool(base)
    lines = [_line(analysis, cell, costs=costs, base=base) for cell in match.cells]
    lines += [line for name, line in _absent(analysis) if name.endswith(f" × {match.workload}")
              and line.setup not in {cell.setup for cell in match.cells}]
    promises = list(dict.fromkeys(promise.text for cell in match.cells for promise in cell.promises))
    rate = f"{figure(match.cells[0].offered_rate)} requests/s offered"
    closed = ", closed loop: queueing is hidden" if any(cell.closed_loop for cell in match.cells) else ""
    title = f"{match.title}: {rate}{closed}; promise: {' and '.join(promises) or 'none'}"
    why = [f"{clean(each.setup)} ÷ {clean(each.baseline)}: {clean(each.note)}." for each in among(analysis, match)
           if each.note and each.metric == "p99" and each.setup in {cell.setup for cell in match.trusted}]
    broken = broken_contracts(analysis.contracts, match.workload)
    marked = [replace(line, mark="†" * (line.setup in broken)) for line in lines]
    names = {line.setup for line in lines}
    notes = contract_notes({name: codes for name, codes in broken.items() if name in names})
    sure = sorted({promise.confidence for cell in match.cells for promise in cell.promises})
    said = [f"✓ and ✗ are said at {100 * sure[0]:g} % confidence."] if sure else []
    family = max((each.family for each in among(analysis, match)), default=1)
    fair = [f"{family} comparisons were corrected together (Holm), and what would have shown with them."]
    said += _cost_note(match.cells)
    signs = (*_notes(lines), *said, *fair * (family > 1), *_worth(match), *why, *notes)
    return Table(clean(title), tuple(head), tuple(marked), signs)


def _cost_note(cells: Sequence[Cell]) -> list[str]:
    """What the costs rest on, in one line; none where there are none."""
    found = dict.fromkeys(
        f"${cell.cost.hourly_usd:g}/h {clean(cell.cost.instance)}"
        + (f" on {cell.cost.price_date}" * cell.cost.price_date[:1].isdigit())
        + " (not verified)" * (not cell.cost.verified) for cell in cells if cell.cost)
    return [f"$/million good: {'; '.join(found)}; at the load measured, no spare replica, idle hour, disk or traffic."
            ] if found else []


def _line(analysis: Analysis, cell: Cell, *, costs: bool, base: str) -> Line:
    if cell.verdict == "invalid":
        return Line(clean(cell.setup), "invalid", clean(cell.verdict_reason), ())
    quantile = cell.quantiles_ms
    none = Interval(math.nan, math.nan, math.nan)
    shown = [figure(quantile.get(0.5, none).value), spread(p99(cell)), spread(quantile.get(0.999, none)),
             figure(cell.goodput.value), percent(cell.error_rate)]
    if costs:
        shown.append(figure(cell.cost.per_million_good_usd) if cell.cost else "–")
    if base:
        shown.append("baseline" if cell.setup == base else ratio(against(analysis, cell)))
    return Line(clean(cell.setup), cell.verdict, clean(cell.verdict_reason), tuple(shown))


def spread(interval: Interval) -> str:
    """A figure with half the width of its interval in percent, as benchstat has it; ±? where nothing bounds it."""
    if not math.isfinite(interval.value):
        return figure(interval.value)
    if not bounded(interval):
        return f"{figure(interval.value)} ±?"
    widest = max(interval.high - interval.value, interval.value - interval.low)
    half = widest / interval.value if interval.value else 0.0
    return f"{figure(interval.value)} ±{figure(100 * half, 2 if half < 1 else 3)} %"


def ratio(compared: Comparison | None) -> str:
    """`0.42× (0.38–0.47)`, or `~` with the smallest ratio that would have been seen: `~ (≥ 1.5×)`, `~ (> 10×)`."""
    if compared is None:
        return "–"
    if compared.told:
        return f"{times(compared.ratio.value)} ({figure(compared.ratio.low, 2)}–{figure(compared.ratio.high, 2)})"
    if math.isnan(compared.detectable):
        return "~"
    return f"~ (≥ {times(compared.detectable)})" if math.isfinite(compared.detectable) else f"~ (> {times(TELLING)})"


def _absent(analysis: Analysis) -> list[tuple[str, Line]]:
    """The setups without any measurement, by the name `setup × workload`."""
    return [(clean(name), Line(clean(name.split(" × ")[0]), verdict, clean(why), ()))
            for verdict, reasons in (("failed", analysis.failed), ("skipped", analysis.skipped))
            for name, why in reasons.items()]


def _worth(match: Match) -> list[str]:
    """How many independent requests figures rest on, and which runs were as long as what they showed let them be."""
    cells = [cell for cell in match.cells if cell.verdict != "invalid"]
    worth = [f"{clean(cell.setup)} {sum(run.effective for run in cell.runs if run.valid):,.0f} of "
             f"{sum(run.n for run in cell.runs if run.valid):,}" for cell in cells]
    looked = [clean(cell.setup) for cell in cells if any(run.looked for run in cell.runs)]
    return [f"Independent requests at p99: {', '.join(worth)}."] * bool(worth) + [
        f"{', '.join(looked)}: runs ended by what was seen in them, so p50 and p99 lean to it; the verdict allows "
        "for that."] * bool(looked)


def _notes(lines: Sequence[Line]) -> list[str]:
    shown = " ".join(figure for line in lines for figure in line.figures)
    signs = (("%", "±: half the 95 % interval over repetitions."),
             ("±?", "±?: too few repetitions or requests to bound the figure."),
             ("~", "~: no difference can be told; in brackets the smallest ratio that would have shown."),
             ("∞", "∞: more requests failed than the quantile allows."))
    return [note for sign, note in signs if sign in shown]


def _grid(table: Table) -> "RenderableType":
    from rich import box  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    tone = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
    grid = Grid(title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(("setup", "verdict", *table.head)):
        grid.add_column(Text(name), justify="left" if i < 2 else "right", no_wrap=i < 2)
    for line in table.lines:
        cells = line.figures or ("–",) * len(table.head)
        grid.add_row(Text(line.name), Text(MARK[line.verdict], style=tone.get(line.verdict, "magenta")),
                     *(Text(cell) for cell in cells))
    return grid


def _markdown(table: Table) -> str:
    rows = [["setup", "verdict", *table.head, "why"]]
    rows += [[line.name, MARK[line.verdict], *(line.figures or ("–",) * len(table.head)), line.why]
             for line in table.lines]
    body = ["| " + " | ".join(markdown_escaped(cell) for cell in row) + " |" for row in rows]
    rule = "|" + "|".join(["---", "---", *["---:"] * len(table.head), "---"]) + "|"
    notes = [f"- {markdown_escaped(note)}" for note in table.notes]
    return "\n".join([f"**{markdown_escaped(table.title)}**", "", body[0], rule, *body[1:], "", *notes]).rstrip()


def _row(line: Line, width: int) -> str:
    lead = (f"<th scope='row'>{escaped(line.name)}</th>"
            f"<td class='{line.verdict}'>{escaped(MARK[line.verdict])}</td>")
    if not line.figures:
        return f"<tr>{lead}<td class='why' colspan='{width}'>{escaped(line.why)}</td></tr>"
    cells = "".join(f"<td>{escaped(cell)}</td>" for cell in line.figures)
    why = "" if line.verdict == "pass" or not line.why else \
        f"<tr class='more'><td></td><td class='why' colspan='{width + 1}'>{escaped(line.why)}</td></tr>"
    return f"<tr>{lead}{cells}</tr>{why}"
