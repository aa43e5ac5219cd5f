"""Whole process trees end: on request, however they resist, and when the one who asked for them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import TailraceError
from harness.run.process import Command, Server
from harness.run.warden import descendants

pytestmark = pytest.mark.live

ENV = {"PATH": os.environ.get("PATH", os.defpath)}


def shell(script: str, log: Path, stop_timeout_s: float = 1.0, log_cap_bytes: int = 1 << 20) -> Command:
    """A tiny shell program as the server."""
    return Command(["sh", "-c", script], "/", ENV, [], str(log), stop_timeout_s, log_cap_bytes)


def alive(pids: list[int]) -> list[int]:
    """Those that still run; a zombie does not."""
    living = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            living.append(pid)
    return living


def wait_for(count: int, server: Server) -> list[int]:
    """The pids below the warden once there are `count` of them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = list(descendants(server.warden_pid))
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"only {len(found)} processes")


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    with Server(shell("echo one; echo two >&2; exit 3", tmp_path / "log")) as server:
        deadline = time.monotonic() + 10
        while not server.exited() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.exit_code == 3
        stopped = server.stop()
    assert stopped.code == 3
    assert (tmp_path / "log").read_text().split() == ["one", "two"]


def test_children_in_other_sessions_end_too(tmp_path: Path) -> None:
    script = "setsid sh -c '(setsid sleep 600 &) ; sleep 601' & sleep 602 & wait"
    with Server(shell(script, tmp_path / "log")) as server:
        pids = wait_for(4, server)
        stopped = server.stop()
    assert alive(pids) == []
    assert stopped.killed == ()


def test_who_ignores_sigterm_is_killed_and_named(tmp_path: Path) -> None:
    with Server(shell("trap '' TERM; setsid sleep 600; sleep 601", tmp_path / "log", stop_timeout_s=0.5)) as server:
        pids = wait_for(2, server)
        stopped = server.stop()
    assert alive(pids) == []
    assert any(name.startswith("sh (") for name in stopped.killed)
    assert 0.4 < stopped.seconds < 5


def test_a_second_stop_tells_the_same(tmp_path: Path) -> None:
    with Server(shell("sleep 600", tmp_path / "log")) as server:
        first = server.stop()
        assert server.stop() == first
    assert first.code == -signal.SIGTERM


def test_a_flood_keeps_the_start_and_the_end(tmp_path: Path) -> None:
    script = "echo first; yes | head -c 30000000; echo last"
    with Server(shell(script, tmp_path / "log", log_cap_bytes=100_000)) as server:
        deadline = time.monotonic() + 20
        while not server.exited() and time.monotonic() < deadline:
            time.sleep(0.02)
        server.stop()
    text = (tmp_path / "log").read_text()
    assert len(text) < 200_000
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "bytes of output left out here" in text


def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    command = Command(["no-such-program"], "/", ENV, [], str(tmp_path / "log"), 1.0)
    with pytest.raises(TailraceError, match="no-such-program: cannot be started: No such file"), Server(command):
        pass


def test_it_runs_on_the_cpus_it_is_given(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    command = Command([sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"], "/", ENV, [cpu],
                      str(tmp_path / "log"), 1.0)
    with Server(command) as server:
        while not server.exited():
            time.sleep(0.02)
        server.stop()
    assert (tmp_path / "log").read_text().strip() == f"[{cpu}]"


_KEEPER = """
import sys, time
from harness.run.process import Command, Server
script = "trap '' TERM; (setsid sleep 600 &); setsid sh -c 'sleep 601; sleep 602' & sleep 603; sleep 604"
with Server(Command(["sh", "-c", script], "/", {"PATH": "/usr/bin:/bin"}, [], sys.argv[1], 0.5)) as server:
    print(server.warden_pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_harness(tmp_path: Path, number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", _KEEPER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True,
                          cwd=Path(__file__).parents[2]) as keeper:
        assert keeper.stdout
        warden = int(keeper.stdout.readline())
        deadline = time.monotonic() + 10
        while len(pids := list(descendants(warden))) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(pids) >= 5
        keeper.send_signal(number)
        keeper.wait(timeout=10)
    deadline = time.monotonic() + 10
    while alive([*pids, warden]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive([*pids, warden]) == []


def test_when_the_warden_itself_is_killed_its_server_ends(tmp_path: Path) -> None:
    with Server(shell("sleep 600 & sleep 601", tmp_path / "log")) as server:
        pids = wait_for(3, server)
        os.kill(server.warden_pid, signal.SIGKILL)
        stopped = server.stop()
    assert "the warden was killed" in stopped.survived[0]
    deadline = time.monotonic() + 5
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(pids) == []


def test_who_is_never_the_same_process_for_long_ends_too(tmp_path: Path) -> None:
    """A chain of processes, each of which forks the next and ends: scans of /proc find only those of before."""
    chain = "import os\nos.setsid()\nwhile True:\n    if os.fork(): os._exit(0)"
    with Server(shell(f"{sys.executable} -I -S -c '{chain}' {tmp_path} & sleep 0.3", tmp_path / "log")) as server:
        deadline = time.monotonic() + 10
        while not server.exited() and time.monotonic() < deadline:
            time.sleep(0.02)
        stopped = server.stop()
    assert stopped.survived == ()
    assert stopped.left + stopped.killed
    assert stopped.seconds < 5
