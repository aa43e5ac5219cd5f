"""Which cells of an Analysis are shown together, and which of them may be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analyse.compare import compare
from harness.analyse.model import Analysis, Cell, Comparison, Interval
from harness.analyse.words import UNLIKE
from harness.catalog.slo import Promise, parse_promise


@dataclass(frozen=True)
class Match:
    """The cells that met the same workload, scenario and load, in order of their p99; `alone` tells that the scenario
    was run at no other load. `p99s` are comparisons of p99 between two of the cells: those of the analysis, and the
    fastest trusted cell's with every other one."""

    workload: str
    scenario: str
    load: float
    cells: tuple[Cell, ...]
    alone: bool
    p99s: tuple[Comparison, ...] = ()

    @property
    def title(self) -> str:
        """`embed · embed-steady`, with the load where there are several."""
        return f"{self.workload} · {self.scenario}" + ("" if self.alone else f" · load ×{self.load:g}")

    @property
    def trusted(self) -> tuple[Cell, ...]:
        """The cells whose measurement is valid and whose p99 exists, fastest first."""
        return trusted(self.cells)

    def detectable(self, cell: Cell, fastest: Cell) -> float:
        """The smallest ratio of the two p99s that would have been told; NaN where they were not compared."""
        names = {cell.setup, fastest.setup}
        return next((each.detectable for each in self.p99s if {each.setup, each.baseline} == names), math.nan)

    def ratio(self, cell: Cell, fastest: Cell) -> Interval | None:
        """How many times the fastest one's p99 the cell's is, paired by repetition; None where it cannot be told that
        they differ. A p99 that is infinite in every repetition is ∞ times any bounded one."""
        if math.isinf(p99(cell).low) and bounded(p99(fastest)):
            return Interval(math.inf, math.inf, math.inf)
        for each in self.p99s:
            if each.told and (each.setup, each.baseline) == (cell.setup, fastest.setup):
                return each.ratio if each.ratio.value > 1 else None
            if each.told and (each.setup, each.baseline) == (fastest.setup, cell.setup):
                return Interval(1 / each.ratio.value, 1 / each.ratio.high, 1 / each.ratio.low) \
                    if each.ratio.value < 1 else None
        return None


def matches(analysis: Analysis) -> tuple[Match, ...]:
    """Every match of the analysis: workloads and scenarios in the order in which they were planned, loads ascending."""
    keys = list(dict.fromkeys((cell.workload, cell.scenario, cell.load) for cell in analysis.cells))
    names = list(dict.fromkeys(key[:2] for key in keys))
    keys.sort(key=lambda key: (names.index(key[:2]), key[2]))
    found = []
    for workload, scenario, load in keys:
        cells = [cell for cell in analysis.cells
                 if (cell.workload, cell.scenario, cell.load) == (workload, scenario, load)]
        loads = [key for key in keys if key[:2] == (workload, scenario)]
        cells.sort(key=lambda cell: (math.isnan(p99(cell).value), p99(cell).value, cell.setup))
        found.append(Match(workload, scenario, load, tuple(cells), len(loads) == 1, _p99s(analysis, cells)))
    return tuple(found)


def trusted(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells whose measurement is valid and whose p99 exists, in the order given."""
    return tuple(cell for cell in cells if cell.verdict != "invalid" and not math.isnan(p99(cell).value))


def _p99s(analysis: Analysis, cells: Sequence[Cell]) -> tuple[Comparison, ...]:
    """The analysis's own comparisons where it has them, so that a figure never contradicts the table; made here
    between the fastest cell and those it was not compared with."""
    own = [each for cell in cells if (each := against(analysis, cell)) is not None]
    met = {frozenset((each.setup, each.baseline)) for each in own}
    fastest, *others = trusted(cells) or (None,)
    if fastest is None:
        return tuple(own)
    pairs = [(cell, fastest) for cell in others if frozenset((cell.setup, fastest.setup)) not in met]
    return (*own, *(each for each in compare(pairs, force=True) if each.metric == "p99"))


def typical(analysis: Analysis) -> tuple[Match, ...]:
    """One match of each scenario: the one whose load is nearest to what the scenario says."""
    best: dict[tuple[str, str], Match] = {}
    for match in matches(analysis):
        key = (match.workload, match.scenario)
        if key not in best or abs(math.log(match.load)) < abs(math.log(best[key].load)):
            best[key] = match
    return tuple(best.values())


def climbs(analysis: Analysis) -> tuple[tuple[Match, ...], ...]:
    """The matches of each scenario that was run at several loads, by load."""
    groups: dict[tuple[str, str], list[Match]] = {}
    for match in matches(analysis):
        groups.setdefault((match.workload, match.scenario), []).append(match)
    return tuple(tuple(sorted(group, key=lambda match: match.load)) for group in groups.values() if len(group) > 1)


def setups(analysis: Analysis) -> tuple[str, ...]:
    """Every setup that appears anywhere, sorted by name."""
    absent = [name.split(" × ")[0] for name in (*analysis.skipped, *analysis.failed)]
    return tuple(sorted({cell.setup for cell in analysis.cells} | set(absent)))


def p99(cell: Cell) -> Interval:
    """The cell's p99; NaN where it has none."""
    return cell.quantiles_ms.get(0.99, Interval(math.nan, math.nan, math.nan))


def bounded(figure: Interval) -> bool:
    """Whether the data bound the figure on both sides, and not so far apart that the bounds say nothing."""
    return math.isfinite(figure.low) and math.isfinite(figure.high) and figure.high <= UNLIKE * figure.low


def against(analysis: Analysis, cell: Cell, metric: str = "p99") -> Comparison | None:
    """How the cell compares with the baseline in that metric; None where they were not compared."""
    return next((each for each in analysis.comparisons
                 if (each.setup, each.workload, each.scenario, each.load)
                 == (cell.setup, cell.workload, cell.scenario, cell.load) and each.metric == metric), None)


def among(analysis: Analysis, match: Match) -> list[Comparison]:
    """The analysis's comparisons between cells of the match."""
    place = (match.workload, match.scenario, match.load)
    return [each for each in analysis.comparisons if (each.workload, each.scenario, each.load) == place]


def latency_promises(cells: Sequence[Cell]) -> tuple[Promise, ...]:
    """The different latency clauses that these cells were judged by, each once; not those against a baseline."""
    texts = dict.fromkeys(promise.text for cell in cells for promise in cell.promises if promise.text.startswith("p("))
    promises = (parse_promise(*text.split(" ", 1)) for text in texts)
    return tuple(promise for promise in promises if not promise.relative)
