"""Is one cost lower than another? Intervals that hold however often one looks and measures on.

The t-statistic of paired log ratios is turned into a likelihood ratio against "no difference" with a normal prior on
the standardised effect (Gönen et al. 2005, The American Statistician 59). With the right-Haar prior on the scale it is
a test martingale, so its threshold holds under optional continuation (Hendriksen, de Heide & Grünwald 2021; Wang &
Ramdas 2024): "measure n more minutes" costs nothing of the promised error.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analyse.model import Interval
from harness.analyse.quantiles import CONFIDENCE, student

SPREAD = 4.0      # prior variance of the effect in standard deviations
SAME = 0.005      # log ratios of one setup's repetitions are not known better than to half a percent
FEWEST = 3
DRAWS = 20_000


def log_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The geometric mean with Student's interval on the logs; at least two positive values."""
    logs = np.log(np.asarray(values, dtype=np.float64))
    half = student(confidence, len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    mean = float(logs.mean())
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), confidence)


def critical(n: int, error: float) -> float:
    """The |t| from which on the likelihood ratio reaches 1/`error`; infinite where n is too small to ever reach it."""
    weight = 1 + n * SPREAD
    k = (math.sqrt(weight) / error) ** (2 / n)
    return math.inf if k >= weight else math.sqrt((n - 1) * (k - 1) / (1 - k / weight))


def ratio_ever(logs: Sequence[float], error: float) -> Interval:
    """The ratio (exp of the mean log ratio) with an interval that covers it at every n at once with probability
    1 − `error`."""
    values = np.asarray(logs, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    if n < FEWEST:
        return Interval(math.exp(mean), 0.0, math.inf, 1 - error)
    spread = max(float(values.std(ddof=1)), SAME)
    half = critical(n, error) * spread / math.sqrt(n)
    return Interval(math.exp(mean), math.exp(mean - half) if half < 700 else 0.0,
                    math.exp(min(mean + half, 700)), 1 - error)


def paired_logs(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Log ratios theirs ÷ ours of the repetitions that both have."""
    return [math.log(theirs[number] / ours[number]) for number in sorted(set(ours) & set(theirs))]


def more_repetitions(logs: Sequence[float], error: float, worth: float, most: int = 1000) -> int:
    """How many more repetitions would settle it, were the mean and the spread to stay: the difference told, or told to
    be not worth having (below the log ratio `worth`); with 80 % power; at most `most`."""
    values = np.asarray(logs, dtype=np.float64)
    have = len(values)
    if have < 2:
        return FEWEST - have
    spread, mean = max(float(values.std(ddof=1)), SAME), float(values.mean())
    distance = max(abs(mean), worth - mean)
    for n in range(max(have + 1, FEWEST), have + most):
        if distance * math.sqrt(n) >= (critical(n, error) + 0.84) * spread:
            return n - have
    return most


def drawn_rates(rate: Interval, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Rates that a search's interval allows (float64[DRAWS]): lognormal, from its lower half where it has no upper
    end."""
    quantile = 1.959963984540054
    if math.isfinite(rate.high) and rate.high > rate.low > 0:
        spread = (math.log(rate.high) - math.log(rate.low)) / (2 * quantile)
    elif 0 < rate.low < rate.value:
        spread = (math.log(rate.value) - math.log(rate.low)) / quantile
    else:
        spread = 0.0
    return np.asarray(rate.value * np.exp(max(spread, SAME) * rng.standard_normal(DRAWS)))
