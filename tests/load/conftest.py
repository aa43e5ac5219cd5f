"""A real misbehaving server, and the engine driven in this process."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.load.closed import ClosedEngine
from harness.load.connection import now
from harness.load.engine import Aim, Engine
from harness.load.payloads import Payloads, write_pool
from harness.load.rows import ERRORS, Columns, clock_offset
from harness.load.spec import LoadSpec

SERVER = Path(__file__).with_name("faulty_server.py")
STAGE: dict[str, object] = {"arrivals": "constant", "rate": 100.0, "duration_s": 0.5}


@dataclass
class FaultyServer:
    port: int
    before: int = 0

    def received(self) -> int:
        """Requests that reached the server in this test."""
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\ntally")
            return int(sock.makefile().readline()) - self.before


@pytest.fixture(scope="session")
def server_port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


@pytest.fixture
def server(server_port: int) -> FaultyServer:
    fresh = FaultyServer(server_port)
    return FaultyServer(server_port, fresh.received())


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port on which nobody listens, held so that nobody else takes it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., LoadSpec]:
    def make(port: int, bodies: list[bytes], **changes: object) -> LoadSpec:
        write_pool(tmp_path / "pool", bodies)
        fields: dict[str, object] = {
            "host": "127.0.0.1", "port": port, "path": "/predict", "content_type": "text/plain",
            "headers": {"x-request-timeout-ms": "1000"}, "stages": [STAGE], "warmup_s": 0.0, "seed": 1,
            "payloads": str(tmp_path / "pool"), "timeout_s": 1.0, "answers_every": 1, "worker": 0, "workers": 1,
            "cpu": None, "realtime": False, "out": str(tmp_path / "out"), **changes}
        return LoadSpec(**fields)  # type: ignore[arg-type]
    return make


@dataclass
class Driven:
    columns: Columns
    engine: Engine

    def errors(self) -> list[str]:
        return [ERRORS[code] for code in self.columns["error"]]


def drive(spec: LoadSpec, due_ns: list[int], most_connections: int = 4000) -> Driven:
    """What the open-loop engine makes of a schedule."""
    aim = Aim(socket.AF_INET, (spec.host, spec.port), 0, 1, round(spec.timeout_s * 1e9), spec.answers_every,
              most_connections)
    engine = Engine(aim, Payloads(spec), np.array(due_ns, np.int64))
    return finish(engine)


def drive_closed(spec: LoadSpec, users: list[tuple[int, float]], warmup_s: float = 0.0) -> Driven:
    aim = Aim(socket.AF_INET, (spec.host, spec.port), 0, 1, round(spec.timeout_s * 1e9), spec.answers_every)
    return finish(ClosedEngine(aim, Payloads(spec), users, warmup_s))


def finish(engine: Engine) -> Driven:
    before, t0_ns = clock_offset(), now() + 50_000_000
    engine.begin_at(t0_ns)
    engine.run()
    stage = np.zeros(len(engine.due_ns), np.int8)
    return Driven(engine.columns(stage, t0_ns, (before, clock_offset())), engine)
