"""What was found and how sure it is, as a person would say it."""

import math
from collections.abc import Sequence

from harness.analyse.model import Cell, Comparison, Interval


def sentence(cells: Sequence[Cell], comparisons: Sequence[Comparison]) -> str:
    """One sentence per workload, scenario and load; says first who keeps the promise, then who does not, then what is
    not known."""
    places = dict.fromkeys((cell.workload, cell.scenario, cell.load) for cell in cells)
    said = [_match([cell for cell in cells if (cell.workload, cell.scenario, cell.load) == place],
                   [each for each in comparisons if (each.workload, each.scenario, each.load) == place])
            for place in places]
    return " ".join(said) if said else "Nothing was measured."


def _match(cells: Sequence[Cell], comparisons: Sequence[Comparison]) -> str:
    first = cells[0]
    promise = " and ".join(each.text for each in first.promises) or "what was promised (nothing)"
    load = "in a closed loop" if first.closed_loop else f"at {_rate(first.offered_rate)} req/s"
    by = {verdict: sorted((cell for cell in cells if cell.verdict == verdict), key=_p99)
          for verdict in ("pass", "fail", "inconclusive", "invalid")}
    parts = []
    if by["pass"]:
        parts.append(f"{_names(by['pass'])} {_verb(by['pass'], 'keeps', 'keep')} {promise} {_evidence(by['pass'])}")
    if by["fail"]:
        what = "" if by["pass"] else f" keep {promise}"
        parts.append(f"{_names(by['fail'])} {_verb(by['fail'], 'does', 'do')} not{what} {_evidence(by['fail'])}")
    if by["inconclusive"]:
        parts.append(f"for {_names(by['inconclusive'])} it cannot be told yet {_evidence(by['inconclusive'])}")
    if by["invalid"]:
        parts.append(f"{_names(by['invalid'])} {_verb(by['invalid'], 'was', 'were')} not measured validly "
                     f"({by['invalid'][0].verdict_reason})")
    told = [text for each in comparisons if each.metric == "p99" and (text := _compared(each))]
    return f"On {first.workload} {load} {'; '.join([*parts, *told])}."


def _evidence(cells: Sequence[Cell]) -> str:
    """p99s with intervals; the number of repetitions once where all have the same."""
    counts = {sum(run.valid for run in cell.runs) for cell in cells}
    figures = ", ".join(_shown(cell.quantiles_ms[0.99], first=index == 0) for index, cell in enumerate(cells))
    times = f"{next(iter(counts))} repetitions" if len(counts) == 1 else f"{min(counts)} to {max(counts)} repetitions"
    return f"(p99 {figures}; {times})"


def _shown(figure: Interval, first: bool) -> str:
    if math.isinf(figure.value):
        return "infinite, for more than 1 % failed"
    if not math.isfinite(figure.high):
        return f"{figure.value:.3g} ms, unbounded"
    interval = "95 % interval " if first else ""
    return f"{figure.value:.3g} ms, {interval}{figure.low:.3g} to {figure.high:.3g}"


def _compared(each: Comparison) -> str:
    if not each.told:
        return ""
    return (f"{each.setup}'s p99 is {each.ratio.value:.2g} times {each.baseline}'s "
            f"({each.ratio.low:.2g} to {each.ratio.high:.2g})")


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def _names(cells: Sequence[Cell]) -> str:
    names = [cell.setup for cell in cells]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(cells: Sequence[Cell], one: str, many: str) -> str:
    return one if len(cells) == 1 else many


def _p99(cell: Cell) -> float:
    return cell.quantiles_ms[0.99].value
