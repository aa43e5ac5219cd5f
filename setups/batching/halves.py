"""A model whose `predict` is offered in halves: prepare and finish on the host, compute on the device. Pure.

The arrays of a batch have its items along their first axis. Batches are joined by filling their other axes with zeros
at the ends, which changes no answer (docs/design.md, "Contract of a workload").
"""

from collections.abc import Sequence
from math import prod
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray]
Shapes = tuple[tuple[int, ...], ...]

OFFERED = ("load_host", "prepare", "compute", "finish")


def offered(module: ModuleType) -> bool:
    """Whether the workload's module has all four."""
    return all(hasattr(module, name) for name in OFFERED)


def rows(arrays: Arrays) -> int:
    """How many items they hold. Raises ValueError where they disagree, or hold none."""
    counts = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"a prepared batch has {sorted(counts)} items along its arrays' first axes")
    return counts.pop()


def kind(arrays: Arrays) -> tuple[tuple[str, str, int], ...]:
    """What must agree between batches that are joined."""
    return tuple((name, array.dtype.str, array.ndim) for name, array in sorted(arrays.items()))


def size(arrays: Arrays) -> int:
    """How many elements they have together."""
    return sum(array.size for array in arrays.values())


def inner(arrays: Arrays) -> Shapes:
    """The shape of one item in each of the arrays, by name."""
    return tuple(array.shape[1:] for _, array in sorted(arrays.items()))


def widest(one: Shapes, other: Shapes) -> Shapes:
    """The item shapes of a batch that joins two."""
    return tuple(tuple(map(max, mine, theirs)) for mine, theirs in zip(one, other, strict=True))


def cells(shapes: Shapes) -> int:
    """How many elements an item has that is padded to those shapes."""
    return sum(prod(shape) for shape in shapes)


def joined(batches: Sequence[Arrays]) -> Arrays:
    """One batch of all, in order; a view where there is only one."""
    if len(batches) == 1:
        return batches[0]
    return {name: _joined([batch[name] for batch in batches]) for name in batches[0]}


def parted(arrays: Arrays, counts: Sequence[int]) -> list[Arrays]:
    """Views of the batch's consecutive parts of so many items. Raises ValueError where that is not what it holds."""
    if rows(arrays) != sum(counts):
        raise ValueError(f"compute gave {rows(arrays)} rows for {sum(counts)} items")
    ends = np.cumsum(counts)
    return [{name: array[end - count:end] for name, array in arrays.items()}
            for count, end in zip(counts, ends, strict=True)]


def _joined(parts: Sequence[NDArray]) -> NDArray:
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    inner = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
    whole = np.zeros((sum(len(part) for part in parts), *inner), parts[0].dtype)
    at = 0
    for part in parts:
        whole[(slice(at, at + len(part)), *(slice(size) for size in part.shape[1:]))] = part
        at += len(part)
    return whole
