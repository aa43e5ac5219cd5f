"""The noise floor of this machine: what an A/A race says of two setups that are one."""

import math
from collections.abc import Sequence

import numpy as np

from harness.analyse.compare import POWER, paired
from harness.analyse.figures import figures
from harness.analyse.frames import read_view
from harness.analyse.quantiles import CONFIDENCE, quantile, student
from harness.audit.model import Difference
from harness.record.read import StoredRun

REPETITIONS = (5, 10, 20, 50)


def noise_floor(pairs: Sequence[tuple[StoredRun, StoredRun]]) -> tuple[Difference, ...]:
    """For p50, p99 and goodput: the ratio of the two arms, the p-value of no difference, the standard deviation of the
    paired log ratio, and what could be told with so many repetitions; empty with fewer than two pairs."""
    if len(pairs) < 2:
        return ()
    told = [[_figures(run) for run in pair] for pair in pairs]
    made = []
    for metric in told[0][0]:
        logs = [math.log(ours[metric] / theirs[metric]) for ours, theirs in told]
        ratio, likelihood, _ = paired(logs)
        spread = float(np.std(logs, ddof=1))
        made.append(Difference(metric, ratio.value, likelihood, spread,
                               {n: detectable(spread, n) for n in REPETITIONS}))
    return tuple(made)


def detectable(spread: float, repetitions: int) -> float:
    """The smallest ratio above 1 that a paired t-test at 95 % tells with 80 % power, where paired log ratios have that
    standard deviation (as harness/analyse/compare.py's `paired`)."""
    from scipy import special  # noqa: PLC0415  slow to import

    freedom = repetitions - 1
    quantiles = student(CONFIDENCE, freedom) + float(special.stdtrit(freedom, POWER))
    return math.exp(quantiles * spread / math.sqrt(repetitions))


def _figures(run: StoredRun) -> dict[str, float]:
    view = read_view(run)
    made = figures(view, view.probes)
    return {"p50": quantile(made.ordered_ms, 0.5), "p99": quantile(made.ordered_ms, 0.99), "goodput": made.goodput}
