"""A binary heap of events in two arrays, compiled: when, and what. `tally[0]` is how many there are."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, kept beside the source from its first call on; it lets other threads run."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function))


@compiled
def push(times: Floats, whats: Ints, tally: Ints, at_s: float, what: int) -> None:
    """Puts an event in."""
    i = tally[0]
    tally[0] += 1
    while i > 0 and at_s < times[(i - 1) // 2]:
        times[i], whats[i] = times[(i - 1) // 2], whats[(i - 1) // 2]
        i = (i - 1) // 2
    times[i], whats[i] = at_s, what


@compiled
def pop(times: Floats, whats: Ints, tally: Ints) -> None:
    """Takes the earliest event, which lies at index 0, out."""
    tally[0] -= 1
    size, i = tally[0], 0
    at_s, what = times[size], whats[size]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and times[child + 1] < times[child]:
            child += 1
        if times[child] >= at_s:
            break
        times[i], whats[i] = times[child], whats[child]
        i = child
    times[i], whats[i] = at_s, what
