"""A server under load is quicker than one that idles: its caches and cores are warm. Of a service time below a
millisecond that is a factor of two or three, and most of it is gained within a narrow range of loads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

SLOWEST = 0.6   # the most that times may fall by: as rate^-SLOWEST
APART = 1.5     # the heaviest load over the lightest: nearer ones tell nothing
NEAR = 1.1      # loads nearer than that are one

Table = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Warmth:
    """How many times as long serving, and the usual way there and back, take at (rate, times): requests a second for
    each machine, lightest first, and times as long as at the heaviest. Between two it is interpolated in logarithms;
    beyond the ends the nearest holds."""

    served: Table = ((1.0, 1.0),)
    overhead: Table = ((1.0, 1.0),)

    def factors(self, rate: float) -> tuple[float, float]:
        """How much longer serving and the way there and back take at `rate` for each machine."""
        return _at(self.served, rate), _at(self.overhead, rate)


ALIKE = Warmth()


def eased(rates: Sequence[float], times: Sequence[float]) -> Table:
    """The table of times that only fall as rates grow and are nearest to those seen (isotonic regression of their
    logarithms, runs of nearly one rate together); all alike where the rates tell nothing."""
    if len(rates) < 2 or max(rates) < APART * min(rates):
        return ALIKE.served
    groups: list[list[tuple[float, float]]] = []
    for rate, time in sorted(zip(np.log(rates), np.log(times), strict=True)):
        if groups and rate <= groups[-1][0][0] + np.log(NEAR):
            groups[-1].append((rate, time))
        else:
            groups.append([(rate, time)])
    at, usual = np.array([np.mean(group, axis=0) for group in groups]).T
    falls = isotonic_regression(usual, weights=[len(group) for group in groups], increasing=False).x
    longer = np.minimum(falls - falls[-1], SLOWEST * (at[-1] - at))
    return tuple(zip(np.exp(at).tolist(), np.exp(longer).tolist(), strict=True))


def _at(table: Table, rate: float) -> float:
    rates, times = np.log(table).T
    return float(np.exp(np.interp(np.log(max(rate, 1e-9)), rates, times)))
