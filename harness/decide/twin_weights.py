"""What a payload's length makes of its service time: of texts and images most of what else would be noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST = 0.05
ENOUGH = 20
ROUNDS = 3


@dataclass(frozen=True)
class Weights:
    """A payload of b bytes weighs 1 + slope · (b ÷ mean − 1), LEAST at the least; `lengths` are the bytes of recorded
    ones, whose mean that is."""

    slope: float
    lengths: Lengths

    def of(self, lengths: Lengths | Floats) -> Floats:
        """What payloads of so many bytes weigh."""
        if self.slope == 0:
            return np.ones(len(lengths))
        return np.asarray(np.maximum(1 + self.slope * (lengths / self.lengths.mean() - 1), LEAST))

    def drawn(self, n: int, seed: int) -> Floats:
        """The weights of n payloads drawn from the recorded ones."""
        if self.slope == 0:
            return np.ones(n)
        return self.of(np.random.default_rng([seed, 2]).choice(self.lengths, n))


EVEN = Weights(0.0, np.zeros(0, dtype=np.int64))


def weighed(lengths: Floats, ratio: Floats, recorded: Lengths) -> Weights:
    """The weights that explain `ratio`, seconds of batches over those usual for their size, whose members have so many
    bytes in the mean: least squares, errors relative to what is expected. Even ones where nothing differs, or shorter
    payloads seem to take longer."""
    if not len(recorded) or len(ratio) < ENOUGH or np.ptp(lengths) == 0:
        return EVEN
    across = lengths / recorded.mean() - 1
    slope, level = 0.0, 1.0
    for _ in range(ROUNDS):
        slope, level = np.polyfit(across, ratio, 1, w=1 / np.maximum(level + slope * across, LEAST))
    return Weights(float(slope / level), recorded) if slope > 0 < level else EVEN
