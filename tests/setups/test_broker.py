"""What redis-batching promises when its Redis dies, fills up, is an older one, or is somebody else's."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from harness.run.sockets import free_port
from tests.setups.conftest import Deploy, Deployment, eventually

pytestmark = [pytest.mark.live,
              pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on the PATH")]


def told(port: int, command: str) -> bytes:
    """What Redis answers to an inline command; empty when nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65536)
    except OSError:
        return b""


@contextmanager
def broker(port: int, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis of somebody else's on that port."""
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            assert eventually(lambda: told(port, "PING") == b"+PONG\r\n")
            yield process
        finally:
            process.kill()


def squares(server: Deployment, count: int) -> list[int]:
    """What the server answers to 0, 1, 2, …, all asked at once."""
    answers = [server.later({"x": i, "ms": 1}) for i in range(count)]
    return [answer.result().json().get("y") for answer in answers]


def test_a_broker_killed_twice_loses_no_request(deploy: Deploy) -> None:
    # Small batches of short items fill all places under way, and some wait in the stream and are lost with it.
    server = deploy("redis-batching", max_batch=1)
    for _ in range(2):
        answers = [server.later({"x": i, "ms": 2}) for i in range(300)]
        time.sleep(0.1)
        server.processes("redis-server")[0].send_signal(signal.SIGKILL)
        assert [answer.result().json()["y"] for answer in answers] == [i * i for i in range(300)]
        assert eventually(server.ready)


def test_health_tells_of_a_broker_that_is_away_or_full(deploy: Deploy, tmp_path: Path) -> None:
    port = free_port()
    with broker(port, tmp_path):
        server = deploy("redis-batching", redis_url=f"redis://127.0.0.1:{port}/0")
        told(port, "CONFIG SET maxmemory 1")
        full = server.predict({"x": 3})
        assert (full.status, full.headers["retry-after"]) == (503, "1")
        assert "the broker takes no work: " in full.json()["error"]
        told(port, "CONFIG SET maxmemory 0")
        assert squares(server, 20) == [i * i for i in range(20)]
    assert eventually(lambda: not server.ready())
    assert "the broker does not answer" in server.ask("GET", "/healthz").json()["error"]
    waiting = server.later({"x": 5})
    with broker(port, tmp_path):
        assert waiting.result().json() == {"y": 25}
        assert server.ready()


def test_a_redis_without_newer_commands_is_used_and_left_clean(deploy: Deploy, tmp_path: Path) -> None:
    port = free_port()
    with broker(port, tmp_path, "--rename-command", "BLMPOP", ""):
        server = deploy("redis-batching", redis_url=f"redis://127.0.0.1:{port}/0")
        assert not [each for each in server.processes() if "redis-server" in each.name()]
        assert squares(server, 50) == [i * i for i in range(50)]
        keys = told(port, "KEYS tailrace:*").split(b"\r\n")[2::2]
        assert keys
        server.process.terminate()
        assert server.process.wait(12) == 0
        assert all(0 <= int(told(port, f"TTL {key.decode()}")[1:]) <= 60 for key in keys
                   if told(port, f"EXISTS {key.decode()}") == b":1\r\n")


def test_an_address_where_no_redis_answers_is_said_at_once(deploy: Deploy) -> None:
    server = deploy("redis-batching")
    told_it = psutil.Process(server.process.pid).environ()
    wrong = {**told_it, "PORT": str(free_port()), "KNOB_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    ended = subprocess.run([str(word) for word in server.process.args], env=wrong, capture_output=True, text=True,  # type: ignore[union-attr]
                           timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot serve: the Redis that the knob redis_url names cannot be used: ")
    assert len(ended.stderr.splitlines()) == 1
