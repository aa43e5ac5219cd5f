"""The generator as the harness meets it: a process that is told go and stop."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest

from harness.analyse.frames import flown_ns
from harness.errors import Exit
from harness.load.live import COMPLETE, FAILED
from harness.load.merge import merge_parts, read_answers
from harness.load.spec import LoadSpec, UserSpec, read_spec, write_spec
from harness.record.schema import ABSENT
from harness.run.sockets import free_port
from tests.load.conftest import FaultyServer

pytestmark = pytest.mark.live
Make = Callable[..., LoadSpec]
STAGES = [{"arrivals": "poisson", "rate": 200.0, "duration_s": 0.6},
          {"arrivals": "burst", "rate": 100.0, "duration_s": 0.6, "burst": 10}]
HTTP_FILE = """
from locust import {user}, constant, events, task

@events.test_start.add_listener
def told(environment, **_):
    print("test starts at", environment.host, flush=True)

class Visitor({user}):
    wait_time = constant(0.02)

    @task
    def ask(self):
        self.client.post("/predict", data="ok")
        self.client.post("/predict", data="busy")
"""


class Process:
    def __init__(self, module: str, spec: LoadSpec | UserSpec) -> None:
        path = Path(f"{spec.out}.spec.json")
        write_spec(spec, path)
        self.process = subprocess.Popen([sys.executable, "-m", module, str(path)], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.process.stderr and self.process.stderr.read()
        read: dict[str, Any] = json.loads(text)
        return read

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ending(self) -> dict[str, Any]:
        line = self.line()
        while "end" not in line:
            line = self.line()
        return line


@contextmanager
def started(spec: LoadSpec | UserSpec, module: str = "harness.load.generator") -> Iterator[Process]:
    process = Process(module, spec)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()
        for pipe in (process.process.stdin, process.process.stdout, process.process.stderr):
            assert pipe is not None
            pipe.close()


def soon(seconds: float = 0.3) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def test_two_processes_send_one_schedule(server: FaultyServer, spec: Make) -> None:
    whole = spec(server.port, [b"ok"], stages=STAGES, warmup_s=0.2, answers_every=10, workers=2)
    parts = [replace(whole, worker=worker, out=f"{whole.out}{worker}") for worker in range(2)]
    with started(parts[0]) as one, started(parts[1]) as two:
        ready = [process.line() for process in (one, two)]
        t0_ns = soon(0.5)
        for process in (one, two):
            process.say(f"go {t0_ns}")
        ends = [process.ending() for process in (one, two)]
        assert [process.process.wait(10) for process in (one, two)] == [0, 0]
    prefixes = [part.out for part in parts]
    columns = merge_parts(prefixes, expected=sum(line["n"] for line in ready))
    assert [end["n"] for end in ends] == [line["n"] for line in ready]
    assert (columns["error"] == "").all()
    assert (columns["queue_us"] == 1500).all()
    assert set(columns["stage"].tolist()) == {-1, 0, 1}
    assert (columns["sent_ns"] >= columns["due_ns"]).all()
    assert np.quantile((columns["done_ns"] - columns["due_ns"]) / 1e6, 0.5) < 100
    assert [seq for seq, _ in read_answers(prefixes)] == list(range(0, len(columns["seq"]), 10))
    assert all(end["gc_pauses"] == 0 and end["cpu_s"] > 0 and end["wall_s"] >= 1.2 for end in ends)
    assert all(isinstance(end["hiccup_pauses_ns"], list) for end in ends)
    assert sum(end["in_flight_ns"] for end in ends) == flown_ns(columns), "counted as the rows add up to"
    assert server.received() == len(columns["seq"])


def test_what_ends_over_grpc_is_told_meanwhile(spec: Make) -> None:
    """The server knows no method, so every request fails."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    short = spec(port, [b"ok"], stages=[{"arrivals": "constant", "rate": 20.0, "duration_s": 1.6}], live=True,
                 transport="grpc")
    with started(short, "harness.load.grpc_generator") as process:
        n = process.line()["n"]
        process.say(f"go {soon()}")
        process.ending()
        assert process.process.wait(10) == 0
    server.stop(0)
    pairs = np.fromfile(f"{short.out}.live", np.int64).reshape(-1, 2)
    marks, ended = pairs[pairs[:, 0] == COMPLETE, 1], pairs[pairs[:, 0] != COMPLETE]
    assert len(marks) > 0
    assert np.all(np.diff(marks) > 0)
    assert 0 < len(set(ended[:, 0].tolist())) == len(ended) <= n
    assert set(ended[:, 1].tolist()) == {FAILED}


@pytest.mark.parametrize("way", ["line", "end of input", "SIGTERM", "SIGINT"])
def test_stopping_leaves_every_row(server: FaultyServer, spec: Make, way: str) -> None:
    long = spec(server.port, [b"ok", b"hang"], stages=[{"arrivals": "constant", "rate": 50.0, "duration_s": 60.0}],
                timeout_s=30.0)
    with started(long) as process:
        n = process.line()["n"]
        process.say(f"go {soon()}")
        assert process.line()["t"] < 2
        if way == "line":
            process.say("stop")
        elif way == "end of input":
            assert process.process.stdin is not None
            process.process.stdin.close()
        else:
            process.process.send_signal(signal.Signals[way])
        end = process.ending()
        assert process.process.wait(10) == 0
    columns = merge_parts([long.out], expected=n)
    assert end["in_flight_ns"] == flown_ns(columns)
    aborted = columns["error"] == "aborted"
    assert aborted.any()
    assert (columns["error"][~aborted] == "").all()
    assert (~aborted).any()
    flying = aborted & (columns["sent_ns"] != ABSENT)
    assert flying.any()
    assert (columns["done_ns"][flying] >= columns["sent_ns"][flying]).all()
    assert (columns["done_ns"][aborted & ~flying] == ABSENT).all()


