"""A checkout's own environment: out of a parcel, with what the machine has where that will do."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

from harness.errors import TailraceError
from harness.run.pack import Target, groups_of, pack
from harness.run.pins import pins
from harness.run.whole import unlike

ROOT = Path(__file__).resolve().parents[2]
HERE = ".".join(map(str, sys.version_info[:2]))


def test_a_lock_is_compared_with_what_is_installed(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    own = {pin.name: pin.version for pin in pins((ROOT / "requirements" / "harness.txt").read_text())}
    lock.write_text(f"typer=={own['typer']}\nrich=={own['rich']}\nwindows-only==1.0 ; sys_platform == 'win32'\n")
    assert unlike(lock) == []
    lock.write_text(f"rich=={own['rich'].split('.')[0]}.999\n")
    assert unlike(lock) == [f"rich {own['rich']} (locked: {own['rich'].split('.')[0]}.999)"]
    lock.write_text("no-such-package==1.0\n")
    with pytest.raises(TailraceError, match=r"neither a wheel nor this machine has no-such-package==1\.0"):
        unlike(lock)
    lock.write_text("rich==1.0\n")
    with pytest.raises(TailraceError, match=rf"rich {own['rich']} where 1\.0 is locked"):
        unlike(lock)


@pytest.mark.live
def test_a_checkout_makes_itself_ready(tmp_path: Path, machine: Callable[..., str]) -> None:
    """The checkout is a small one: of its dependencies uv, setuptools and packaging, which the machine has."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "harness", checkout / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout)
    entries = {pin.name: pin.text for lock in ("harness.txt", "bootstrap.txt")
               for pin in pins((ROOT / "requirements" / lock).read_text())}
    [version] = [pin.version for pin in pins(entries["packaging"])]
    lock = checkout / "requirements" / "harness.txt"
    lock.parent.mkdir()
    lock.write_text("\n".join(entries[name].rstrip("\n") for name in ("packaging", "setuptools", "uv")) + "\n")
    target = Target(HERE, "2.28", {"packaging": version})
    parcel = tmp_path / "parcel"
    pack(parcel, target, groups_of([([lock], ())], target), [], 16 << 20, print)
    assert len(list(parcel.iterdir())) > 1  # uv is larger than a part
    python = machine(("torch", "9.1"))
    with_packages(python, entries["packaging"], tmp_path)
    variables = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TAILRACE_CACHE": str(tmp_path / "cache"),
                 "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

    def unpack(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-m", "harness.parcel", parcel, *more], cwd=checkout, env=variables, text=True,
                              capture_output=True, check=False)

    done = unpack("--system-packages")
    assert (done.returncode, done.stderr) == (0, "")
    made = checkout / ".venv" / "bin" / "python"
    told = subprocess.run([made, "-c", "import harness, packaging, torch; print(torch.VERSION, packaging.__file__)"],
                          capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert told.startswith(f"9.1 {tmp_path}/machine/")
    assert (tmp_path / "cache" / "packages.json").is_file()
    alone = unpack()
    assert (alone.returncode, "packaging" in alone.stderr, "Traceback" in alone.stderr) == (104, True, False)
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0", 1000))
    assert "has no wheel of uv" in unpack("--system-packages").stderr


def with_packages(python: str, entry: str, tmp_path: Path) -> None:
    lock = tmp_path / "machine.txt"
    lock.write_text(entry)
    subprocess.run([uv.find_uv_bin(), "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock],
                   check=True)
