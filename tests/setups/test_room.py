"""How many replicas a GPU's free memory holds, and what knobs are on a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalog.discover import find_catalog
from harness.errors import TailraceError
from harness.plan.expand import resolve_knobs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "setups"))

from replica.room import fitting, replicas  # noqa: E402  the path above makes it importable

ON_GPU = ("bentoml", "fastapi", "flask", "litserve", "ray-serve", "redis-batching", "triton", "zmq-batching")


@pytest.mark.parametrize(("asked", "told", "each_gb", "count"), [
    (12, "81079\n", 2.0, 12),       # an H100
    (12, "15109\n", 2.0, 7),        # a T4: 15.8 GB
    (12, "900\n", 2.0, 1),          # one is tried whatever there is
    (12, "[N/A]\n", 2.0, 12), (12, "", 2.0, 12)])
def test_workers_are_as_many_as_fit(asked: int, told: str, each_gb: float, count: int) -> None:
    assert fitting(asked, told, each_gb) == count


def test_on_a_cpu_the_gpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOB_WORKERS", "3")
    monkeypatch.setenv("DEVICE", "cpu")
    assert replicas() == 3


def test_without_a_driver_workers_are_as_many_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"KNOB_WORKERS": "3", "KNOB_REPLICA_GB": "2", "DEVICE": "gpu", "PATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert replicas() == 3


@pytest.mark.parametrize("name", ON_GPU)
def test_defaults_on_a_gpu_are_its_own_and_a_plan_may_change_them(name: str) -> None:
    setup = find_catalog(ROOT).setup(name)
    assert setup.devices == ("cpu", "gpu")
    on_cpu, on_gpu = resolve_knobs(setup, {}, 12), resolve_knobs(setup, {}, 12, "gpu")
    assert on_cpu.keys() == on_gpu.keys()
    assert on_gpu == on_cpu | {knob: 12 if value == "cores" else value for knob, value in setup.gpu.items()}
    assert resolve_knobs(setup, {"workers": 2, "precision": "half"}, 12, "gpu") == on_gpu | {
        "workers": 2, "precision": "half"}


def test_a_default_on_a_gpu_of_no_knob_is_refused(tmp_path: Path) -> None:
    from harness.catalog.setup import read_setup  # noqa: PLC0415  used here alone

    table = (ROOT / "setups/litserve/setup.toml").read_text("utf-8").replace("[gpu]", "[gpu]\nworkres = 3")
    (tmp_path / "setup.toml").write_text(table, "utf-8")
    with pytest.raises(TailraceError, match="'workres', which is no knob"):
        read_setup(tmp_path)


def test_a_program_is_started_with_as_many_workers(tmp_path: Path) -> None:
    told = {"KNOB_WORKERS": "3", "DEVICE": "cpu", "PATH": "/bin:/usr/bin", "PYTHONPATH": str(ROOT / "setups")}
    said = subprocess.run([sys.executable, "-m", "replica.room", "echo", "--port", "1", "--workers"], env=told,
                          capture_output=True, text=True, check=True)
    assert said.stdout == "--port 1 --workers 3\n"
