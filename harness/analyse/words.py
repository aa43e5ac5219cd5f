"""What was found and how sure it is, as a person would say it."""

import math
from collections.abc import Iterable, Sequence

from harness.analyse.model import Cell, Comparison, Interval

LONGEST_S = 24 * 3600.0
UNLIKE = 1000.0  # an interval whose ends differ by more says nothing and is not printed


def plain(value: float) -> str:
    """Three significant digits without an exponent."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else "unknown"
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, decimals):,.{min(max(decimals, 0), 6)}f}"


def bounded(figure: Interval) -> str:
    """`41.2 (37.0 to 46.1)`, or the value alone where nothing bounds it."""
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return plain(figure.value)
    return f"{plain(figure.value)} ({plain(figure.low)} to {plain(figure.high)})"


def more(seconds: float) -> str:
    """How much more measuring it takes."""
    if not seconds < LONGEST_S:
        return "too close to tell within a day of measuring"
    count = max(1, math.ceil(seconds))
    return f"about {count:,} more second{'s' * (count > 1)}"


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
    load = "in a closed loop" if first.closed_loop else f"at {plain(first.offered_rate)} req/s"
    by = {verdict: sorted((cell for cell in cells if cell.verdict == verdict), key=_p99)
          for verdict in ("pass", "fail", "inconclusive", "invalid")}
    parts = []
    if by["pass"]:
        parts.append(f"{_listed(map(_with_p99, by['pass']))} {_verb(by['pass'], 'keeps', 'keep')} {promise}")
    if by["fail"]:
        what = "" if by["pass"] else f" keep {promise}"
        parts.append(f"{_listed(map(_with_p99, by['fail']))} {_verb(by['fail'], 'does', 'do')} not{what}")
    if by["inconclusive"]:
        parts.append(f"it cannot be told yet for {_with_reasons(by['inconclusive'])}")
    if by["invalid"]:
        parts.append(f"{_with_reasons(by['invalid'])} {_verb(by['invalid'], 'was', 'were')} not measured validly")
    told = _compared([each for each in comparisons if each.metric == "p99"])
    return f"On {first.workload} {load}, {_repetitions(cells)}: {'; '.join([*parts, *told])}."


def _with_p99(cell: Cell) -> str:
    figure = cell.quantiles_ms[0.99]
    if math.isinf(figure.value):
        return f"{cell.setup} (p99 infinite: {cell.error_rate:.1%} failed)"
    if not math.isfinite(figure.high) or figure.high > UNLIKE * figure.low:
        return f"{cell.setup} (p99 {plain(figure.value)} ms, unbounded)"
    return f"{cell.setup} (p99 {plain(figure.value)} ms, 95 % interval {plain(figure.low)} to {plain(figure.high)})"


def _with_reasons(cells: Sequence[Cell]) -> str:
    """Setups and the reasons, each reason once: `a and b (…) and c (…)`."""
    by: dict[str, list[str]] = {}
    for cell in cells:
        open_ = [each.reason for each in cell.promises if each.verdict == cell.verdict]
        by.setdefault(open_[0] if open_ else cell.verdict_reason, []).append(cell.setup)
    return _listed(f"{_listed(setups)} ({reason})" for reason, setups in by.items())


def _repetitions(cells: Sequence[Cell]) -> str:
    counts = sorted({sum(run.valid for run in cell.runs) for cell in cells})
    if len(counts) == 1:
        return f"{counts[0]} valid repetition{'' if counts[0] == 1 else 's'} each"
    return f"{counts[0]} to {counts[-1]} valid repetitions"


def _compared(comparisons: Sequence[Comparison]) -> list[str]:
    """The ratios that are told, then in one clause for each baseline those that are not."""
    said = [f"{each.setup}'s p99 is {plain(each.ratio.value)} times {each.baseline}'s ({plain(each.ratio.low)} to "
            f"{plain(each.ratio.high)})" for each in comparisons if each.told]
    unseen: dict[str, list[str]] = {}
    for each in comparisons:
        if not each.told and math.isfinite(each.detectable):
            unseen.setdefault(each.baseline, []).append(f"{each.setup} ({plain(each.detectable)} times)")
    return said + [f"no difference in p99 from {baseline} can be told, though one so large would have been: "
                   f"{', '.join(setups)}" for baseline, setups in unseen.items()]


def _listed(items: Iterable[str]) -> str:
    names = list(items)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(cells: Sequence[Cell], one: str, many: str) -> str:
    return one if len(cells) == 1 else many


def _p99(cell: Cell) -> float:
    return cell.quantiles_ms[0.99].value
