"""The first GPU through PyTorch: pinned copies beside the kernels, and a CUDA graph per bucket.

Three streams: one copies in, one computes, one copies out, each waiting for the events of the one before. So a second
batch is copied while the first is computed, and its result is copied back while the next is.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from accelerator.program import Program, Shape, Tensors

WARM_CALLS = 2      # before a capture: libraries choose and load their kernels in the first


class CudaLane:
    """`tuned` lets cuDNN time its kernels for each shape, which pays where shapes are few. `cuda` and `kind` are others
    where a test keeps CUDA's rules on a machine without a GPU."""

    def __init__(self, tuned: bool, cuda: Any = torch.cuda, kind: str = "cuda") -> None:
        self.device, self._cuda = torch.device(kind, 0), cuda
        # Full precision means that of the CPU: no TF32.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = tuned
        self._inward, self._compute, self._outward = (cuda.Stream(self.device) for _ in range(3))
        self._pool = cuda.graph_pool_handle()
        self._captured: dict[Shape, Captured] = {}
        self._capturing = True

    def buffer(self, shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
        """Pinned host memory for an input; PyTorch keeps it and gives it again when its copy is done."""
        return torch.empty(shape, dtype=kind, pin_memory=True)

    def ready(self, program: Program, shape: Shape, zeros: Callable[[Shape], Tensors]) -> None:
        """Run the bucket until its kernels are chosen, then capture it. Where a capture fails the kernels are started
        one by one from then on, and a line on stderr says so."""
        staged = {name: feed.to(self.device, copy=True) for name, feed in zeros(shape).items()}
        self._cuda.synchronize()
        with self._cuda.stream(self._compute):
            for _ in range(WARM_CALLS):
                program(shape, staged)
        self._cuda.synchronize()
        if not self._capturing:
            return
        try:
            self._captured[shape] = self._capture(program, shape, staged)
        except RuntimeError as error:
            self._capturing = False
            self._captured.clear()
            print(f"no CUDA graphs: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
            self._cuda.synchronize()

    def _capture(self, program: Program, shape: Shape, staged: Tensors) -> "Captured":
        """All buckets share one pool of memory: they run one after another on one stream, and nothing of one run is
        read after the next began."""
        graph = self._cuda.CUDAGraph()
        with self._cuda.graph(graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"):
            outputs = program(shape, staged)
        return Captured(graph, staged, outputs)

    def start(self, program: Program, shape: Shape, feeds: Tensors) -> "CudaFlight":
        """Queues copies and kernels and returns. Calls must not overlap: a captured bucket has one set of inputs."""
        # Who waits for the last one sleeps: spinning would keep a core from those that prepare the next batch.
        marks = [self._cuda.Event(enable_timing=True, blocking=each == 5) for each in range(6)]
        with self._cuda.stream(self._inward):
            marks[0].record()
            staged = {name: feed.to(self.device, non_blocking=True, copy=True) for name, feed in feeds.items()}
            marks[1].record()
        with self._cuda.stream(self._compute):
            self._compute.wait_event(marks[1])
            marks[2].record()
            for tensor in staged.values():
                tensor.record_stream(self._compute)
            captured = self._captured.get(shape)
            results = captured.replay(staged) if captured else program(shape, staged)
            marks[3].record()
        with self._cuda.stream(self._outward):
            self._outward.wait_event(marks[3])
            marks[4].record()
            landed = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
            for host, result in zip(landed, results, strict=True):
                host.copy_(result, non_blocking=True)
                result.record_stream(self._outward)
            marks[5].record()
        return CudaFlight(landed, marks)


@dataclass(frozen=True)
class CudaFlight:
    """A batch on its way; `marks` are the events before and after each of the three."""

    results: list[torch.Tensor]
    marks: list[Any]

    def land(self) -> tuple[list[torch.Tensor], dict[str, float]]:
        """The outputs on the host, and the milliseconds of copies and kernels; waits for them, without the GIL."""
        self.marks[5].synchronize()
        inward, kernel, outward = (self.marks[at].elapsed_time(self.marks[at + 1]) for at in (0, 2, 4))
        return self.results, {"copy": inward + outward, "kernel": kernel}


@dataclass(frozen=True)
class Captured:
    """A bucket's kernels, started as one. Inputs and outputs lie where they lay at the capture."""

    graph: Any
    inputs: Tensors
    outputs: list[torch.Tensor]

    def replay(self, staged: Tensors) -> list[torch.Tensor]:
        """Copies of the outputs: the next replay, of any bucket, writes over the originals."""
        for name, tensor in staged.items():
            self.inputs[name].copy_(tensor)
        self.graph.replay()
        return [output.clone() for output in self.outputs]

