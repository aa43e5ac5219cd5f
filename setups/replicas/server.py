"""Starts the replicas, then a balancer in front of them; replaces what dies; drains at SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import envoy_front
import nginx_front
from replica.lifeline import die_with_parent
from replica.loopback import is_ready

HOST = os.environ["HOST"]
FASTAPI = Path(__file__).resolve().parents[1] / "fastapi"
BALANCERS = {"envoy": envoy_front, "nginx": nginx_front}
STOP_S, LOOK_S = 8.0, 0.2


def main() -> int:
    """0 after SIGTERM, 1 when the balancer ended by itself."""
    balancer = BALANCERS.get(os.environ["KNOB_BALANCER"])
    if balancer is None:
        sys.exit(f"the knob balancer is '{os.environ['KNOB_BALANCER']}'; it can be {' or '.join(BALANCERS)}")
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with tempfile.TemporaryDirectory(prefix="lb-", ignore_cleanup_errors=True) as folder:
        held = [held_port() for _ in range(int(os.environ["KNOB_WORKERS"]))]
        ports = [each.getsockname()[1] for each in held]
        replicas = [replica(port) for port in ports]
        while not told.wait(LOOK_S) and not all(is_ready(port, "/healthz") for port in ports):
            replace_dead(replicas, ports)
        front = None if told.is_set() else balancer.start(Path(folder), ports)
        while front and front.poll() is None and not told.wait(LOOK_S):
            replace_dead(replicas, ports)
        if front:
            balancer.end(front, Path(folder), STOP_S)
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
    # In a session of its own: a SIGTERM to the group is for the supervisor, which drains first.
    return subprocess.Popen(
        [Path(sys.executable).with_name("uvicorn"), "server:app", "--app-dir", str(FASTAPI), "--host", HOST,
         "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
         "--timeout-keep-alive", "300", "--timeout-graceful-shutdown", str(int(STOP_S))],
        start_new_session=True, preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509  no threads here


def replace_dead(replicas: list[subprocess.Popen[bytes]], ports: list[int]) -> None:
    """Starts anew what has ended."""
    for number, each in enumerate(replicas):
        if each.poll() is not None:
            replicas[number] = replica(ports[number])


if __name__ == "__main__":
    sys.exit(main())
