"""The agent: payload files as promised, judgements in order, one sentence per fault, no process left behind."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.run.agent import Agent
from harness.run.environments import environment
from harness.run.prepare import prepare

Make = Callable[..., Workload]


def silent(_: str) -> None:
    pass


def started(workload: Workload, timeout_s: float = 60) -> Agent:
    return Agent(workload, prepare(workload, silent), environment([workload.lock]), timeout_s)


@pytest.fixture
def agent(triple: Make) -> Iterator[Agent]:
    with started(triple()) as agent:
        yield agent


def pool(prefix: Path) -> tuple[list[bytes], list[int]]:
    data, offsets = Path(f"{prefix}.bin").read_bytes(), np.load(f"{prefix}.offsets.npy", allow_pickle=False)
    assert offsets.dtype == np.int64
    bodies = [data[start:stop] for start, stop in itertools.pairwise(offsets)]
    return bodies, json.loads(Path(f"{prefix}.truths.json").read_text())


def test_payload_files(agent: Agent, tmp_path: Path) -> None:
    agent.payload_files(1, "default", 50, tmp_path / "run" / "pool")
    bodies, truths = pool(tmp_path / "run" / "pool")
    assert len(bodies) == 50
    assert [int(body) * 3 for body in bodies] == truths


def test_payloads_are_drawn_once_per_seed_profile_and_count(agent: Agent, tmp_path: Path) -> None:
    asked = [(1, "default", 20), (1, "default", 20), (2, "default", 20), (1, "long", 20), (1, "default", 21)]
    for index, (seed, profile, count) in enumerate(asked):
        agent.payload_files(seed, profile, count, tmp_path / str(index))
    files = [os.path.realpath(tmp_path / f"{index}.bin") for index in range(len(asked))]
    assert files[0] == files[1]
    assert len(set(files)) == 4
    assert pool(tmp_path / "0") != pool(tmp_path / "2")
    assert pool(tmp_path / "4")[0][:20] == pool(tmp_path / "0")[0]


def test_judging_keeps_order_and_survives_what_the_workload_prints(agent: Agent, tmp_path: Path) -> None:
    agent.payload_files(1, "default", 5, tmp_path / "pool")
    _, truths = pool(tmp_path / "pool")
    answers = [(4, str(truths[4]).encode()), (0, b"-1"), (2, str(truths[2]).encode())]
    assert agent.judge(tmp_path / "pool", answers) == ["", f"not {truths[0]}", ""]
    assert agent.judge(tmp_path / "pool", []) == []


def test_a_prefix_that_leads_elsewhere_now_is_read_anew(agent: Agent, tmp_path: Path) -> None:
    for seed in (1, 2):
        agent.payload_files(seed, "default", 5, tmp_path / "pool")
        _, truths = pool(tmp_path / "pool")
        assert agent.judge(tmp_path / "pool", [(0, str(truths[0]).encode())]) == [""]


def test_golden(agent: Agent) -> None:
    golden = agent.golden()
    assert len(golden) == 8
    assert golden[2] == (b"2", 6)
    assert golden[7] == (b"7", 21)
    assert agent.same([(2, b"6"), (2, b"7")]) == ["", "7 instead of 6"]
    assert agent.prove() == [""] * 8
    assert agent.content_type() == "text/plain"


def test_faults_of_the_workload_s_code_are_one_sentence_and_not_the_end(agent: Agent, tmp_path: Path) -> None:
    agent.payload_files(1, "default", 5, tmp_path / "pool")
    with pytest.raises(TailraceError, match=r"^workload 'triple': json.*stream.py, line \d+") as caught:
        agent.judge(tmp_path / "pool", [(0, b"not JSON")])
    assert "\n" not in str(caught.value)
    assert agent.same([(2, b"6")]) == [""]


@pytest.mark.parametrize(("fault", "sentence"), [
    ("yield b'1', 3", "ended after 1 of 5"),
    ("import os; yield b'1', 3; os._exit(7)", "ended the process with 7"),
    ("import sys; yield b'1', 3; sys.exit('enough')", "enough"),
    ("import time; time.sleep(60); yield b'1', 3", "no answer to 'payloads' in 1 s"),
    ("while True: yield 'text', 3", "TypeError"),
])
def test_a_stream_that_fails(triple: Make, tmp_path: Path, fault: str, sentence: str) -> None:
    stream = (triple().folder / "stream.py").read_text()
    broken = stream + f"\ndef payloads(seed, profile):\n    {fault}\n"
    workload = triple(stream_py=broken)
    with started(workload, timeout_s=1) as agent, pytest.raises(TailraceError, match=sentence):
        agent.payload_files(1, "default", 5, tmp_path / "pool")
    assert not list((tmp_path / "cache" / "payloads").glob("[!.]*"))


def test_the_harness_s_modules_do_not_leak_into_the_workload(triple: Make) -> None:
    stream = (triple().folder / "stream.py").read_text()
    workload = triple(stream_py=f"{stream}\ntry:\n    import warden\nexcept ImportError:\n    pass\nelse:\n    1 / 0\n")
    assert (Path(__file__).parents[3] / "harness" / "run" / "warden.py").is_file()
    with started(workload) as agent:
        assert agent.same([(2, b"6")]) == [""]


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_the_agent_dies_with_a_killed_harness_even_while_busy(triple: Make) -> None:
    stream = (triple().folder / "stream.py").read_text()
    busy = ("\nimport os\ndef payloads(seed, profile):\n    open('pid', 'w').write(str(os.getpid()))\n"
            "    while True: pass\n    yield\n")
    workload = triple(stream_py=stream + busy)
    prepare(workload, silent)
    code = ("import pathlib, sys; from harness.catalog.workload import read_workload\n"
            "from harness.run.agent import Agent; from harness.run.environments import environment\n"
            "from harness.run.prepare import prepare\nw = read_workload(pathlib.Path(sys.argv[1]))\n"
            "with Agent(w, prepare(w, print), environment([w.lock])) as agent:\n"
            "    agent.payload_files(1, 'default', 5, pathlib.Path('pool'))\n")
    with subprocess.Popen([sys.executable, "-c", code, workload.folder], cwd=workload.folder.parent) as child:
        pid_file = workload.folder.parent / "pid"
        deadline = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = int(pid_file.read_text())
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
        os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(pid)
