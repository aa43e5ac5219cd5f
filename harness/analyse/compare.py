"""Is one cell different from another, and how sure is that? Pairs of repetitions, never pairs of requests.

Both arms of a repetition replay the same schedule and payloads, so the log ratio of their figures loses the noise they
share (common random numbers: Law 2015, §11.2).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from harness.analyse.model import Cell, Comparison, Interval, RunSummary
from harness.analyse.quantiles import CONFIDENCE, student
from harness.catalog.device import arm
from harness.errors import TailraceError

ALPHA = 0.05
POWER = 0.8
TELLING = 10.0  # a ratio that would have been told is named up to here; beyond, the pairs were too few

METRICS: Mapping[str, Callable[[RunSummary], float]] = {
    "p50": lambda run: run.quantiles_ms.get(0.5, math.nan),
    "p99": lambda run: run.quantiles_ms.get(0.99, math.nan),
    "goodput": lambda run: run.goodput,
}


def against(cells: Sequence[Cell], baseline: str) -> list[tuple[Cell, Cell]]:
    """Every cell beside the baseline's cell of the same workload, scenario and load."""
    base = baselines(cells, baseline)
    return [(cell, base[_place(cell)]) for cell in cells
            if _place(cell) in base and base[_place(cell)].setup != cell.setup]


def baselines(cells: Sequence[Cell], baseline: str) -> dict[tuple[str, str, float], Cell]:
    """(workload, scenario, load) -> the baseline's cell: that of the very arm named (`flask (gpu)`); where a setup
    named alone did not run on the CPU, that of the device it ran on."""
    return {_place(cell): cell for name in (arm(baseline, "gpu"), baseline)
            for cell in reversed(cells) if cell.setup == name}


