"""A server under load is quicker than one that idles: its caches and cores are warm. Of a service time below a
millisecond that is a factor of two or three."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SLOWEST = 0.6   # of the exponents
APART = 1.5     # the heaviest load over the lightest: nearer ones tell nothing


@dataclass(frozen=True)
class Warmth:
    """Times are those at `high` requests a second for each machine. At a lighter load, as far down as `low`, serving
    takes (high ÷ load)^`served` and the usual way there and back (high ÷ load)^`overhead` times as long."""

    low: float = 1.0
    high: float = 1.0
    served: float = 0.0
    overhead: float = 0.0

    def factors(self, rate: float) -> tuple[float, float]:
        """How much longer serving and the way there and back take at `rate` for each machine."""
        lighter = self.high / min(max(rate, self.low), self.high)
        return float(lighter**self.served), float(lighter**self.overhead)


ALIKE = Warmth()


def exponent(rates: Sequence[float], times: Sequence[float]) -> float:
    """The e of times ∝ rate^-e, least squares of the logs, between 0 and SLOWEST; 0 where the rates tell nothing."""
    if len(rates) < 2 or max(rates) < APART * min(rates):
        return 0.0
    across = np.log(rates) - np.mean(np.log(rates))
    return float(np.clip(-np.sum(across * np.log(times)) / np.sum(across**2), 0.0, SLOWEST))
