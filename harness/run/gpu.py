"""The GPU that a server is given, asked through NVML (nvidia-ml-py): what it is, and what it does now.

It is the first one there is, or the first that CUDA_VISIBLE_DEVICES names; NVML and a CUDA told PCI_BUS_ID count alike.
Nothing here raises for want of a GPU, a driver or an answer: what NVML does not tell is left out.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

CHOSEN = "CUDA_VISIBLE_DEVICES"
LIBRARIES = "LD_LIBRARY_PATH"  # where containers keep the driver's libraries
_METRIC = {"nvmlDeviceGetPowerUsage": ("gpu_power_w", 1e-3), "nvmlDeviceGetTotalEnergyConsumption":
           ("gpu_energy_j", 1e-3), "nvmlDeviceGetCurrentClocksEventReasons": ("gpu_clock_reasons", 1.0)}
_OLD_REASONS = "nvmlDeviceGetCurrentClocksThrottleReasons"  # what drivers before 535 call them


class NoGpuError(Exception):
    """There is no GPU to ask; the message says why, without a full stop."""


def chosen(visible: str | None) -> str:
    """The device that a value of CUDA_VISIBLE_DEVICES puts first, "0" where it is not set, "" where it hides all."""
    first = "0" if visible is None else visible.split(",")[0].strip()
    return "" if first.startswith("-") or first == "NoDevFiles" else first


@contextmanager
def opened() -> Iterator[tuple[Any, Any]]:
    """NVML (the module pynvml) and the handle of the GPU. Raises NoGpuError."""
    import pynvml as nvml  # noqa: PLC0415 -- asked for by runs alone

    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NoGpuError(_why(nvml, error)) from None
    try:
        yield nvml, _handle(nvml)
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def facts() -> dict[str, Any]:
    """count, names, memory_gib (of each), driver, cuda (the newest its driver knows, as 13.0); of a machine without a
    GPU count 0 and `why`."""
    try:
        with opened() as (nvml, _):
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
            return {"count": len(handles), "names": [str(nvml.nvmlDeviceGetName(each)) for each in handles],
                    "memory_gib": [round(nvml.nvmlDeviceGetMemoryInfo(each).total / 2**30) for each in handles],
                    "driver": str(nvml.nvmlSystemGetDriverVersion()), "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}"}
    except NoGpuError as error:
        return {"count": 0, "why": str(error)}
    except _nvml_error() as error:
        return {"count": 0, "why": f"NVML says: {error}"}


def why_none() -> str:
    """Why no server can be given a GPU here; "" when one can."""
    try:
        with opened():
            return ""
    except NoGpuError as error:
        return str(error)


def variables(device: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a server on that device finds in its environment: one GPU, or none; `environ` is the harness's own."""
    if device == "cpu":
        return {CHOSEN: ""}
    libraries = {LIBRARIES: environ[LIBRARIES]} if environ.get(LIBRARIES) else {}
    return {CHOSEN: chosen(environ.get(CHOSEN)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **libraries}


def processes(nvml: Any, handle: Any) -> dict[int, float]:
    """pid -> MB of GPU memory (NaN where NVML does not tell) of the processes that compute on it."""
    try:
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nvml.NVMLError_FunctionNotFound:     # by a driver before 510; its unversioned name raises no NVMLError then
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    return {int(each.pid): float("nan") if each.usedGpuMemory is None else each.usedGpuMemory / 1e6 for each in listed}


def processes_now() -> list[int]:
    """Who computes on the GPU at this moment; empty where nobody tells."""
    with suppress(NoGpuError), opened() as (nvml, handle), suppress(nvml.NVMLError):
        return sorted(processes(nvml, handle))
    return []


def strangers(listed: Collection[int], family: Collection[int], before: Collection[int]) -> set[int]:
    """Of the processes that NVML lists, those that are not the server's (`family`).

    In a container NVML counts pids as the host does, so that none is of the family: then only those are strangers
    that were listed `before` the server was started.
    """
    known = set(listed) & set(family)
    return set(listed) - known if known else set(listed) & set(before)


def figures(nvml: Any, handle: Any) -> dict[str, float]:
    """What the GPU does now: gpu_busy (share of NVML's last sampling period in which some kernel ran), gpu_mem_mb,
    gpu_power_w, gpu_energy_j (since the driver was loaded), gpu_sm_mhz, gpu_celsius, gpu_clock_reasons (NVML's bits of
    what holds the clocks down). What this card does not tell is left out.

    Raises NVMLError when it tells nothing at all: the GPU or its driver has gone.
    """
    asked: list[tuple[str, Callable[[], float]]] = [
        ("gpu_busy", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        ("gpu_mem_mb", lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6),
        ("gpu_sm_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        ("gpu_celsius", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        *((metric, lambda name=name, scale=scale: scale * getattr(nvml, name)(handle))
          for name, (metric, scale) in _METRIC.items()),
    ]
    found: dict[str, float] = {}
    last: Exception | None = None
    for metric, ask in asked:
        try:
            found[metric] = float(ask())
        except nvml.NVMLError as error:
            last = error
    if "gpu_clock_reasons" not in found:
        with suppress(nvml.NVMLError):
            found["gpu_clock_reasons"] = float(getattr(nvml, _OLD_REASONS)(handle))
    if not found and last is not None:
        raise last
    return found


def _handle(nvml: Any) -> Any:
    first = chosen(os.environ.get(CHOSEN))
    if not first:
        raise NoGpuError(f"{CHOSEN} hides every GPU")
    try:
        if re.fullmatch(r"\d+", first):
            return nvml.nvmlDeviceGetHandleByIndex(int(first))
        return nvml.nvmlDeviceGetHandleByUUID(_whole(nvml, first))
    except nvml.NVMLError as error:
        raise NoGpuError(f"NVML knows no GPU '{first}' ({error})") from None


def _whole(nvml: Any, start: str) -> str:
    """The UUID of the one GPU whose UUID begins so, which is enough for CUDA; `start` itself where not one does."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    found = [uuid for uuid in map(nvml.nvmlDeviceGetUUID, handles) if uuid.startswith(start)]
    return str(found[0]) if len(found) == 1 else start


def _why(nvml: Any, error: Exception) -> str:
    if isinstance(error, nvml.NVMLError_LibraryNotFound):
        return "no NVIDIA driver is installed (libnvidia-ml.so.1 is not found)"
    return f"NVML does not start: {error}"


def _nvml_error() -> type[Exception]:
    from pynvml import NVMLError  # noqa: PLC0415 -- as above

    error: type[Exception] = NVMLError
    return error
