"""A race where no index is reached: all that is needed comes out of a parcel and the machine's own packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from harness.catalog.discover import cache_folder, find_catalog
from harness.parcel.manifest import fetch, read_manifest
from harness.run.pack import Target, groups_of, pack
from harness.run.pins import needed
from harness.run.prepare import prepare

HERE = ".".join(map(str, sys.version_info[:2]))
MACHINE_HAS = ("numpy", "onnxruntime")


@pytest.mark.live
def test_flask_on_fraud(tmp_path: Path) -> None:
    catalog = find_catalog(Path(__file__))
    workload, setup = catalog.workload("fraud"), catalog.setup("flask")
    model = cache_folder() / "workloads" / f"fraud-{prepare(workload, print).hash}"
    target = Target(HERE, "2.28", {})
    groups = groups_of([([workload.lock], ()), ([workload.lock, setup.lock], ())], target)
    pack(tmp_path / "parcel", target, groups, [model], 64 << 20, print)
    cache, results, wheels = tmp_path / "cache", tmp_path / "results", tmp_path / "cache" / "wheels"
    fetch(tmp_path / "parcel", read_manifest(tmp_path / "parcel"), cache)

    dead = "http://127.0.0.1:9"
    variables = {**{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))},
                 "TAILRACE_CACHE": str(cache), "TAILRACE_LOCK": f"tests-{os.getpid()}",
                 "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_DEFAULT_INDEX": dead,
                 "HTTPS_PROXY": dead, "HTTP_PROXY": dead, "NO_PROXY": ""}

    def tailrace(*words: str | Path) -> str:
        done = subprocess.run([sys.executable, "-c", "from harness.cli import main; main()", *words], text=True,
                              env=variables, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    machine = tmp_path / "machine"
    run_uv(variables, "venv", "--python", sys.executable, str(machine))
    pins = needed([workload.lock])
    run_uv(variables, "pip", "install", "--no-index", "--no-deps", "--find-links", str(wheels), "--python",
           str(machine / "bin/python"), *(f"{name}=={pins[name].version}" for name in MACHINE_HAS))
    for name in MACHINE_HAS:  # what the machine has need not be brought, too
        [wheel] = wheels.glob(f"{name}-*.whl")
        wheel.unlink()

    said = tailrace("prepare", "fraud", "--setup", "flask", "--wheels", wheels, "--offline",
                    "--system-packages", machine / "bin" / "python")
    assert "no index" in said.replace("\n", " ")
    tailrace("run", "--setup", "flask", "--workload", "fraud", "-n", "1", "--duration", "2", "--results", results)
    [path] = results.glob("*/*-flask-fraud-*/run.json")
    meta = json.loads(path.read_text())
    assert (meta["status"], meta["facts"]["unlike_lock"], meta["facts"].get("stands_in")) == ("ok", [], None)
    assert meta["facts"]["judged"]["wrong"] == 0
    for name in MACHINE_HAS:
        assert meta["versions"][f"machine/{name}"] == meta["versions"][f"env/{name}"] == pins[name].version
    for folder in (cache / "envs").glob("[0-9a-f]*"):
        held = {each.name.partition("-")[0] for each in folder.glob("lib/python*/site-packages/*.dist-info")}
        assert held
        assert not held & set(MACHINE_HAS)


def run_uv(variables: dict[str, str], *words: str) -> None:
    subprocess.run([uv.find_uv_bin(), "--quiet", *words], env=variables, check=True, stdin=subprocess.DEVNULL)
