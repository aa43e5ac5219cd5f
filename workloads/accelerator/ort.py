"""ONNX Runtime: on the CPU as everywhere, and with its inputs and outputs bound to a device's memory."""

import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime

from accelerator.spec import Arrays, Spec, largest_batch


def providers() -> list[str]:
    """What this ONNX Runtime can compute on."""
    return list(onnxruntime.get_available_providers())


def _session(path: Path, threads: int, chosen: list[object]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(str(path), options, providers=chosen)


class CpuEngine:
    """The file as it is, batches as they come."""

    def __init__(self, path: Path, threads: int, spec: Spec) -> None:
        self._session = _session(path, threads, ["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self._spec = spec

    def compute(self, arrays: Arrays) -> Arrays:
        """The outputs of a prepared batch."""
        return self._spec.reduced(dict(zip(self._names, self._session.run(self._names, arrays), strict=True)))

    def last_times(self) -> dict[str, float]:
        """Nothing: there is no device."""
        return {}


class BoundEngine:
    """The file through a provider, in the buckets' shapes; `memory` is where it computes, as ONNX Runtime calls it."""

    def __init__(self, path: Path, threads: int, spec: Spec, provider: str, memory: str) -> None:
        if memory == "cuda" and hasattr(onnxruntime, "preload_dlls"):     # since 1.21
            # CUDA and cuDNN that came as wheels (nvidia-*) lie where the loader does not look.
            onnxruntime.preload_dlls()
        # Full precision means that of the CPU: no TF32.
        options = {"use_tf32": "0"} if memory == "cuda" else {}
        self._session = _session(path, threads, [(provider, options), "CPUExecutionProvider"])
        if provider not in self._session.get_providers():
            raise ValueError(f"device 'gpu' cannot be had: ONNX Runtime's {provider} did not start; use 'cpu'")
        self._names = [output.name for output in self._session.get_outputs()]
        self._spec, self._memory = spec, memory
        self._last = threading.local()
        for bucket in spec.buckets.warm(largest_batch()):
            # Ones: a text without a token is none.
            self._run({name: np.ones(spec.padded(name, bucket), each.kind) for name, each in spec.inputs.items()})

    def compute(self, arrays: Arrays) -> Arrays:
        """The outputs of a prepared batch; one larger than any bucket is computed in parts."""
        rows, length = self._spec.shape(arrays)
        found, times, first = [], {"copy": 0.0, "kernel": 0.0}, 0
        for count in self._spec.buckets.parts(rows):
            bucket = self._spec.buckets.shape(count, length)
            outputs, copy_ms, kernel_ms = self._run({
                name: _filled(arrays[name][first:first + count], self._spec.padded(name, bucket), each.kind)
                for name, each in self._spec.inputs.items()})
            found.append([output[:count] for output in outputs])
            times = {"copy": times["copy"] + copy_ms, "kernel": times["kernel"] + kernel_ms}
            first += count
        self._last.times = times
        joined = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True)]
        return self._spec.reduced(dict(zip(self._names, joined, strict=True)))

    def last_times(self) -> dict[str, float]:
        """Wall time of this thread's last `compute`: to the device and back, and in between (ms)."""
        return dict(getattr(self._last, "times", {}))

    def _run(self, feeds: Arrays) -> tuple[list[np.ndarray], float, float]:
        binding = self._session.io_binding()
        begun = time.perf_counter()
        for name, array in feeds.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, self._memory, 0)
            binding.bind_ortvalue_input(name, value)
        for name in self._names:
            binding.bind_output(name, self._memory, 0)
        binding.synchronize_inputs()
        copied = time.perf_counter()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        computed = time.perf_counter()
        outputs = binding.copy_outputs_to_cpu()
        return outputs, (time.perf_counter() - computed + copied - begun) * 1e3, (computed - copied) * 1e3


def _filled(array: np.ndarray, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if array.shape == shape and array.dtype == kind:
        return np.ascontiguousarray(array)
    whole = np.zeros(shape, kind)
    whole[tuple(slice(size) for size in array.shape)] = array
    return whole
