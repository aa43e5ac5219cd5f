"""What a workload says of its model, so that it can be run here."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from accelerator.buckets import Buckets
from accelerator.onnx_file import Node

Arrays = dict[str, np.ndarray]
BATCH, LENGTH = "batch", "length"
PRECISIONS = ("full", "half")


@dataclass(frozen=True)
class Input:
    """`kind` is numpy's name of the type, `axes` are BATCH, LENGTH or numbers."""

    kind: str
    axes: tuple[str | int, ...]


@dataclass(frozen=True)
class Spec:
    """A model's inputs by name, and what `compute` gives, both with the batch first.

    `appended` are nodes after the model's own, so that less has to be copied back; ONNX Runtime runs the file as it is,
    and `reduced` does the same to what it gives. `given` are values inside the graph that follow from a bucket's shape
    (batch, length) alone where its rows are padded rather than left out.
    """

    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    buckets: Buckets
    appended: tuple[Node, ...] = ()
    reduced: Callable[[Arrays], Arrays] = lambda arrays: arrays
    given: Mapping[str, Callable[[int, int], np.ndarray]] = field(default_factory=dict)

    def shape(self, arrays: Arrays) -> tuple[int, int]:
        """The batch and the length of prepared arrays; 1 where none has a length."""
        sizes = {axis: arrays[name].shape[place] for name, each in self.inputs.items()
                 for place, axis in enumerate(each.axes) if isinstance(axis, str)}
        return sizes[BATCH], sizes.get(LENGTH, 1)

    def padded(self, name: str, bucket: tuple[int, int]) -> tuple[int, ...]:
        """The shape of an input in a bucket."""
        sizes = {BATCH: bucket[0], LENGTH: bucket[1]}
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.inputs[name].axes)


def precision() -> str:
    """`full` or `half`, as KNOB_PRECISION says. Raises ValueError for another word."""
    word = os.environ.get("KNOB_PRECISION") or PRECISIONS[0]
    if word not in PRECISIONS:
        raise ValueError(f"KNOB_PRECISION is '{word}'; use {' or '.join(PRECISIONS)}")
    return word


def largest_batch() -> int:
    """The most items that the server will compute at once, as far as its environment tells: shapes beyond it are not
    made ready."""
    told = next(filter(None, map(os.environ.get, ("LARGEST_BATCH", "KNOB_DEVICE_BATCH", "KNOB_MAX_BATCH"))), "")
    return max(1, int(told)) if told.isdecimal() else 1 << 62