def between(new: Sequence[Cell], old: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Every cell of one set of results beside the same setup's cell of another set."""
    base = {(cell.setup, *_place(cell)): cell for cell in old}
    return [(cell, base[key]) for cell in new if (key := (cell.setup, *_place(cell))) in base]


def compare(pairs: Sequence[tuple[Cell, Cell]], force: bool = False) -> tuple[Comparison, ...]:
    """One comparison per pair of cells and metric, p-values corrected over all of them.

    Raises TailraceError where the machines, or the content of workloads or scenarios, are unlike, unless forced.
    """
    if not force:
        for cell, base in pairs:
            _refuse_unlike(cell, base)
    return holm([compared(cell, base, metric, figure) for cell, base in pairs for metric, figure in METRICS.items()])


def holm(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with p-values that keep the chance of any false claim among all of them at 5 % (Holm 1979).

    `told` follows from them, and for what is not told, the difference that would have been: at the level that Holm's
    procedure leaves to it. A comparison without a p-value takes no part.
    """
    order = sorted((i for i, each in enumerate(found) if math.isfinite(each.p_value)), key=lambda i: found[i].p_value)
    corrected, floor = list(found), 0.0
    for place, index in enumerate(order):
        floor = max(floor, min(1.0, found[index].p_value * (len(order) - place)))
        corrected[index] = replace(found[index], p_value=floor, told=floor < ALPHA, family=len(order))
    left = sum(not corrected[index].told for index in order)
    for index in order:
        if not corrected[index].told:
            corrected[index] = replace(corrected[index], detectable=_detectable(found[index], left))
    return tuple(corrected)


def _detectable(one: Comparison, left: int) -> float:
    """The smallest ratio that would have been told, with 80 % power, as one of `left` comparisons; infinite where the
    pairs are so few that none worth naming would have been."""
    if one.pairs < 2 or not math.isfinite(one.detectable):
        return one.detectable
    power = float(special.stdtrit(one.pairs - 1, POWER))
    alone, among = (student(1 - ALPHA / count, one.pairs - 1) + power for count in (1, left))
    least = float(one.detectable ** (among / alone))
    return least if least <= TELLING else math.inf


def paired(log_ratios: Sequence[float]) -> tuple[Interval, float, float]:
    """The ratio with its interval, the p-value of no difference, and the smallest ratio above 1 that would have been
    told with 80 % power, from the log ratio of every pair.

    Student's paired t on the logs. A sign-flip test would assume less, but with five pairs its smallest two-sided
    p-value is 2/2⁵ = 0.0625 (Fisher 1935, §21), so it could never tell anything; the log of a sample quantile is
    asymptotically normal (Bahadur 1966), which is what t asks for.
    """
    logs = np.asarray(log_ratios, dtype=np.float64)
    mean, freedom = float(logs.mean()), len(logs) - 1
    if freedom < 1:
        return Interval(math.exp(mean), math.nan, math.nan, CONFIDENCE), math.nan, math.nan
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    if error <= 1e-12:
        return Interval(math.exp(mean), math.exp(mean), math.exp(mean), CONFIDENCE), float(abs(mean) <= 1e-12), 1.0
    quantile = student(CONFIDENCE, freedom)
    likelihood = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    detectable = math.exp((quantile + float(special.stdtrit(freedom, POWER))) * error)
    low, high = math.exp(mean - quantile * error), math.exp(mean + quantile * error)
    return Interval(math.exp(mean), low, high, CONFIDENCE), likelihood, detectable


def compared(cell: Cell, base: Cell, metric: str, figure: Callable[[RunSummary], float],
             multiple: float = 1.0) -> Comparison:
    """The ratio of a figure over the pairs of repetitions; the p-value is that of its being `multiple`, and
    `detectable` the smallest factor off it that would have been told. `told` is still to be set (`holm`)."""
    ours = {run.repetition: figure(run) for run in cell.runs if run.valid}
    theirs = {run.repetition: figure(run) for run in base.runs if run.valid}
    unlike = _unlike_schedules(cell, base)
    shared = sorted((set(ours) & set(theirs)) - unlike)
    made = Comparison(cell.setup, base.setup, cell.workload, cell.scenario, cell.load, metric,
                      Interval(math.nan, math.nan, math.nan, CONFIDENCE), math.nan, False, math.nan, len(shared))
    endless = {each.setup: sum(not 0 < values[r] < math.inf for r in shared)
               for each, values in ((cell, ours), (base, theirs))}
    if any(endless.values()):
        lame = " and ".join(f"{name} in {n} of {len(shared)}" for name, n in endless.items() if n)
        return replace(made, note=f"no finite {metric}: {lame} repetitions")
    if len(shared) < 2:
        why = f", and unlike schedules in {len(unlike)}" if unlike else ""
        return replace(made, note=f"fewer than two valid repetitions in common{why}")
    ratio, likelihood, detectable = paired([math.log(ours[r] / theirs[r] / multiple) for r in shared])
    ratio = Interval(ratio.value * multiple, ratio.low * multiple, ratio.high * multiple, ratio.confidence)
    return replace(made, ratio=ratio, p_value=likelihood, detectable=detectable)


def paired_figures(cell: Cell, base: Cell, figure: Callable[[RunSummary], float]) -> list[tuple[float, float]]:
    """A figure of both in every valid repetition in which they met the same schedule."""
    ours, theirs = ({run.repetition: figure(run) for run in each.runs if run.valid} for each in (cell, base))
    shared = (set(ours) & set(theirs)) - _unlike_schedules(cell, base)
    return [(ours[repetition], theirs[repetition]) for repetition in sorted(shared)]


def _unlike_schedules(cell: Cell, base: Cell) -> set[int]:
    """The repetitions in which the two did not meet the same arrivals and payloads."""
    ours, theirs = ({run.repetition: run.schedule for run in each.runs if run.schedule} for each in (cell, base))
    return {repetition for repetition in set(ours) & set(theirs) if ours[repetition] != theirs[repetition]}


def _place(cell: Cell) -> tuple[str, str, float]:
    return cell.workload, cell.scenario, cell.load


def _refuse_unlike(cell: Cell, base: Cell) -> None:
    unlike = [("machine", cell.machine_id, base.machine_id)]
    unlike += [(noun, cell.hashes.get(noun, ""), base.hashes.get(noun, "")) for noun in ("workload", "scenario")]
    for noun, ours, theirs in unlike:
        if ours != theirs:
            raise TailraceError(
                f"{cell.setup} and {base.setup} on {cell.workload} were measured with unlike {noun}s "
                f"({theirs[:12] or 'unknown'}, {ours[:12] or 'unknown'})",
                "name one machine's folder, or put two side by side with --against" if noun == "machine" else
                "measure both alike, or force the comparison")
