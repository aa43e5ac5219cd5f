"""What runs is compared with what is locked; probes see where a process may run."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.run.fidelity import differences
from harness.run.probe_script import kept_back, named, outside

LOCK = """
numpy==2.1.0 \\
    --hash=sha256:00
ruamel.yaml[jinja2]==0.18.1 ; python_version < "4" \\
    --hash=sha256:11
torch==2.4.0+cpu
"""


def environment(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / "lib/python3.11/site-packages" / f"{name}.dist-info").mkdir(parents=True)
    return folder


def model(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "model.bin").write_bytes(content)
    fact = {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"files": {"model.bin": fact}}))
    return folder


@pytest.mark.parametrize(("installed", "said"), [
    (["numpy-2.1.0", "ruamel_yaml-0.18.1", "torch-2.4.0"], []),
    (["numpy-2.1.0"], []),
    (["numpy-2.0.0"], ["numpy 2.0.0 is installed where the lock says 2.1.0"]),
    (["numpy-2.1.0", "stranger-1.0"], ["stranger 1.0 is installed and in no lock"]),
])
def test_packages_are_those_of_the_locks(tmp_path: Path, installed: list[str], said: list[str]) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(LOCK)
    assert differences(environment(tmp_path / "env", installed), [lock], tmp_path) == said


def test_files_of_the_model_are_those_of_its_manifest(tmp_path: Path) -> None:
    env = environment(tmp_path / "env", [])
    assert differences(env, [], model(tmp_path / "good")) == []
    bad = model(tmp_path / "bad", b"weighty")
    assert differences(env, [], bad) == ["model.bin of the model differs from its manifest"]
    gone = model(tmp_path / "gone")
    (gone / "model.bin").unlink()
    assert differences(env, [], gone) == ["model.bin of the model is missing"]


def test_a_process_that_may_run_elsewhere_is_told() -> None:
    [first, *others] = sorted(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{first}])\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert outside(process.pid, {first}, threads=False) == 0
        assert outside(process.pid, set(others), threads=True) == 1
        process.kill()
    assert outside(process.pid, {first}, threads=True) is None


def test_numbers_of_a_kernels_file_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("throttled_usec 1500\nnr 7 extra\nword x\n")
    assert named(str(tmp_path / "stat")) == {b"throttled_usec": 1500}
    assert named(str(tmp_path / "none")) == {}
    assert {metric for _, metric, _ in kept_back()} <= {"throttled_s", "swapped_pages"}
