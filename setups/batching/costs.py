"""What a batch costs, learned from every batch that ran.

Seconds of a batch of n items whose bodies have m bytes in the mean and at most L: (a + b n + c n m + d n (L - m)) k_n.
The last term is what padding to the longest costs, nothing where a model leaves padding out. a, b, c, d >= 0 are fitted
by least squares on relative errors over all sizes, so sizes never tried and drifts of the machine are covered; k_n is a
robust moving average of what the fit misses at sizes near n.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

Vector = tuple[float, float, float, float]

TERMS = 4

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
RATE = 0.05          # of the moving averages: about the last twenty batches count
MEMORY = 0.998       # of the fit: about the last five hundred batches count
PRIOR_WEIGHT = 4.0   # a measurement at start never fades, and counts as this many later ones
REFIT_EVERY = 32
TRUSTED = 1.5        # how far a few measurements at start may put a size off the line
LEAST_S = 1e-7
OUTLIER = 2.0        # a batch this many times off (a host pause, say) counts as this many times off


class Law(NamedTuple):
    """What has been learned: a, b, c, d, and k_n for each of SIZES."""

    line: Vector
    factors: tuple[float, ...]

    def predict(self, n: int, mean: float, longest: float) -> float:
        """Seconds a batch of n whose bodies have `mean` bytes, the longest of them `longest`, will take."""
        return _base(self.line, n, mean, longest) * self.factors[_SLOT[n] if n < len(_SLOT) else -1]


class Costs:
    """Learned seconds per batch; `predict` is defined after the first `prime`."""

    def __init__(self) -> None:
        self._line: Vector = (0.0, 0.0, 0.0, 0.0)
        self._prior = _Sums()
        self._recent = _Sums()
        self._factor = dict.fromkeys(SIZES, 1.0)
        self._seen = 0
        self.typical_size = 0.0

    def prime(self, measured: list[tuple[int, float, float, float]]) -> None:
        """Take (n, mean and longest body in bytes, seconds) measured before serving."""
        for n, mean, longest, seconds in measured:
            self._prior.add(n, mean, longest, seconds, PRIOR_WEIGHT)
        self._refit()
        missed: dict[int, list[float]] = {}
        for n, mean, longest, seconds in measured:
            missed.setdefault(near(n), []).append(seconds / _base(self._line, n, mean, longest))
        for n, ratios in missed.items():
            self._factor[n] = min(max(sorted(ratios)[len(ratios) // 2], 1 / TRUSTED), TRUSTED)
        tried = sorted(missed)
        for n in SIZES:
            if n not in missed:
                self._factor[n] = self._factor[min(tried, key=lambda known: (abs(known - n), known))]
        self.typical_size = sum(mean for _, mean, _, _ in measured) / len(measured)

    def observe(self, n: int, mean: float, longest: float, seconds: float) -> None:
        """Learn from a batch that just ran."""
        predicted = self.predict(n, mean, longest)
        ratio = min(max(seconds / predicted, 1 / OUTLIER), OUTLIER)
        self._factor[near(n)] *= ratio ** RATE
        self.typical_size += RATE * (mean - self.typical_size)
        self._recent.fade(MEMORY)
        self._recent.add(n, mean, longest, predicted * ratio, 1.0)
        self._seen += 1
        if self._seen % REFIT_EVERY == 0:
            self._refit()

    def predict(self, n: int, mean: float, longest: float) -> float:
        """Seconds a batch of n whose bodies have `mean` bytes, the longest of them `longest`, will take."""
        return _base(self._line, n, mean, longest) * self._factor[near(n)]

    def law(self, stretch: float) -> Law:
        """What is known now, in seconds `stretch` times as long as those observed."""
        a, b, c, d = self._line
        return Law((a * stretch, b * stretch, c * stretch, d * stretch), tuple(self._factor.values()))

    def _refit(self) -> None:
        self._line = nonnegative(self._prior, self._recent)


class _Sums:
    """Normal equations of rows x / y against 1, with x = (1, n, n m, n (L - m))."""

    def __init__(self) -> None:
        self.xx = [[0.0] * TERMS for _ in range(TERMS)]
        self.x1 = [0.0] * TERMS

    def add(self, n: int, mean: float, longest: float, seconds: float, weight: float) -> None:
        x = (1 / seconds, n / seconds, n * mean / seconds, n * (longest - mean) / seconds)
        for i in range(TERMS):
            self.x1[i] += weight * x[i]
            for j in range(TERMS):
                self.xx[i][j] += weight * x[i] * x[j]

    def fade(self, memory: float) -> None:
        for i in range(TERMS):
            self.x1[i] *= memory
            for j in range(TERMS):
                self.xx[i][j] *= memory


def nonnegative(*sums: _Sums) -> Vector:
    """Least squares with no negative coefficient: the best over all sets of coefficients that may be non-zero."""
    xx = [[sum(s.xx[i][j] for s in sums) for j in range(TERMS)] for i in range(TERMS)]
    x1 = [sum(s.x1[i] for s in sums) for i in range(TERMS)]
    best, best_gain = (0.0, 0.0, 0.0, 0.0), -1.0
    for count in range(1, TERMS + 1):
        for used in combinations(range(TERMS), count):
            found = _solve([[xx[i][j] for j in used] for i in used], [x1[i] for i in used])
            if found is None or min(found) < 0:
                continue
            explained = sum(value * x1[i] for i, value in zip(used, found, strict=True))
            if explained > best_gain * (1 + 1e-9):
                line = [0.0] * TERMS
                for i, value in zip(used, found, strict=True):
                    line[i] = value
                best, best_gain = (line[0], line[1], line[2], line[3]), explained
    return best


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gaussian elimination on a symmetric matrix scaled to a unit diagonal; None when it is close to singular."""
    n = len(right)
    scale = [matrix[i][i] ** 0.5 for i in range(n)]
    if min(scale) <= 0:
        return None
    rows = [[matrix[i][j] / scale[i] / scale[j] for j in range(n)] + [right[i] / scale[i]] for i in range(n)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda row: abs(rows[row][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        if abs(rows[i][i]) < 1e-9:
            return None
        for j in range(i + 1, n):
            ratio = rows[j][i] / rows[i][i]
            rows[j] = [below - ratio * above for below, above in zip(rows[j], rows[i], strict=True)]
    found = [0.0] * n
    for i in reversed(range(n)):
        found[i] = (rows[i][n] - sum(rows[i][j] * found[j] for j in range(i + 1, n))) / rows[i][i]
    return [value / scale[i] for i, value in enumerate(found)]


def mean_law(laws: Sequence[Law]) -> Law:
    """One law for replicas that learned apart: the mean of what they learned."""
    a, b, c, d = (sum(part) / len(laws) for part in zip(*(law.line for law in laws), strict=True))
    factors = tuple(sum(part) / len(laws) for part in zip(*(law.factors for law in laws), strict=True))
    return Law((a, b, c, d), factors)


def _base(line: Vector, n: int, mean: float, longest: float) -> float:
    a, b, c, d = line
    return max(a + n * (b + c * mean + d * (longest - mean)), LEAST_S)


def near(n: int) -> int:
    """The size in SIZES whose factor serves a batch of n: the largest not above it."""
    return SIZES[_SLOT[n] if n < len(_SLOT) else -1]


_SLOT = [max(i for i, size in enumerate(SIZES) if size <= max(n, 1)) for n in range(SIZES[-1] + 1)]
