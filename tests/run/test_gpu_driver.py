"""What is asked of a card, through the real nvidia-ml-py, of a driver that a C file of a page stands for."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.gpu_figures import joules_each, seen
from harness.analyse.summary import analyse
from harness.record.write import Probe
from harness.run.cores import split
from harness.run.probes import INTERVAL_S, Probes

TOYS = Path(__file__).parents[1] / "toys"
SOURCE = TOYS / "nvml" / "driver.c"
CC = shutil.which("cc")
pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler is installed (cc)")
SECOND = "GPU-1bbbbbbb-1111-2222-3333-444444444444"
Driver = Callable[..., Path]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Builds the driver into a folder of its own, which it also obeys, and lets it be found."""

    def build(*flags: str) -> Path:
        made = tmp_path / "libnvidia-ml.so.1"
        subprocess.run([CC, "-shared", "-fPIC", f'-DFOLDER="{tmp_path}"', *flags, "-o", made, SOURCE], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        return tmp_path

    return build


def asked(code: str, visible: str | None = "1") -> Any:
    """What a process that finds the driver at its start says."""
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run([sys.executable, "-c", f"import json\nfrom harness.run import gpu\n{code}"], check=False,
                          capture_output=True, text=True,
                          env=env if visible is None else env | {"CUDA_VISIBLE_DEVICES": visible})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FIGURES = "with gpu.opened() as pair: print(json.dumps([gpu.figures(*pair), gpu.processes(*pair)]))"


def test_a_card_is_described_in_our_units(driver: Driver) -> None:
    driver()
    assert asked("print(json.dumps([gpu.facts(), gpu.why_none()]))") == [
        {"count": 2, "names": ["TOY H200 0", "TOY H200 1"], "memory_gib": [141, 141], "driver": "580.95.05",
         "cuda": "13.0"}, ""]
    found, processes = asked(FIGURES)
    energy_j = found.pop("gpu_energy_j")
    assert found == {"gpu_busy": 0.6, "gpu_mem_mb": 3200.0, "gpu_sm_mhz": 1980.0, "gpu_celsius": 41.0,
                     "gpu_power_w": 300.0, "gpu_clock_reasons": 4.0}
    assert energy_j == pytest.approx(300 * time.monotonic(), rel=0.01)
    assert processes == {}


@pytest.mark.parametrize(("visible", "busy"), [("1", 0.6), ("1,0", 0.6), (SECOND, 0.6), ("GPU-1bb", 0.6), ("0", None),
                                               (None, None)])
def test_the_card_is_the_one_that_cuda_would_take(driver: Driver, visible: str | None, busy: float | None) -> None:
    driver()
    assert asked(FIGURES, visible)[0].get("gpu_busy") == busy


@pytest.mark.parametrize("visible", ["7", "GPU-9", "GPU-", "MIG-1bbbbbbb", ""])
def test_a_card_that_is_not_there_is_no_card(driver: Driver, visible: str) -> None:
    driver()
    why = asked("print(json.dumps(gpu.why_none()))", visible)
    assert why.startswith(f"NVML knows no GPU '{visible}'" if visible else "CUDA_VISIBLE_DEVICES hides every GPU")


def test_a_driver_of_old_leaves_out_what_it_does_not_know(driver: Driver) -> None:
    (driver("-DOLD") / "pids").write_text("7\n")
    found, processes = asked(FIGURES)
    assert "gpu_energy_j" not in found
    assert found["gpu_clock_reasons"] == 4.0
    assert processes == {"7": 500.0}
    assert asked("print(json.dumps(gpu.processes_now()))") == [7]


def looked(tmp_path: Path, before: list[int], meanwhile: Callable[[], object]) -> list[Probe]:
    """Probes of this process as the server, over a dozen looks at most."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def seen_often(times: int) -> None:
        """Waits for so many looks or for the last one: the probe runs when nobody else wants to."""
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s:
            text = (scratch / "gpu.tsv").read_text("utf-8") if (scratch / "gpu.tsv").exists() else ""
            if text.count("gpu_power_w") >= times or "gpu_lost" in text:
                return
            time.sleep(INTERVAL_S / 5)

    with Probes(os.getpid(), [os.getpid()], split(), scratch, on_gpu=before) as probes:
        seen_often(5)
        meanwhile()
        seen_often(12)
        return [each for each in probes.finish(0) if each.metric.startswith("gpu_")]


def test_probes_tell_power_energy_and_who_is_on_the_card(driver: Driver, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", SECOND)
    with subprocess.Popen(["sleep", "60"]) as ours:
        (driver() / "pids").write_text(f"{ours.pid}\n1\n")
        probes = looked(tmp_path, [], lambda: None)
        ours.terminate()
    assert {each.metric for each in probes} == {"gpu_busy", "gpu_mem_mb", "gpu_sm_mhz", "gpu_celsius", "gpu_power_w",
                                                "gpu_energy_j", "gpu_clock_reasons", "gpu_strangers"}
    assert {each.value for each in probes if each.metric == "gpu_strangers"} == {1.0}
    assert {(each.pid, each.name, each.value) for each in probes if each.scope == "server"} == {
        (ours.pid, "sleep", 500.0)}
    columns = {name: np.array(values, {"t_ns": np.int64, "pid": np.int32, "value": np.float64}.get(name, object))
               for name, values in zip(Probe._fields, zip(*probes, strict=True), strict=True)}
    first, last = (end([each.t_ns for each in probes]) / 1e9 for end in (min, max))
    found = seen(columns, first, last)
    assert found is not None
    assert found.energy_from == "counter"
    assert found.power_w == pytest.approx(300, rel=0.02)
    assert (found.busy, found.memory_mb) == (pytest.approx(0.6), pytest.approx(3200))
    assert joules_each(found.power_w, 1000) == pytest.approx(0.3, rel=0.02)


def test_a_card_that_is_lost_ends_the_probe_with_its_words(driver: Driver, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    folder = driver()
    probes = looked(tmp_path, [], (folder / "lost").touch)
    assert len([each for each in probes if each.metric == "gpu_power_w"]) >= 2
    assert [each.name for each in probes if each.metric == "gpu_lost"] == ["GPU is lost"]
    assert max(probes, key=lambda each: each.t_ns).metric == "gpu_lost"


@pytest.mark.live
def test_a_race_on_a_card_ends_in_its_energy_and_its_cost(driver: Driver, tmp_path: Path) -> None:
    """From the command to the report: what `--device gpu` does that needs no kernel."""
    (driver() / "pids").write_text("1\n")
    toys = tmp_path / "toys"
    shutil.copytree(TOYS, toys)
    for file in ("setups/calm/setup.toml", "workloads/echo/workload.toml"):
        text = (toys / file).read_text("utf-8")
        (toys / file).write_text(text.replace("\nidea", '\ndevices = ["cpu", "gpu"]\nidea', 1), "utf-8")
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "1,0"}

    def tailrace(*words: str) -> None:
        done = subprocess.run([sys.executable, "-m", "harness", *words], cwd=toys, env=env, capture_output=True,
                              text=True, check=False)
        assert done.returncode in (0, 99, 110, 111), done.stdout + done.stderr  # what a busy host makes of it, too

    tailrace("run", "--device", "gpu", "--workload", "echo", "--setup", "calm", "--scenario", "brief", "-n", "1",
             "--results", str(tmp_path / "results"))
    [machine] = (tmp_path / "results").glob("*/machine.json")
    assert json.loads(machine.read_text("utf-8"))["gpu"]["names"] == ["TOY H200 0", "TOY H200 1"]
    [cell] = analyse(tmp_path / "results").cells
    assert (cell.setup, cell.device) == ("calm (gpu)", "gpu")
    [run] = cell.runs
    assert run.status == "ok"
    assert cell.gpu is not None
    assert (cell.gpu.energy_from, cell.gpu.busy) == ("counter", pytest.approx(0.6))
    assert cell.gpu.power_w == pytest.approx(300, rel=0.02)
    assert cell.gpu.joules_per_request == pytest.approx(300 / cell.throughput.value, rel=0.03)
    assert cell.gpu.kwh_per_million_good == pytest.approx(300 / cell.goodput.value / 3.6, rel=0.03)
    [meta] = (tmp_path / "results").glob("*/*/run.json")
    facts = json.loads(meta.read_text("utf-8"))["facts"]["gpu"]
    assert (facts["driver"], facts["pids_before"]) == ("580.95.05", [1])
    tailrace("report", str(tmp_path / "results"), "--out", str(tmp_path / "report"), "--price-kwh", "0.20")
    marked, page = ((tmp_path / "report" / name).read_text("utf-8") for name in ("report.md", "report.html"))
    assert f"| 300 | {cell.gpu.joules_per_request:.2f} |" in marked
    assert f"| {0.20 * cell.gpu.kwh_per_million_good:.3f} |" in marked
    assert "other processes were on the GPU, in 100% of the looks" in marked
    assert "TOY H200 1" in page
