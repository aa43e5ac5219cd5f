"""What a run on a GPU leaves: NVML's looks, and rows that tell of copies and kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.record.write import Probe

Columns = dict[str, NDArray[Any]]
Queue = Callable[..., Columns]
WINDOW_S = 20.0


def looks(power_w: float = 300.0, *, counter: bool = True, reasons: int = 0, strangers: float = 0.0, busy: float = 0.6,
          since_j: float = 5e6, every_s: float = 0.25, until_s: float = WINDOW_S) -> list[Probe]:
    """What NVML would tell of a GPU at constant power, from a second before the load to its end."""
    found = []
    for t in np.arange(-1.0, until_s + 1e-9, every_s):
        told = {"gpu_busy": busy, "gpu_mem_mb": 3000.0 + 10 * max(t, 0.0), "gpu_power_w": power_w,
                "gpu_clock_reasons": float(reasons), "gpu_strangers": strangers}
        if counter:
            told["gpu_energy_j"] = since_j + power_w * (t + 1)
        found += [Probe(int(t * 1e9), "gpu", 0, "", metric, value) for metric, value in told.items()]
    return found


def on_gpu(columns: Columns, copy: float = 0.1, kernel: float = 0.6) -> Columns:
    """The rows of a server that tells those shares of its model's time."""
    return {**columns, "copy_us": (columns["model_us"] * copy).astype(np.int32),
            "kernel_us": (columns["model_us"] * kernel).astype(np.int32)}
