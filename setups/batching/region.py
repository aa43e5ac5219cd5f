"""Memory that a worker shares with the device's owner: arrays are written by one and read by the other, uncopied.

It is a file without a name, so nothing is left of it whoever dies. Messages beside it say what lies where.
"""

import mmap
import os
from math import prod

import numpy as np

from batching.halves import Arrays

BYTES = 1 << 28     # of address space; memory is taken where something was written
_BEGUN, _FIRST, _ALIGNED = 0, 64, 64

Shapes = list[tuple[str, str, list[int], int]]      # name, type, shape, where it begins


class Region:
    """One worker's shared memory. `descriptor` is what the other side opens it by."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("batch") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, BYTES)
        self._memory = mmap.mmap(self.descriptor, BYTES)

    @property
    def begun(self) -> bool:
        """Whether the owner began to compute what lies here; it stays true when the owner dies."""
        return self._memory[_BEGUN] == 1

    @begun.setter
    def begun(self, value: bool) -> None:
        self._memory[_BEGUN] = int(value)

    def put(self, arrays: Arrays) -> Shapes:
        """Write the arrays; what to tell the other side. Raises ValueError when they do not fit."""
        at, shapes = _FIRST, []
        for name, array in arrays.items():
            if at + array.nbytes > BYTES:
                raise ValueError(f"a batch's arrays are larger than {BYTES >> 20} MiB")
            self._view(array.dtype.str, array.shape, at)[...] = array
            shapes.append((name, array.dtype.str, list(array.shape), at))
            at += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return shapes

    def get(self, shapes: Shapes) -> Arrays:
        """Views of what the other side wrote, good until either writes again. Raises ValueError for shapes that do not
        fit."""
        return {name: self._view(kind, shape, at) for name, kind, shape, at in shapes}

    def close(self) -> None:
        """Close the file. The memory goes when no view of it is left."""
        os.close(self.descriptor)

    def _view(self, kind: str, shape: "tuple[int, ...] | list[int]", at: int) -> np.ndarray:
        return np.frombuffer(self._memory, kind, prod(shape), at).reshape(shape)
