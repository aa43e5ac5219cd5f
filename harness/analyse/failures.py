"""Which share of requests fails, and which share of answers is wrong, with what bounds them.

Failures come in bursts, so runs are worth fewer requests than they sent; and only a sample of the answers is judged, so
wrong ones are bounded by that sample and not by the requests.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.analyse.figures import RunFigures, good_ms
from harness.analyse.model import Interval
from harness.analyse.quantiles import CONFIDENCE, effective_size, mean_interval


def share_bounds(seen: float, n: float) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) for the share behind `seen` of `n`; 0 to 1 where there is nothing."""
    if n <= 0:
        return 0.0, 1.0
    low = float(special.betaincinv(seen, n - seen + 1, (1 - CONFIDENCE) / 2)) if seen > 0 else 0.0
    high = float(special.betaincinv(seen + 1, n - seen, (1 + CONFIDENCE) / 2)) if seen < n else 1.0
    return low, high


def failed_share(runs: Sequence[RunFigures]) -> Interval:
    """The share of requests that failed: the wider one of Student's interval over the repetitions and Clopper and
    Pearson's for as many requests as the runs are worth."""
    spread, size = mean_interval([run.failed_share for run in runs]), worth_of_failures(runs)
    low, high = share_bounds(spread.value * size, size)
    return Interval(spread.value, max(0.0, min(low, spread.low)), min(1.0, max(high, spread.high)))


def wrong_share(runs: Sequence[RunFigures]) -> Interval:
    """The share of answers that are wrong, by the judged ones of all runs. Where none was wrong nothing is added to
    what failed, though a sample of n leaves open a share of 3.7/n: `unseen`."""
    judged, wrong = sum(run.judged for run in runs), sum(run.wrong for run in runs)
    if not wrong:
        return Interval(0.0, 0.0, 0.0)
    return Interval(wrong / judged, *share_bounds(wrong, judged))


def unseen(runs: Sequence[RunFigures]) -> str:
    """What judging only some answers leaves open, in words; "" where wrong ones were seen."""
    judged = sum(run.judged for run in runs)
    if any(run.wrong for run in runs):
        return ""
    if not judged:
        return "no answer was judged"
    return f"none of {judged} judged answers was wrong, so up to {share_bounds(0, judged)[1]:.1%} of all may be"


def doubtful(runs: Sequence[RunFigures]) -> str:
    """`3 of 200 judged answers were wrong, which may be 0.3% to 4.3% of all`."""
    share = wrong_share(runs)
    judged, wrong = sum(run.judged for run in runs), sum(run.wrong for run in runs)
    return (f"{wrong} of {judged} judged answers were wrong, which may be "
            f"{share.low:.2%} to {share.high:.2%} of all")


def either(failed: Interval, wrong: Interval) -> Interval:
    """The share of requests that failed or were answered wrongly."""
    both = (1 - (1 - one) * (1 - other) for one, other in
            zip((failed.value, failed.low, failed.high), (wrong.value, wrong.low, wrong.high), strict=True))
    return Interval(*both)


def worth_of_failures(runs: Sequence[RunFigures]) -> float:
    """How many independent requests say as much about failures as all runs: by how failures follow each other, or
    requests that failed or broke the latency that is promised, whichever makes fewer. Bursts that never showed are in
    neither, so a pass names the longest for which it holds."""
    return sum(min(_worth(np.isinf(run.latency_ms)), _worth(run.latency_ms > good_ms(run.scenario.promises)))
               for run in runs)


def _worth(broken: NDArray[np.bool_]) -> float:
    """By autocorrelation; at most the requests divided by the mean length of bursts."""
    count = int(np.count_nonzero(broken))
    if not count:
        return float(len(broken))
    begun = int(np.count_nonzero(broken[1:] & ~broken[:-1])) + int(broken[0])
    return min(effective_size(broken), len(broken) * begun / count)
