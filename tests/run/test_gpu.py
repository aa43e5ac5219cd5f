"""The GPU of a run: who is given it, who else is on it, and a machine that has none."""

import importlib
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.plan.attempt import Attempt
from harness.run import gpu
from harness.run.cores import split
from harness.run.launch import Place, scratch_folder, server_env
from harness.run.machine import lacking, this_machine
from harness.run.possible import why_not
from harness.run.probes import Probes

HERE = not gpu.why_none()
PIDS = st.sets(st.integers(1, 99), max_size=8)
needs_none = pytest.mark.skipif(HERE, reason="this machine has a GPU")


@pytest.mark.parametrize(("visible", "first"), [
    (None, "0"), ("2,3", "2"), (" 1 ", "1"), ("", ""), ("-1", ""), ("GPU-5ebe,GPU-9", "GPU-5ebe"),
])
def test_the_gpu_is_the_first_that_the_user_left_visible(visible: str | None, first: str) -> None:
    assert gpu.chosen(visible) == first


def test_a_server_finds_one_gpu_or_none() -> None:
    own = {"CUDA_VISIBLE_DEVICES": "3,4", "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64", "SECRET": "x"}
    assert gpu.variables("cpu", own) == {"CUDA_VISIBLE_DEVICES": ""}
    assert gpu.variables("gpu", own) == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                                         "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
    assert gpu.variables("gpu", {})["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_server_is_told_its_device(attempt: Callable[[str], Attempt]) -> None:
    calm = attempt("calm")
    with scratch_folder() as scratch:
        for device in ("cpu", "gpu"):
            place = Place((Path("/env/bin/python"),), Path("/m"), scratch, scratch / "log", (0,), device)
            assert server_env(calm.setup, calm.workload, {}, place, 1)["DEVICE"] == device


@given(listed=PIDS, family=PIDS, before=PIDS)
def test_strangers_are_never_the_servers_own(listed: set[int], family: set[int], before: set[int]) -> None:
    found = gpu.strangers(listed, family, before)
    assert found <= listed
    assert not found & family or not listed & family  # only of another namespace may numbers coincide
    if listed & family:
        assert found == listed - family


def test_in_a_container_only_who_was_there_before_is_a_stranger() -> None:
    assert gpu.strangers({4001, 4002}, {7, 8}, {4001}) == {4001}
    assert gpu.strangers({4001, 4002}, {7, 8}, set()) == set()


@needs_none
def test_a_machine_without_a_gpu_says_why(tmp_path: Path) -> None:
    why = "no NVIDIA driver is installed (libnvidia-ml.so.1 is not found)"
    assert gpu.why_none() == why
    assert gpu.facts() == {"count": 0, "why": why}
    assert gpu.processes_now() == []
    machine = this_machine()
    assert machine.facts["gpus"] == []
    assert machine.facts["gpu"] == gpu.facts()
    assert lacking({"gpu": True}, tmp_path) == f"this machine lacks a GPU ({why})"


@needs_none
def test_the_reason_of_a_skip_is_the_first_that_would_still_hold_elsewhere(attempt: Callable[[str], Attempt],
                                                                         tmp_path: Path) -> None:
    calm = attempt("calm")
    both = {"devices": ("cpu", "gpu")}
    setup, workload = calm.setup.model_copy(update=both), calm.workload.model_copy(update=both)
    assert why_not(calm.setup, calm.workload, "cpu", tmp_path) == ""
    assert why_not(calm.setup, workload, "gpu", tmp_path).startswith("calm does not serve on the GPU")
    assert why_not(setup, calm.workload, "gpu", tmp_path).startswith("echo gains nothing from the GPU")
    assert why_not(setup, workload, "gpu", tmp_path).startswith("this machine lacks a GPU (no NVIDIA driver")


@needs_none
def test_probes_of_a_gpu_that_is_not_there_say_so_and_hurt_no_others(tmp_path: Path) -> None:
    with Probes(os.getpid(), [os.getpid()], split(), tmp_path, on_gpu=[]) as probes:
        found = probes.finish(0)
    assert any(probe.metric == "cpu_s" for probe in found)
    [lost] = [probe for probe in found if probe.scope == "gpu"]
    assert (lost.metric, lost.value) == ("gpu_lost", 1.0)
    assert lost.name == "no NVIDIA driver is installed (libnvidia-ml.so.1 is not found)"


def test_every_function_asked_of_nvml_is_there() -> None:
    """The Python side of the real library, with the names and arguments that harness/run/gpu.py uses."""
    nvml = importlib.import_module("pynvml")
    handle = object()
    used = set(re.findall(r"\bnvml\.(\w+)", inspect.getsource(gpu))) | {*gpu._METRIC, gpu._OLD_REASONS}
    assert len(used) > 15
    assert [name for name in used if not hasattr(nvml, name)] == []
    for name in used:
        if name.startswith("nvmlDeviceGet") and name not in ("nvmlDeviceGetCount", "nvmlDeviceGetClockInfo",
                                                              "nvmlDeviceGetTemperature"):
            inspect.signature(getattr(nvml, name)).bind(handle)
    inspect.signature(nvml.nvmlDeviceGetClockInfo).bind(handle, nvml.NVML_CLOCK_SM)
    inspect.signature(nvml.nvmlDeviceGetTemperature).bind(handle, nvml.NVML_TEMPERATURE_GPU)
