"""What prepares ends with the harness that asked for it, even when that is killed."""

import subprocess
import sys
import time
from pathlib import Path

from harness.run.mortal import mortal

STARTS = ("import subprocess\nfrom harness.run.mortal import mortal\n"
          "child = subprocess.Popen(mortal(['/bin/sh', '-c', 'echo up; exec sleep 60']), stdout=subprocess.PIPE)\n"
          "child.stdout.readline()\nprint(child.pid, flush=True)\nchild.wait()\n")


def test_it_becomes_the_program() -> None:
    done = subprocess.run(mortal(["/bin/sh", "-c", "echo $0 $PWD; exit 3", "said"]), cwd="/", capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "said /\n")


def test_it_dies_with_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True,
                          cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
