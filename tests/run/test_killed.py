"""What is left when the harness itself is interrupted, terminated or killed in the middle of a load: nothing running,
and every row that it had time to write."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import Exit
from harness.record.read import find_runs
from harness.record.verify import verify
from harness.run.warden import descendants

pytestmark = pytest.mark.live

SCRIPT = Path(__file__).with_name("run_one.py")
ROOT = Path(__file__).parents[2]


def under_load(toy: str, results: Path) -> tuple["subprocess.Popen[str]", dict[int, str]]:
    """A harness whose generators have answers already, and all processes below it by pid, with their start times."""
    harness = subprocess.Popen([sys.executable, str(SCRIPT), toy, str(results), "60"], stdout=subprocess.PIPE,
                               text=True, cwd=ROOT)
    assert harness.stdout
    for line in harness.stdout:
        if line.startswith("done") and int(line.split()[1]) > 50:
            break
    below = {pid: started(pid) for pid in descendants(harness.pid)}
    assert len(below) >= 5, "agent, warden, server, generator and probes"
    return harness, below


def started(pid: int) -> str:
    """A process's start time, which tells it from another that got its number; "" when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def outlive(below: dict[int, str], patience_s: float) -> list[int]:
    """Who is still there when the time is up."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and any(started(pid) == since for pid, since in below.items()):
        time.sleep(0.05)
    return [pid for pid, since in below.items() if started(pid) == since]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_void_and_keeps_its_rows(tmp_path: Path, scratch_parent: Path, number: int) -> None:
    harness, below = under_load("leaves-daemon", tmp_path)
    harness.send_signal(number)
    assert harness.wait(timeout=60) == Exit.INTERRUPTED
    assert outlive(below, 1.0) == []
    [run] = find_runs(tmp_path).runs
    assert (run.meta.status, run.meta.reason) == ("void", "interrupted")
    rows = run.columns("status", "error", "seq")
    assert (rows["status"] == 200).sum() > 50
    assert (rows["error"] == "aborted").sum() > 1000
    assert verify(run) == []
    assert list(scratch_parent.iterdir()) == []


@pytest.mark.parametrize("toy", ["calm", "leaves-daemon"])
def test_nothing_outlives_a_kill(tmp_path: Path, scratch_parent: Path, toy: str) -> None:
    harness, below = under_load(toy, tmp_path)
    harness.kill()
    harness.wait(timeout=10)
    assert outlive(below, 20.0) == []
    found = find_runs(tmp_path)
    assert (len(found.runs), len(found.unfinished)) == (0, 1)
    assert list(scratch_parent.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, scratch_parent: Path) -> None:
    before = set(descendants())
    script = (f'mount -t tmpfs -o size=512k tmpfs "{tmp_path}" && '
              f'exec "{sys.executable}" "$0" floods-log "{tmp_path}" 1')
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, str(SCRIPT)], capture_output=True, text=True, cwd=ROOT,
                          check=False, timeout=120)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no private mounts here")
    assert done.returncode == Exit.BAD_CONFIGURATION, done.stderr
    assert "the disk is full, so this run was not recorded" in done.stdout
    assert "Traceback" not in done.stderr
    assert set(descendants()) <= before
    assert list(scratch_parent.iterdir()) == []
