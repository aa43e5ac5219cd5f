"""A model's ONNX file computed by PyTorch, in buckets, on a lane: the GPU's (accelerator.cuda) or the CPU's."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from accelerator.onnx_file import asking, read_onnx
from accelerator.program import Program, Shape, Tensors
from accelerator.spec import Arrays, Spec, largest_batch

Times = dict[str, float]


class Flight(Protocol):
    """A batch on its way."""

    def land(self) -> tuple[list[torch.Tensor], Times]:
        """The outputs on the host, and what it took; waits for them."""


class Lane(Protocol):
    """How a batch gets to the device, through the program, and back."""

    device: torch.device

    def buffer(self, shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
        """Host memory for an input, with anything in it."""

    def ready(self, program: Program, shape: Shape, zeros: Callable[[Shape], Tensors]) -> None:
        """Make a bucket fast before it is needed."""

    def start(self, program: Program, shape: Shape, feeds: Tensors) -> Flight:
        """Send a batch off; returns before it is computed where the device works beside the host."""


class CpuLane:
    """PyTorch on the CPU: every step of the way but for the device's own."""

    device = torch.device("cpu")

    def buffer(self, shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
        """Host memory for an input."""
        return torch.empty(shape, dtype=kind)

    def ready(self, program: Program, shape: Shape, zeros: Callable[[Shape], Tensors]) -> None:
        """Nothing is to be gained."""

    def start(self, program: Program, shape: Shape, feeds: Tensors) -> Flight:
        """Computes at once."""
        begun = time.perf_counter()
        staged = {name: feed.clone() for name, feed in feeds.items()}
        copied = time.perf_counter()
        results = program(shape, staged)
        return Landed(results, {"copy": (copied - begun) * 1e3, "kernel": (time.perf_counter() - copied) * 1e3})


class Landed:
    """A batch that is there already."""

    def __init__(self, results: list[torch.Tensor], times: Times) -> None:
        self._results, self._times = results, times

    def land(self) -> tuple[list[torch.Tensor], Times]:
        """The outputs, and what it took."""
        return self._results, self._times


class TorchEngine:
    """`precision` is `full` (float32) or `half` (float16; answers are float32 all the same).

    Raises ValueError for a model with an operator that is not known.
    """

    def __init__(self, path: Path, spec: Spec, lane: Lane, precision: str) -> None:
        graph = read_onnx(path)
        graph = replace(graph, nodes=(*graph.nodes, *spec.appended))
        self._lane = lane
        self._float = torch.float16 if precision == "half" else torch.float32
        self._kinds = {name: self._float if each.kind == "float32" else getattr(torch, each.kind)
                       for name, each in spec.inputs.items()}
        self._spec, self._lock, self._last = spec, threading.Lock(), threading.local()
        self._program = Program(asking(graph, tuple(spec.given), spec.outputs), self._lane.device, self._float,
                                spec.given)
        for shape in spec.buckets.warm(largest_batch()):
            with torch.no_grad():
                self._lane.ready(self._program, shape, self._zeros)

    def compute(self, arrays: Arrays) -> Arrays:
        """The outputs of a prepared batch; of one larger than any bucket, the parts follow one another so closely that
        one is copied while another is computed."""
        rows, length = self._spec.shape(arrays)
        flights, first = [], 0
        for count in self._spec.buckets.parts(rows):
            flights.append((count, self._start(arrays, first, count, length)))
            first += count
        found, times = [], {"copy": 0.0, "kernel": 0.0}
        for count, flight in flights:
            results, took = flight.land()
            found.append([_as_numpy(result)[:count] for result in results])
            times = {name: times[name] + took[name] for name in times}
        self._last.times = times
        joined = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True)]
        return dict(zip(self._spec.outputs, joined, strict=True))

    def last_times(self) -> Times:
        """Time of this thread's last `compute` in copies and in kernels (ms)."""
        return dict(getattr(self._last, "times", {}))

    def _start(self, arrays: Arrays, first: int, count: int, length: int) -> Flight:
        bucket = self._spec.buckets.shape(count, length)
        feeds = {name: self._filled(name, bucket, arrays[name][first:first + count]) for name in self._spec.inputs}
        # The order of work on the device is the order of starting; waiting for it needs no lock.
        with torch.no_grad(), self._lock:
            return self._lane.start(self._program, bucket, feeds)

    def _filled(self, name: str, bucket: Shape, array: np.ndarray) -> torch.Tensor:
        shape = self._spec.padded(name, bucket)
        whole = self._lane.buffer(shape, self._kinds[name])
        if shape != array.shape:
            whole.zero_()
        whole[tuple(slice(size) for size in array.shape)].copy_(torch.from_numpy(array))
        return whole

    def _zeros(self, bucket: Shape) -> Tensors:
        return {name: torch.zeros(self._spec.padded(name, bucket), dtype=kind) for name, kind in self._kinds.items()}


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

