"""A server under load is quicker than one that idles: its caches and cores are warm, and one waking serves several
requests. Of a service time below a millisecond that is a factor of two to four, and most of it is gained within a
narrow range of loads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

SLOWEST = 0.6   # the most that times may fall by: as rate^-SLOWEST
APART = 1.5     # the heaviest load over the lightest: nearer ones tell nothing
NEAR = 1.1      # loads nearer than that are one

Floats = NDArray[np.float64]
Table = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Warmth:
    """How much longer things take at lighter loads, as tables of (requests a second for each machine, lightest first;
    how much): predicting, and all that a request takes beside it usually, by how many times as long as at the heaviest;
    what an item costs its worker beside predicting, by how many seconds more (`dearer_s`). Between two loads it is
    interpolated over the logarithm of the load; beyond the ends the nearest holds."""

    served: Table = ((1.0, 1.0),)
    beside: Table = ((1.0, 1.0),)
    dearer_s: Table = ((1.0, 0.0),)

    def factors(self, rate: float) -> tuple[float, float]:
        """How many times as long predicting, and all beside it, take at `rate` for each machine."""
        return _at(self.served, rate), _at(self.beside, rate)

    def more_s(self, rate: float) -> float:
        """Seconds that an item costs its worker more than at the heaviest load."""
        return _at(self.dearer_s, rate)


ALIKE = Warmth()


def eased(rates: Sequence[float], times: Sequence[float]) -> Table:
    """How many times as long as at the heaviest load; all alike where the rates tell nothing."""
    at, falls = _falling(rates, np.log(times))
    longer = np.minimum(falls - falls[-1], SLOWEST * (at[-1] - at))
    return tuple(zip(np.exp(at).tolist(), np.exp(longer).tolist(), strict=True))


def more(rates: Sequence[float], seconds: Sequence[float]) -> Table:
    """How many seconds more than at the heaviest load; none where the rates tell nothing."""
    at, falls = _falling(rates, np.asarray(seconds))
    return tuple(zip(np.exp(at).tolist(), (falls - falls[-1]).tolist(), strict=True))


def _falling(rates: Sequence[float], values: Floats) -> tuple[Floats, Floats]:
    """Logarithms of the rates, those nearly alike as one, and there the values that only fall and are nearest to those
    given (isotonic regression); one where the rates tell nothing."""
    order = np.argsort(rates, kind="stable")
    at, values = np.log(np.asarray(rates)[order]), values[order]
    if at[-1] - at[0] < np.log(APART):
        return at[-1:], values[-1:]
    group = np.concatenate([[0], np.cumsum(np.diff(at) > np.log(NEAR))])
    count = np.bincount(group)
    falls = isotonic_regression(np.bincount(group, values) / count, weights=count, increasing=False).x
    return np.bincount(group, at) / count, np.asarray(falls)


def _at(table: Table, rate: float) -> float:
    rates, values = np.array(table).T
    return float(np.interp(np.log(max(rate, 1e-9)), np.log(rates), values))
