"""Starts the engine, waits until it answers a golden request, then opens the gateway in front of it; at SIGTERM the
gateway answers what it has taken before the engine ends."""

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import model
import uvicorn
import uvloop
from app import App
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent
from settings import Settings, engine, settings
from upstream import Upstream

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
DRAIN_S, LOOK_S, LAST_S = 10, 0.1, 2.0


def main() -> int:
    """0 after SIGTERM, 1 when the engine ended by itself."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    behind = engine()
    setting = settings(behind)
    process = started(behind)
    try:
        while not told.is_set() and process.poll() is None and not answers(behind, setting):
            told.wait(LOOK_S)
        if not told.is_set() and process.poll() is None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(setting, behind["port"], process))
        died = process.poll() is not None
        if died:
            sys.stderr.write(f"the engine ended with {process.returncode}\n")
        return int(died)
    finally:
        end(process, float(behind["stop_timeout_s"]))


def started(behind: dict[str, Any]) -> subprocess.Popen[bytes]:
    """The engine, in a session of its own: a SIGTERM to the group is for the gateway, which drains first."""
    return subprocess.Popen(behind["command"], cwd=behind["cwd"], env=behind["env"], start_new_session=True,
                            preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509  no threads here


def answers(behind: dict[str, Any], setting: Settings) -> bool:
    """Whether the engine says ready and answers a golden request."""
    body = setting.back.asked(golden_bodies(Path(os.environ["WORKLOAD"]))[0])
    headers = {"Content-Type": setting.back.types[0] or model.CONTENT_TYPE,
               **{name.decode(): value.decode() for name, value in setting.back.headers}}
    try:
        for method, path, sent in (("GET", setting.ready, None), ("POST", setting.predict, body)):
            connection = http.client.HTTPConnection(HOST, behind["port"], timeout=10)
            connection.request(method, path, sent, headers if sent else {})
            status = connection.getresponse().status
            connection.close()
            if status != 200:
                return False
    except (OSError, http.client.HTTPException):
        return False
    return True


async def serve(setting: Settings, port: int, process: subprocess.Popen[bytes]) -> None:
    """The gateway, until SIGTERM or until the engine has ended."""
    config = uvicorn.Config(App(setting, Upstream(HOST, port)), host=HOST, port=PORT, http="httptools",
                            lifespan="off", access_log=False, log_level="warning", server_header=False,
                            date_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=DRAIN_S)
    server = uvicorn.Server(config)

    async def watch() -> None:
        while process.poll() is None:
            await asyncio.sleep(LOOK_S)
        server.should_exit = True

    watching = asyncio.ensure_future(watch())
    await server.serve()
    watching.cancel()


def end(process: subprocess.Popen[bytes], within_s: float) -> None:
    """SIGTERM for the engine, SIGKILL for what is left of its group."""
    until_s = time.monotonic() + within_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(until_s - time.monotonic())
    while time.monotonic() < until_s and has_members(process.pid):
        time.sleep(LOOK_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LAST_S)


def has_members(group: int) -> bool:
    """Whether a process of that group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
