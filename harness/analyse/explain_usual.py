"""What a request's model time and its stay usually are, given its input, its batch and who was there before it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from harness.analyse.explain_parts import Flights, Floats, Ints
from harness.analyse.quantiles import median

MOST_FITTED = 20_000
ENOUGH = 20             # rows from which a line is drawn through anything
TOGETHER_NS = 5_000_000  # answers of one batch leave the server within this


@dataclass(frozen=True)
class Line:
    """y ≈ base + Σ slope · feature, no slope negative; in ms."""

    base: float
    slopes: Mapping[str, float]

    def at(self, **features: Floats | float) -> Floats:
        """The line's value at features of one length; those not named count as 0."""
        added = [self.slopes[name] * np.asarray(value, dtype=np.float64) for name, value in features.items()
                 if name in self.slopes]
        return np.asarray(sum(added, np.full(np.shape(next(iter(features.values()))), self.base)))


def line(y: Floats, **features: Floats) -> Line:
    """The line that is nearest to y > 0 in relative terms (non-negative least squares of y/y), so that the few that
    were held up do not move it; scaled so that half of y lies above it. Only a base where there are few rows."""
    usual = median(y) if len(y) else 0.0
    names = [name for name, values in features.items() if len(values) and np.ptp(values) > 0]
    if len(y) < ENOUGH or usual <= 0 or not names:
        return Line(usual, {})
    chosen = np.unique(np.linspace(0, len(y) - 1, min(len(y), MOST_FITTED)).astype(np.int64))
    floor = np.maximum(y[chosen], 0.1 * usual)
    scales = [float(np.mean(features[name])) or 1.0 for name in names]
    matrix = np.column_stack([np.ones(len(chosen)), *(features[name][chosen] / scale
                                                      for name, scale in zip(names, scales, strict=True))])
    triangle = np.asarray(np.linalg.qr(np.column_stack([matrix, y[chosen]]) / floor[:, None], mode="r"))
    found, _ = optimize.nnls(triangle[:, :-1], triangle[:, -1])     # as near to as few rows as to all of them
    middle = median(y[chosen] / np.maximum(matrix @ found, 1e-9))
    found = found * middle
    slopes = {name: float(value) / scale for name, value, scale in zip(names, found[1:], scales, strict=True)}
    return Line(float(found[0]), slopes)


@dataclass(frozen=True)
class ModelTimes:
    """Model times in ms, [n]: what is usual for the request's own batch and longest input (`expected`), for its batch
    with a usual input (`of_batch`), and for a usual request (`usual`, one figure)."""

    expected: Floats
    of_batch: Floats
    usual: float


def model_times(seen: Flights, model_ms: Floats) -> ModelTimes:
    """What the model usually takes; `model_ms` are the times told. The longest input of a batch counts for all in
    it, as they are padded to one length or wait for it."""
    size = np.maximum(seen.batch, 1).astype(np.float64)
    longest = _longest(seen, model_ms)
    ready = seen.answered & (model_ms > 0)
    if "model" not in seen.tells or not np.any(ready):
        zero = np.zeros(len(seen))
        return ModelTimes(zero, zero, 0.0)
    middle_bytes, middle_size = median(longest[ready]), median(size[ready])
    fitted = line(model_ms[ready], **{name: values[ready] for name, values in _features(size, longest).items()})
    of_batch = fitted.at(**_features(size, np.full(len(seen), middle_bytes)))
    return ModelTimes(fitted.at(**_features(size, longest)), of_batch,
                      float(fitted.at(**_features(np.array([middle_size]), np.array([middle_bytes])))[0]))


def _features(size: Floats, longest: Floats) -> dict[str, Floats]:
    return {"size": size, "bytes": longest, "size_bytes": size * longest, "size_bytes2": size * longest**2}


def _longest(seen: Flights, model_ms: Floats) -> Floats:
    """Bytes of the longest input in each request's batch: those of one size and model time that left together."""
    own = seen.bytes.astype(np.float64)
    together = np.flatnonzero((seen.batch > 1) & seen.answered)
    if not len(together) or not np.any(own):
        return own
    order = together[np.lexsort((seen.end_ns[together], model_ms[together], seen.batch[together]))]
    apart = (np.diff(seen.batch[order]) != 0) | (np.diff(model_ms[order]) != 0) | \
        (np.diff(seen.end_ns[order]) > TOGETHER_NS)
    starts = np.flatnonzero(np.concatenate([[True], apart]))
    most = np.maximum.reduceat(own[order], starts)
    own[order] = np.repeat(most, np.diff(np.append(starts, len(order))))
    return own


def parallelism(seen: Flights, model_ms: Floats) -> int:
    """How many model runs the setup has under way at once at most: the 99th percentile over the time in
    which any is; a batch counts once. At least 1."""
    ready = seen.answered & (model_ms > 0)
    if not np.any(ready):
        return 1
    weight = 1.0 / np.maximum(seen.batch[ready], 1)
    end = seen.end_ns[ready]
    begin = end - np.rint(model_ms[ready] * 1e6).astype(np.int64)
    times: Ints = np.concatenate([begin, end])
    order: NDArray[np.intp] = np.argsort(times, kind="stable")
    level = np.cumsum(np.concatenate([weight, -weight])[order])[:-1]
    busy = level > 0.5
    passed = np.cumsum(np.bincount(np.rint(level[busy]).astype(np.int64), np.diff(times[order])[busy]))
    return max(1, int(np.searchsorted(passed, 0.99 * passed[-1]))) if len(passed) else 1
