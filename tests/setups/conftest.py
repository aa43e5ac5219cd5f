"""A setup started as a run starts it, with a workload that can misbehave."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from harness.catalog.setup import Setup, read_setup
from harness.run.environments import environment
from harness.run.machine import lacking
from harness.run.sockets import free_port

ROOT = Path(__file__).resolve().parents[2]
MOODY = Path(__file__).resolve().parent / "moody"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Deployment:
    """A running server, and requests to it."""

    setup: Setup
    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    folder: Path
    pool: ThreadPoolExecutor

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        """One request on a connection of its own. Raises OSError or HTTPException when it is lost."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def predict(self, item: dict[str, Any], **headers: str) -> Reply:
        """POST one item; underscores of header names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        codec, type_ = self.setup.codec, "application/json"
        body = codec.wrap(json.dumps(item).encode(), type_)
        named = {"Content-Type": codec.content_type(type_), **codec.headers, **named}
        reply = self.ask("POST", self.setup.predict, body, named)
        return reply if reply.status != 200 else replace(reply, body=codec.unwrap(reply.body, reply.headers))

    def timed(self, item: dict[str, Any]) -> tuple[Reply, float]:
        """The same, and how many milliseconds it took here: whatever the host did, no part of it took longer."""
        begun_s = time.monotonic()
        return self.predict(item), (time.monotonic() - begun_s) * 1e3

    def later(self, item: dict[str, Any], **headers: str) -> "Future[Reply]":
        """The same in a thread."""
        return self.pool.submit(self.predict, item, **headers)

    def metric(self, name: str) -> float:
        """One figure of /metrics."""
        text = self.ask("GET", "/metrics").body.decode()
        return float(next(line.split(" ")[1] for line in text.splitlines() if line.split(" ")[0] == name))

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Living processes of this run, whoever their parent is: they work in its folder or were told of it."""
        found = []
        for process in psutil.process_iter():
            try:
                # Redis writes its title over its environment.
                told = process.environ().get("TMPDIR") == str(self.folder)
                mine = told or Path(process.cwd()).is_relative_to(self.folder)
                if mine and process.status() != psutil.STATUS_ZOMBIE and module in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def ready(self) -> bool:
        """Whether the server says so."""
        try:
            return self.ask("GET", self.setup.ready).status == 200
        except (OSError, http.client.HTTPException):
            return False


Deploy = Callable[..., Deployment]


def eventually(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    until_s = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def deploying() -> Iterator[Deploy]:
    """Starts a setup by name, with knobs; everything it left is killed in the end."""
    with ExitStack() as stack:
        # A short path, as a run gives: names of Unix sockets below it end at 107 bytes.
        parent = Path(stack.enter_context(TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True)))

        def start(name: str, device: str = "cpu", workload: Path = MOODY, cores: int = 2,
                  **knobs: str | int) -> Deployment:
            setup = read_setup(ROOT / "setups" / name)
            setup = setup.with_knobs({**setup.knobs, "workers": 2, **knobs})
            if lacks := lacking(setup.needed.model_dump(), setup.folder):
                pytest.skip(lacks)
            folder = parent / f"run{len(list(parent.glob('run*')))}"
            deployment = _started(setup, device, workload, cores, folder)
            stack.callback(_end, deployment)
            assert eventually(lambda: deployment.ready() or deployment.process.poll() is not None, 60)
            assert deployment.process.poll() is None, (deployment.folder / "server.log").read_text("utf-8")
            return deployment
        yield start


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    """`deploying`, for a test of its own."""
    with deploying() as start:
        yield start


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """The setup of the parameter's name, with the file's WORKERS: one server for all its tests that leave it whole."""
    with deploying() as deploy:
        server = deploy(request.param, workers=request.module.WORKERS)
        yield server
        server.process.terminate()
        server.process.wait(30)


@pytest.fixture
def start(deploy: Deploy) -> Iterator[Deploy]:
    """`deploy`, whose servers are asked to end before they are made to: they then remove their folders."""
    started: list[Deployment] = []

    def begin(name: str, device: str = "cpu", **knobs: str | int) -> Deployment:
        started.append(deploy(name, device, **knobs))
        return started[-1]

    yield begin
    for server in started:
        server.process.terminate()
        server.process.wait(30)


def _started(setup: Setup, device: str, workload: Path, cores: int, folder: Path) -> Deployment:
    folder.mkdir()
    port, metrics_port = free_port(), free_port()
    # The moody workload needs nothing but Python; the environment is the one that other tests need as well.
    python = environment([ROOT / "workloads" / "requirements.txt", setup.lock], displaced=setup.displaces).python
    values = setup.knobs
    paths = [setup.folder, setup.folder.parent, workload]
    told = {
        "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ":".join(map(str, paths)), "HOST": "127.0.0.1",
        "PORT": str(port), "METRICS_PORT": str(metrics_port),
        "WORKLOAD": str(workload), "MODEL_DIR": str(workload), "THREADS": "1", "DEVICE": device,
        "SERVER_CORES": str(cores), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1",
        **{f"KNOB_{knob.upper()}": str(value) for knob, value in values.items()}}
    words = {"host": "127.0.0.1", "port": port, "python": python, **values}
    command = [word.format(**words) for word in setup.command]
    command[0] = shutil.which(command[0], path=told["PATH"]) or command[0]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=told, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:cores])
    return Deployment(setup, process, port, metrics_port, folder, ThreadPoolExecutor(64))


def _end(deployment: Deployment) -> None:
    for process in deployment.processes():
        process.send_signal(signal.SIGKILL)
    deployment.process.wait(10)
    deployment.pool.shutdown(wait=True, cancel_futures=True)
