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
    """The model in `path` on `cpu` (ONNX Runtime), `gpu` (PyTorch on CUDA, else ONNX Runtime's CUDA provider) or
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
    lacking = _torch_lacks()
    # PyTorch first: captured graphs and overlapped copies are its alone.
    if not lacking:
        return _torch(path, threads, spec, "cuda", wanted)
    if wanted == "full" and CUDA_PROVIDER in providers():
        return BoundEngine(path, threads, spec, CUDA_PROVIDER, "cuda")
    provider = "" if wanted == "half" else ", and ONNX Runtime has no CUDA provider here"
    raise ValueError(f"device 'gpu' cannot be had: {lacking}{provider}; use 'cpu', or an environment with either")


def _torch_lacks() -> str:
    """What PyTorch lacks for a GPU; "" where nothing."""
    try:
        import torch  # noqa: PLC0415  in no lock of the built-in workloads: a CPU's user does without
    except ImportError:
        return "PyTorch is not installed in this environment"
    return "" if torch.cuda.is_available() else f"PyTorch {torch.__version__} finds no CUDA device"


def _torch(path: Path, threads: int, spec: Spec, kind: str, wanted: str) -> Engine:
    import torch  # noqa: PLC0415  as above

    from accelerator.cuda import CudaLane  # noqa: PLC0415  imports torch
    from accelerator.torch_engine import CpuLane, Lane, TorchEngine  # noqa: PLC0415  as above

    torch.set_num_threads(threads)
    lane: Lane = CpuLane() if kind == "cpu" else CudaLane(tuned=len(spec.buckets.lengths) == 1)
    return TorchEngine(path, spec, lane, wanted)
