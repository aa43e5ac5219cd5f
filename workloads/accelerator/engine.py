"""One model on one device, whichever way it gets there: `open_engine`, then `compute`."""

from pathlib import Path
from typing import Protocol

from accelerator.spec import Arrays, Spec, precision

CUDA_PROVIDER = "CUDAExecutionProvider"
DEVICES = ("cpu", "gpu")


class Engine(Protocol):
    """A loaded model. Threads may share it: then the copies of one call overlap the kernels of another."""

    def compute(self, arrays: Arrays) -> Arrays:
        """The outputs of a prepared batch of any length >= 1, order kept."""

    def last_times(self) -> dict[str, float]:
        """`copy` and `kernel` milliseconds of this thread's last `compute`; empty where there is no device."""


def open_engine(path: Path, threads: int, device: str, spec: Spec) -> Engine:
    """The model in `path` on `cpu` (ONNX Runtime), `gpu` (ONNX Runtime's CUDA provider, else PyTorch on CUDA) or
    `torch-cpu` (PyTorch on the CPU, for tests of what the GPU runs). Raises ValueError for a device or a precision that
    cannot be had."""
    wanted = precision()
    if device == "torch-cpu":
        return _torch(path, threads, spec, "cpu", wanted)
    from accelerator.ort import BoundEngine, CpuEngine, providers  # noqa: PLC0415  not where PyTorch alone is used

    if device == "cpu":
        if wanted != "full":
            raise ValueError("KNOB_PRECISION is 'half', which the CPU gains nothing from; use 'full', or a GPU")
        return CpuEngine(path, threads, spec)
    if device != "gpu":
        raise ValueError(f"device '{device}' is not known; use {' or '.join(DEVICES)}")
    if wanted == "full" and CUDA_PROVIDER in providers():
        return BoundEngine(path, threads, spec, CUDA_PROVIDER, "cuda")
    return _torch(path, threads, spec, "cuda", wanted)


def _torch(path: Path, threads: int, spec: Spec, kind: str, wanted: str) -> Engine:
    try:
        import torch  # noqa: PLC0415  in no lock of the built-in workloads: a CPU's user does without
    except ImportError:
        raise ValueError(_nothing("PyTorch is not installed in this environment", wanted)) from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(_nothing(f"its PyTorch {torch.__version__} finds no CUDA device", wanted))
    from accelerator.torch_engine import TorchEngine  # noqa: PLC0415  imports torch

    torch.set_num_threads(threads)
    return TorchEngine(path, spec, kind, wanted)


def _nothing(why: str, wanted: str) -> str:
    provider = "" if wanted == "half" else "ONNX Runtime has no CUDA provider here, and "
    return f"device 'gpu' cannot be had: {provider}{why}; use 'cpu', or an environment with either"
