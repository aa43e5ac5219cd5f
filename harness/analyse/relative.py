"""Promises against a baseline, `p(99) < baseline * 1.10`: judged over pairs of repetitions, corrected together (Holm).

Both arms of a pair met the same schedule and payloads. The question is whether the mean log ratio lies below the log
of the promised multiple, by Student's t over the pairs. Where figures are infinite (or a goodput is 0) there is no mean
ratio; the pairs that break the promise then are counted, by a sign test, for which five are the fewest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from scipy import special

from harness.analyse.compare import ALPHA, against, baselines, compared, holm, paired_figures
from harness.analyse.model import Cell, Comparison, PromiseVerdict, RunSummary, Verdict
from harness.analyse.verdicts import cell_verdict
from harness.analyse.words import more, plain
from harness.catalog.slo import Promise, parse_promise

Judged = dict[tuple[int, str], PromiseVerdict]


def with_relative(cells: Sequence[Cell], baseline: str) -> tuple[Cell, ...]:
    """The cells with their relative clauses judged against the baseline's cell of the same workload, scenario and load;
    without one they stay inconclusive. The baseline's own cell keeps them by definition."""
    bases = {id(cell): base for cell, base in against(cells, baseline)}
    own = {id(base) for base in baselines(cells, baseline).values()}
    found = [(cell, promise, _compared(cell, bases[id(cell)], promise))
             for cell in cells if id(cell) in bases for promise in _relative(cell)]
    fair = holm([one for _, _, one in found])
    judged: Judged = {(id(cell), promise.text): _endless(promise, cell, bases[id(cell)], one)
                      or _judged(promise, cell, one, len(fair))
                      for (cell, promise, _), one in zip(found, fair, strict=True)}
    judged |= {(id(cell), promise.text): PromiseVerdict(
                   promise.text, "pass", replace(cell.goodput, value=1.0, low=1.0, high=1.0), promise.limit,
                   "it is the baseline", 0.0)
               for cell in cells if id(cell) in own for promise in _relative(cell)}
    return tuple(_with(cell, judged) for cell in cells)


def _relative(cell: Cell) -> list[Promise]:
    promises = (parse_promise(*said.text.split(" ", 1)) for said in cell.promises if "baseline" in said.text)
    return [promise for promise in promises if promise.relative]


def _compared(cell: Cell, base: Cell, promise: Promise) -> Comparison:
    """The ratio of the promised figure; its p-value is that of the ratio being exactly the promised multiple."""
    return compared(cell, base, promise.text, _figure(promise), promise.limit)


def _figure(promise: Promise) -> Callable[[RunSummary], float]:
    if promise.metric == "goodput":
        return lambda run: run.goodput
    return lambda run: run.quantiles_ms.get(promise.quantile, math.nan)


def _endless(promise: Promise, cell: Cell, base: Cell, one: Comparison) -> PromiseVerdict | None:
    """A fail where the figure has no finite ratio and so many pairs break the promise that a coin would not (sign test,
    one-sided, 5 %); a pair whose baseline is as bad breaks nothing. None where that cannot be said."""
    pairs = paired_figures(cell, base, _figure(promise))
    if not one.note or not pairs:
        return None
    broken = sum(_breaks(promise, ours, theirs) for ours, theirs in pairs)
    likelihood = float(special.bdtrc(broken - 1, len(pairs), 0.5)) if broken else 1.0
    if likelihood > ALPHA:
        return None
    return PromiseVerdict(promise.text, "fail", one.ratio, promise.limit,
                          f"broken in {broken} of {len(pairs)} pairs with {one.baseline} (sign test, p = "
                          f"{likelihood:.2g}); {one.note}", 0.0)


def _breaks(promise: Promise, ours: float, theirs: float) -> bool:
    """Whether one pair breaks the promise for certain."""
    if not (math.isfinite(theirs) and theirs > 0) or math.isnan(ours):
        return False
    return ours > promise.limit * theirs if promise.below else ours < promise.limit * theirs


def _judged(promise: Promise, cell: Cell, one: Comparison, family: int) -> PromiseVerdict:
    if one.note:
        return PromiseVerdict(promise.text, "inconclusive", one.ratio, promise.limit, one.note)
    kept = (one.ratio.value < promise.limit) == promise.below
    verdict: Verdict = "inconclusive" if not one.told else "pass" if kept else "fail"
    corrected = f", corrected over {family} such promises (Holm)" if family > 1 else ""
    seen = f"{plain(one.ratio.value)} times {one.baseline}'s over {one.pairs} pairs, p = {one.p_value:.2g}{corrected}"
    if verdict != "inconclusive":
        return PromiseVerdict(promise.text, verdict, one.ratio, promise.limit, seen, 0.0)
    more_s = _more_s(promise, cell, one)
    return PromiseVerdict(promise.text, verdict, one.ratio, promise.limit,
                          f"{seen}; a ratio {plain(one.detectable)} times off the limit would have been told: "
                          f"{more(more_s)}", more_s)


def _more_s(promise: Promise, cell: Cell, one: Comparison) -> float:
    """Seconds of load, both arms together, until the interval as now seen has shrunk to the distance of the limit."""
    gap = abs(math.log(one.ratio.value / promise.limit))
    half = math.log(one.ratio.high / one.ratio.value)
    if gap <= 0 or not math.isfinite(half):
        return math.inf
    pairs = one.pairs * (half / gap) ** 2
    lengths = [run.n / run.offered_rate for run in cell.runs if run.valid and run.offered_rate > 0]
    return max(pairs - one.pairs, 1.0) * 2 * sum(lengths) / len(lengths) if lengths else math.inf


def _with(cell: Cell, judged: Mapping[tuple[int, str], PromiseVerdict]) -> Cell:
    promises = tuple(judged.get((id(cell), said.text), said) for said in cell.promises)
    if promises == cell.promises:
        return cell
    measured = [run for run in cell.runs if run.n]
    verdict, reason = cell_verdict(promises, measured, len(cell.runs) - len(measured))
    return replace(cell, promises=promises, verdict=verdict, verdict_reason=reason)
