"""What the harness finds out about a machine, its CPUs, its sockets; and what it tells a server. Fast."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Exit, TailraceError
from harness.plan.attempt import Attempt
from harness.run.cores import Cores, split
from harness.run.launch import Place, scratch_folder, server_command, server_env
from harness.run.locks import only_harness
from harness.run.machine import lacking, memory_bytes, this_machine
from harness.run.pipes import Lines
from harness.run.probes import Probes
from harness.run.sockets import free_port, is_taken, listeners
from harness.run.specs import expected_requests


@pytest.mark.parametrize(("usable", "server", "load"), [
    ([3], (3,), (3,)),
    ([0, 1], (0,), (1,)),
    ([0, 1, 2, 3], (0, 1, 2), (3,)),
    ([5, 2, 9], (2, 5), (9,)),
    (range(8), (0, 1, 2, 3, 4, 5), (6, 7)),
    (range(64), tuple(range(48)), tuple(range(48, 64))),
])
def test_the_last_quarter_of_the_cpus_sends(usable: list[int], server: tuple[int, ...], load: tuple[int, ...]) -> None:
    assert split(usable) == Cores(server, load)
    assert split(usable).shared == (len(list(usable)) == 1)


@given(st.sets(st.integers(0, 500), min_size=2))
def test_no_cpu_is_lost_or_shared(usable: set[int]) -> None:
    cores = split(usable)
    assert sorted(cores.server + cores.load) == sorted(usable)
    assert not cores.shared


def test_the_machine_has_one_name_and_tells_no_secret() -> None:
    machine = this_machine()
    assert machine == this_machine()
    assert machine.id.endswith(machine.facts["id"][-6:])
    assert machine.facts["memory_gib"] > 0
    told = json.dumps(machine.facts)
    assert socket.gethostname() not in told
    assert os.environ.get("HOME", "/root") not in told
    assert set(machine.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def test_what_the_machine_lacks_is_one_sentence(tmp_path: Path) -> None:
    assert lacking({"programs": ("sh",), "memory_gb": 0.1, "disk_gb": 0.001}, tmp_path) == ""
    said = lacking({"programs": ("sh", "no-such-program"), "memory_gb": 1e5}, tmp_path)
    assert said.startswith("this machine lacks the program no-such-program, 100000 GB of memory (it has ")
    assert memory_bytes() > 1 << 28


def test_listening_sockets_are_found_and_told_apart(tmp_path: Path) -> None:
    with socket.socket() as local, socket.socket(socket.AF_INET6) as every, socket.socket() as open_to_all:
        local.bind(("127.0.0.1", 0))
        every.bind(("::1", 0))
        open_to_all.bind(("0.0.0.0", 0))
        for each in (local, every, open_to_all):
            each.listen()
        found = {each.port: each for each in listeners([os.getpid()])}
        assert found[local.getsockname()[1]].address == "127.0.0.1"
        assert found[every.getsockname()[1]].is_local
        assert not found[open_to_all.getsockname()[1]].is_local
        assert is_taken(local.getsockname()[1])
        assert is_taken(open_to_all.getsockname()[1])
        assert listeners([1 << 22]) == []
    assert not is_taken(free_port())
    assert tmp_path.is_dir()


def test_lines_come_whole_from_several_pipes() -> None:
    (read_a, write_a), (read_b, write_b) = os.pipe(), os.pipe()
    lines = Lines()
    lines.add("a", read_a)
    lines.add("b", read_b)
    os.write(write_a, b'{"n": 1}\n{"n"')
    assert [(heard.source, heard.message) for heard in lines.wait(1.0)] == [("a", {"n": 1})]
    os.write(write_a, b": 2}\nnoise\n")
    assert [heard.message for heard in lines.wait(1.0)] == [{"n": 2}, {"text": "noise"}]
    os.close(write_b)
    assert [tuple(heard) for heard in lines.wait(1.0)] == [("b", None)]
    began = time.monotonic()
    assert lines.wait(0.1) == []
    assert 0.05 < time.monotonic() - began < 1
    lines.close()
    for handle in (read_a, write_a, read_b):
        os.close(handle)


def test_the_lock_is_the_machines_and_goes_with_its_process() -> None:
    """Its holder has another cache."""
    script = ("import time\nfrom harness.run.locks import only_harness\n"
              "with only_harness():\n    print('held', flush=True)\n    time.sleep(60)\n")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE,
                          env={**os.environ, "TAILRACE_CACHE": "/dev/null/none"},
                          cwd=Path(__file__).parents[2]) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TailraceError, match=f"process {holder.pid} since") as caught, only_harness():
            pass
        assert caught.value.code == Exit.BAD_CONFIGURATION
        holder.kill()
    with only_harness():
        pass


def test_a_server_is_told_what_the_design_says_and_nothing_else(attempt: Callable[[str], Attempt],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_SECRET", "do not tell")
    calm = attempt("calm")
    with scratch_folder() as scratch:
        place = Place((Path("/env/bin/python"),), Path("/models/echo"), scratch, scratch / "log", (0, 2))
        env = server_env(calm.setup, calm.workload, {"workers": 3, "fast": True, "max-batch": 8}, place, 4711)
        assert len(str(place.temporary)) < 60
        assert place.temporary.is_dir()
    assert "CLOUD_SECRET" not in env
    assert {"HOST": "127.0.0.1", "PORT": "4711", "MODEL_DIR": "/models/echo", "THREADS": "1", "OMP_NUM_THREADS": "1",
            "SERVER_CORES": "2", "KNOB_WORKERS": "3", "KNOB_FAST": "true", "KNOB_MAX_BATCH": "8",
            "DEVICE": "cpu"}.items() <= env.items()
    assert env["PATH"].startswith("/env/bin:")
    assert env["PYTHONPATH"].split(":") == [str(calm.setup.folder), str(calm.setup.folder.parent),
                                            str(calm.workload.folder)]
    assert server_env(calm.setup, calm.workload, {"threads": 4}, place, 1)["OMP_NUM_THREADS"] == "4"
    assert server_env(calm.setup, calm.workload, {"request_threads": 4}, place, 1)["THREADS"] == "1"


@pytest.mark.parametrize(("command", "said"), [
    (("python", "{nonsense}"), r"setup\.toml: `command` cannot be written out: 'nonsense'"),
    (("no-such-program",), r"setup\.toml: the program 'no-such-program' is not found"),
])
def test_a_command_that_cannot_be_is_one_sentence(attempt: Callable[[str], Attempt], tmp_path: Path,
                                                  command: tuple[str, ...], said: str) -> None:
    calm = attempt("calm")
    place = Place((Path(sys.executable),), tmp_path, tmp_path, tmp_path / "log", (0,))
    with pytest.raises(TailraceError, match=said):
        server_command(calm.setup.model_copy(update={"command": command}), calm.workload, {}, place, 1)


def test_how_many_requests_a_scenario_sends(attempt: Callable[[str], Attempt]) -> None:
    scenario = attempt("calm").scenario
    assert expected_requests(scenario) == 230
    stage = scenario.stage[0].model_copy(update={"rate_end": 300.0})
    assert expected_requests(scenario.model_copy(update={"stage": (stage,)})) == 430
    closed = scenario.stage[0].model_copy(update={"arrivals": "closed", "rate": None, "users": 3})
    assert expected_requests(scenario.model_copy(update={"stage": (closed,)})) is None


def test_probes_see_cpu_time_and_memory(tmp_path: Path) -> None:
    busy = "x = bytearray(50_000_000)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy]) as worker, \
            Probes(os.getpid(), [os.getpid()], split(), tmp_path) as probes:
        began_ns = time.monotonic_ns()
        time.sleep(1.0)
        seen = probes.finish(began_ns)
        worker.kill()
    cpu = [each for each in seen if each.pid == worker.pid and each.metric == "cpu_s" and each.scope == "server"]
    elapsed_s = (cpu[-1].t_ns - cpu[0].t_ns) / 1e9
    assert 0.1 < cpu[-1].value - cpu[0].value < elapsed_s + 0.1
    assert max(each.value for each in seen if each.pid == worker.pid and each.metric == "rss_mb") > 50
    assert {each.scope for each in seen if each.pid == os.getpid()} == {"load"}
    assert [each.metric for each in seen if each.pid == worker.pid].count("pss_mb") == 2  # below both scopes, once each
    assert max(each.t_ns for each in seen) > 0.9e9
