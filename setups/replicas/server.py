"""Starts the replicas, then Envoy in front of them; replaces what dies; drains at SIGTERM."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import balancer
from replica.lifeline import die_with_parent

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
FASTAPI = Path(__file__).resolve().parents[1] / "fastapi"
BIN = Path(sys.executable).parent
DRAIN_S, STOP_S, LOOK_S = 1, 8.0, 0.2


def main() -> int:
    """0 after SIGTERM, 1 when Envoy ended by itself."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with tempfile.TemporaryDirectory(prefix="lb-", ignore_cleanup_errors=True) as folder:
        held = [held_port() for _ in range(int(os.environ["KNOB_WORKERS"]))]
        ports = [each.getsockname()[1] for each in held]
        replicas = [replica(port) for port in ports]
        while not told.wait(LOOK_S) and not all(map(is_ready, ports)):
            replace_dead(replicas, ports)
        admin = Path(folder) / "a"
        envoy = None if told.is_set() else front(admin, ports)
        while envoy and envoy.poll() is None and not told.wait(LOOK_S):
            replace_dead(replicas, ports)
        if envoy:
            end_after_answers(envoy, admin)
        for each in replicas:
            each.terminate()
        for each in replicas:
            each.wait()
    return 0 if told.is_set() else 1


def held_port() -> socket.socket:
    """A port that nobody else is given: bound, and not listened on, so that a replica may take it again and again."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    return holder


def replica(port: int) -> subprocess.Popen[bytes]:
    """The FastAPI setup's server as a single process."""
    return child("uvicorn", "server:app", "--app-dir", str(FASTAPI), "--host", HOST, "--port", str(port),
                 "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
                 "--timeout-keep-alive", "300", "--timeout-graceful-shutdown", str(int(STOP_S)))


def front(admin: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    """Envoy, listening."""
    setting = balancer.config(HOST, PORT, ports, admin, int(os.environ["KNOB_QUEUE"]),
                              float(os.environ["KNOB_TIMEOUT_S"]))
    return child("envoy", "--config-yaml", json.dumps(setting), "--concurrency", os.environ["KNOB_BALANCER_THREADS"],
                 "--log-level", "error", "--disable-hot-restart", "--drain-time-s", str(DRAIN_S),
                 "--drain-strategy", "immediate")


def child(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """In a session of its own: a SIGTERM to the group is for the supervisor, which drains first."""
    return subprocess.Popen([BIN / program, *arguments], start_new_session=True,
                            preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509  no threads here


def replace_dead(replicas: list[subprocess.Popen[bytes]], ports: list[int]) -> None:
    """Starts anew what has ended."""
    for number, each in enumerate(replicas):
        if each.poll() is not None:
            replicas[number] = replica(ports[number])


def is_ready(port: int) -> bool:
    """Whether the replica has answered a golden request."""
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def end_after_answers(envoy: subprocess.Popen[bytes], admin: Path) -> None:
    """Lets Envoy answer what it has taken, then ends it."""
    deadline = time.monotonic() + STOP_S
    with contextlib.suppress(OSError, http.client.HTTPException):  # it may have ended already
        balancer.drain(admin)
        time.sleep(DRAIN_S)
        while balancer.requests_in_flight(admin) and time.monotonic() < deadline:
            time.sleep(0.05)
    envoy.terminate()
    envoy.wait()


if __name__ == "__main__":
    sys.exit(main())
