"""One application server process: HTTP on one side, the transport on the other.

`python -m batching.front INDEX PARENT_PID`, started by the supervisor in the run's folder. The first line on standard
input says how many fronts there are, later ones which worker died (`gone NAME ID,ID,...`, the ids it was running).
SIGTERM drains.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import transport
import uvicorn
import uvloop
from replica.lifeline import die_with_parent

from batching.app import App
from batching.board import front_board
from batching.settings import Settings, from_environment

LINGER_S = 0.3
TICK_S = 0.02
DRAIN_S = 8
CONNECTIONS = 16_384


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: it would end this process with the signal, not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the front."""
        yield


async def run(settings: Settings, index: int, fronts: int) -> None:
    """Serve until SIGTERM, then answer what is in flight."""
    app = App(settings, index, fronts, front_board(Path(), index))
    app.link = transport.FrontLink(index, fronts, settings.workers, app.backlog, app.deliver)
    await app.link.open()
    server = Server(uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", interface="asgi3", access_log=False, log_level="warning",
        server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S, backlog=2048))
    loop = asyncio.get_running_loop()
    listening = listener(settings, fronts)
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    # Ctrl-C reaches the whole group; the supervisor turns it into a SIGTERM for its fronts.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_reader(sys.stdin.fileno(), lambda: hear(app))
    draining = asyncio.create_task(drain(stopping, app, server))
    serving = asyncio.create_task(server.serve([listening]))
    beside = [asyncio.create_task(work) for work in (app.sweep(), app.link.work())]
    await asyncio.wait([serving, *beside], return_when=asyncio.FIRST_COMPLETED)
    for task in beside:
        if task.done():     # half a front would only hold what it is given: the supervisor starts a whole one
            task.result()
        task.cancel()
    draining.cancel()
    serving.result()
    await app.link.close()


def listener(settings: Settings, fronts: int) -> socket.socket:
    """The socket to accept from; several fronts share the port, the kernel spreads connections over them."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if fronts > 1:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((settings.host, settings.port))
    return listening


async def drain(stopping: asyncio.Event, app: App, server: Server) -> None:
    """After SIGTERM: take no new connection, answer busy ones with `connection: close`, then let uvicorn finish.

    While connections are open, a pause lets clients that are about to reuse one learn of its end from an answer, not
    from a reset.
    """
    await stopping.wait()
    app.draining = True
    for accepting in server.servers:
        accepting.close()
    until_s = time.monotonic() + LINGER_S
    while server.server_state.connections and time.monotonic() < until_s:
        await asyncio.sleep(TICK_S)
    server.should_exit = True


def make_room() -> None:
    """Have room for CONNECTIONS, or as many as allowed, before the first one comes.

    Linux doubles a process's table of open files as they come and, where threads share it (one of ZeroMQ does), waits
    for all CPUs to leave the old one (synchronize_rcu in expand_fdtable, fs/file.c): 7 to 16 ms each time.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft, CONNECTIONS)
    with contextlib.suppress(OSError):
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, most - 1))


def hear(app: App) -> None:
    """Pass on what the supervisor says; its lines are short enough to be written whole (PIPE_BUF)."""
    lines = os.read(sys.stdin.fileno(), 65536).decode()
    if not lines:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    for line in lines.splitlines():
        _, name, ids = line.split(" ")
        app.link.worker_gone(name, frozenset(int(job_id) for job_id in ids.split(",") if job_id))


def main() -> None:
    """Serve as front INDEX, once told of how many."""
    index, parent = (int(word) for word in sys.argv[1:3])
    die_with_parent(parent)
    make_room()
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as told:    # what follows stays for `hear`
        fronts = told.readline()
    if fronts:
        uvloop.run(run(from_environment(), index, int(fronts)))


if __name__ == "__main__":
    main()