def test_stopped_before_it_went(server: FaultyServer, spec: Make) -> None:
    never = spec(server.port, [b"ok"])
    with started(never) as process:
        n = process.line()["n"]
        process.say("stop")
        process.ending()
    assert (merge_parts([never.out], expected=n)["error"] == "aborted").all()
    assert server.received() == 0


def test_a_closed_loop_is_sent_by_the_first_process(server: FaultyServer, spec: Make) -> None:
    whole = spec(server.port, [b"ok"], stages=[{"arrivals": "closed", "users": 4, "duration_s": 0.5}], workers=2)
    parts = [replace(whole, worker=worker, out=f"{whole.out}{worker}") for worker in range(2)]
    with started(parts[0]) as one, started(parts[1]) as two:
        for process in (one, two):
            process.line()
            process.say(f"go {soon()}")
        ends = [process.ending()["n"] for process in (one, two)]
    columns = merge_parts([part.out for part in parts])
    assert ends == [len(columns["seq"]), 0]
    assert len(columns["seq"]) > 20
    assert (columns["due_ns"] == columns["sent_ns"]).all()


def test_locusts_own_page_shows_the_load(server: FaultyServer, spec: Make) -> None:
    shown = spec(server.port, [b"ok", b"busy"], stages=[{"arrivals": "constant", "rate": 50.0, "duration_s": 3.0}],
                 web_port=free_port())
    with started(shown) as process:
        process.line()
        process.say(f"go {soon()}")
        while process.line()["done"] < 60:
            pass
        with urlopen(f"http://127.0.0.1:{shown.web_port}/stats/requests", timeout=5) as page:
            figures = json.load(page)
        process.say("stop")
        process.ending()
    entry = next(row for row in figures["stats"] if row["name"] == "/predict")
    assert entry["num_requests"] >= 30
    assert entry["num_failures"] == pytest.approx(entry["num_requests"] / 2, abs=1)


@pytest.mark.parametrize(("damage", "complaint"), [
    (lambda path: path.write_text("{}"), "host"),
    (lambda path: path.unlink(), "cannot be read"),
    (lambda path: path.write_text(path.read_text().replace("pool", "pond")), "payloads cannot be read"),
])
def test_a_bad_spec_is_one_sentence(spec: Make, tmp_path: Path, damage: Callable[[Path], None],
                                    complaint: str) -> None:
    path = tmp_path / "spec.json"
    write_spec(spec(1, [b"ok"]), path)
    damage(path)
    ended = subprocess.run([sys.executable, "-m", "harness.load.generator", str(path)], capture_output=True, text=True,
                           check=False)
    assert ended.returncode == Exit.BAD_CONFIGURATION
    assert complaint in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_specs_survive_the_disk(spec: Make, tmp_path: Path) -> None:
    given = spec(80, [b"x"])
    write_spec(given, tmp_path / "s.json")
    assert read_spec(LoadSpec, tmp_path / "s.json") == given


@pytest.mark.parametrize("user", ["HttpUser", "FastHttpUser"])
def test_a_users_own_locustfile_leaves_rows(server: FaultyServer, tmp_path: Path, user: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HTTP_FILE.format(user=user))
    given = UserSpec(str(file), f"http://127.0.0.1:{server.port}", 3, 50.0, 1.0, str(tmp_path / "out"))
    with started(given, "harness.load.user_locustfile") as process:
        process.line()
        process.say(f"go {soon()}")
        end = process.ending()
        assert process.process.wait(20) == 0
    columns = merge_parts([given.out])
    assert end["n"] == len(columns["seq"]) == server.received() > 20
    assert end["closed"]
    assert set(columns["status"].tolist()) == {200, 503}
    assert (columns["error"] == "").all()
    told = columns["status"] == 200
    assert (columns["batch"][told] == 7).all()
    assert (columns["queue_us"][told] == 1500).all()
    assert (columns["due_ns"] == columns["sent_ns"]).all()
    assert (np.diff(columns["due_ns"]) >= 0).all()


def test_a_users_locustfile_that_cannot_be_used(tmp_path: Path) -> None:
    for name, text, complaint in (("gone.py", None, "no such locustfile"), ("empty.py", "", "no User class"),
                                  ("broken.py", "import nothing_like_it", "cannot be imported")):
        if text is not None:
            (tmp_path / name).write_text(text)
        path = tmp_path / "spec.json"
        write_spec(UserSpec(str(tmp_path / name), "http://127.0.0.1:1", 1, 1.0, 1.0, str(tmp_path / "out")), path)
        ended = subprocess.run([sys.executable, "-m", "harness.load.user_locustfile", str(path)], capture_output=True,
                               text=True, check=False)
        assert ended.returncode == Exit.BAD_CONFIGURATION
        assert complaint in ended.stderr
