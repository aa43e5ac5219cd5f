"""Results of two machines, or of the CPU and the GPU of one, side by side: what each setup does within its promise.

Loads are set per core, so that unlike machines meet unlike schedules: repetitions are then not pairs, and ratios come
from Welch's t on the logs (Welch 1947). Where both met the same schedules, pairs are compared as everywhere else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from harness.analyse.compare import METRICS, POWER, compared, holm
from harness.analyse.model import Analysis, Cell, Comparison, Interval
from harness.analyse.quantiles import CONFIDENCE, student
from harness.catalog.device import arm, parted

SHOWN = ("goodput", "p99")
SAME_RATE = 0.01


@dataclass(frozen=True)
class Side:
    """One machine's cells on one device; `name` tells it from the other sides, `skipped` maps 'setup × workload' to
    why it was not measured."""

    name: str
    device: str
    machine: Mapping[str, object]
    cells: tuple[Cell, ...]
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class Faced:
    """One setup under one promise on two sides: on each its cell of the highest load at which the promise was kept, or,
    where it never was, of most goodput. `ratios` (goodput, p99) are side ÷ base; `same_load` tells that both were
    offered the same."""

    setup: str
    workload: str
    promise: str
    side: str
    base: Cell
    cell: Cell
    ratios: Mapping[str, Comparison]

    @property
    def same_load(self) -> bool:
        """Whether both were offered the same rate, within a percent."""
        return abs(self.cell.offered_rate / self.base.offered_rate - 1) <= SAME_RATE


def sides(analyses: Sequence[Analysis]) -> tuple[Side, ...]:
    """The sides of the analyses, each of one machine, the CPU's before the GPU's. Of a machine met twice, once."""
    found: dict[tuple[str, str], Side] = {}
    for analysis in analyses:
        for device in ("cpu", "gpu"):
            cells = tuple(cell for cell in analysis.cells if cell.device == device)
            skipped = {name: why for name, why in {**analysis.skipped, **analysis.failed}.items()
                       if parted(name.split(" × ")[0])[1] == device}
            key = (str(analysis.machine.get("machine_id", "")), device)
            if cells and key not in found:
                found[key] = Side(_called(analysis.machine, device), device, analysis.machine, cells, skipped)
    names = [side.name for side in found.values()]
    return tuple(side if names.count(side.name) == 1 else replace(side, name=f"{side.name}, {machine}")
                 for (machine, _), side in found.items())


def faced(base: Side, others: Sequence[Side]) -> tuple[Faced, ...]:
    """Every setup and promise that the base and another side share; p-values corrected over all of them (Holm)."""
    ours = _best(base)
    pairs = [(key, side, ours[key], cell) for side in others for key, cell in _best(side).items() if key in ours]
    pairs.sort(key=lambda pair: (pair[0][1], pair[0][2], pair[0][0]))
    ratios = holm([_ratio(theirs, own, metric, side.name, base.name)
                   for _, side, own, theirs in pairs for metric in SHOWN])
    return tuple(Faced(setup, workload, promise, side.name, own, theirs,
                       dict(zip(SHOWN, ratios[i * len(SHOWN):(i + 1) * len(SHOWN)], strict=True)))
                 for i, ((setup, workload, promise), side, own, theirs) in enumerate(pairs))


def alone(base: Side, others: Sequence[Side]) -> tuple[str, ...]:
    """A sentence for each setup and workload that only some sides measured."""
    every = [base, *others]
    met = {side.name: {(parted(cell.setup)[0], cell.workload) for cell in side.cells} for side in every}
    said = []
    for setup, workload in sorted(set().union(*met.values())):
        absent = [side for side in every if (setup, workload) not in met[side.name]]
        for side in absent:
            why = side.skipped.get(f"{arm(setup, side.device)} × {workload}", "it was not raced there")
            said.append(f"{setup} on {workload} was not measured on {side.name}: {why}.")
    return tuple(said)


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[Interval, float, float, float]:
    """The ratio of two geometric means with its interval, the p-value of no difference, the smallest ratio above 1 that
    would have been told with 80 % power, and the degrees of freedom, by Welch's t on the logs; at least two each."""
    one, other = np.log(np.asarray(ours, dtype=np.float64)), np.log(np.asarray(theirs, dtype=np.float64))
    mean = float(one.mean() - other.mean())
    parts = [float(each.var(ddof=1)) / len(each) for each in (one, other)]
    error = math.sqrt(sum(parts))
    if error <= 1e-12:
        exact = Interval(math.exp(mean), math.exp(mean), math.exp(mean), CONFIDENCE)
        return exact, float(abs(mean) <= 1e-12), 1.0, float(len(one) + len(other) - 2)
    freedom = sum(parts) ** 2 / sum(part ** 2 / (len(each) - 1) for part, each in zip(parts, (one, other), strict=True))
    reach = student(CONFIDENCE, freedom)
    likelihood = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    detectable = math.exp((reach + float(special.stdtrit(freedom, POWER))) * error)
    return (Interval(math.exp(mean), math.exp(mean - reach * error), math.exp(mean + reach * error), CONFIDENCE),
            likelihood, detectable, freedom)


def _ratio(cell: Cell, base: Cell, metric: str, side: str, base_side: str) -> Comparison:
    figure = METRICS[metric]
    paired = replace(compared(cell, base, metric, figure), setup=side, baseline=base_side)
    if not paired.note:
        return paired
    ours, theirs = ([figure(run) for run in each.runs if run.valid] for each in (cell, base))
    if min(len(ours), len(theirs)) < 2:
        return replace(paired, note="fewer than two valid repetitions")
    if not all(0 < value < math.inf for value in (*ours, *theirs)):
        return replace(paired, note=f"no finite {metric} in every repetition")
    ratio, likelihood, detectable, freedom = unpaired(ours, theirs)
    return replace(paired, ratio=ratio, p_value=likelihood, detectable=detectable,
                   pairs=max(2, round(freedom) + 1), note="")


def _best(side: Side) -> dict[tuple[str, str, str], Cell]:
    """(setup, workload, promise) -> the cell to show; none where no measurement is valid."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in side.cells:
        if cell.verdict != "invalid" and not cell.closed_loop:
            promise = " and ".join(each.text for each in cell.promises)
            groups.setdefault((parted(cell.setup)[0], cell.workload, promise), []).append(cell)
    return {key: max((cell for cell in cells if cell.verdict == "pass"), key=lambda cell: cell.offered_rate,
                     default=max(cells, key=lambda cell: cell.goodput.value)) for key, cells in groups.items()}


def _called(machine: Mapping[str, object], device: str) -> str:
    gpus = machine.get("gpus")
    if device == "gpu":
        return str(gpus[0]) if isinstance(gpus, list) and gpus else f"a GPU of {machine.get('machine_id', 'a machine')}"
    told = str(machine.get("cpu") or machine.get("machine_id", "a machine"))
    return f"{told}, {machine['cpus']} CPUs" if machine.get("cpus") else told
