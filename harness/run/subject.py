"""A running server under examination: how it is asked, alone and by many at once, and how its answers are judged."""

import http.client
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.catalog.setup import Setup
from harness.errors import RunFailedError
from harness.run.agent import Agent
from harness.run.exchange import HOST, Reply
from harness.run.process import Server
from harness.run.unary import call, channel
from harness.run.wire import Wire

ANSWER_S = 30.0
DISTINCT = 128
DISTINCT_SEED = 1


@dataclass(frozen=True)
class Subject:
    """A running server and what its answers are judged by. `golden` are (body, answer) of the workload; `answers` are
    those to the distinct items, once asked. The agent hears one caller at a time: clients use what is here."""

    setup: Setup
    server: Server
    port: int
    agent: Agent
    scratch: Path
    content_type: str
    golden: list[tuple[bytes, Any]]
    answers: list[bytes] = field(default_factory=list)

    @property
    def wire(self) -> Wire:
        """How the server is spoken to."""
        return Wire(self.setup, self.port, self.content_type)

    def predict(self, body: bytes) -> Reply:
        """One request on its own connection. Raises one of FAILURES."""
        return self.wire.predict(body, ANSWER_S)

    def ready(self) -> Reply:
        """What `ready` says now. Raises one of FAILURES."""
        return self.wire.ready(ANSWER_S)

    def at_once(self, bodies: Sequence[bytes]) -> list[Reply]:
        """The replies in order, all requests being written before the first reply is read: connections are opened
        first, so that a batching server finds them waiting together. Over gRPC they are calls on one channel. Raises
        one of FAILURES."""
        codec, wire = self.setup.codec, self.wire
        if codec.transport == "grpc":
            with channel(self.port) as opened, ThreadPoolExecutor(len(bodies)) as pool:
                return [wire.unwrapped(reply) for reply in pool.map(
                    lambda body: call(opened, self.setup.predict, codec.wrap(body, self.content_type), ANSWER_S),
                    bodies)]
        wrapped = [codec.wrap(body, self.content_type) for body in bodies]
        return [wire.unwrapped(reply) for reply in self._burst(wrapped)]

    def _burst(self, bodies: Sequence[bytes]) -> list[Reply]:
        told = "".join(f"{name}: {value}\r\n" for name, value in self.wire.headers.items())
        head = f"POST {self.setup.predict} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n{told}"
        with ExitStack() as stack:
            open_ = [stack.enter_context(socket.create_connection((HOST, self.port), ANSWER_S)) for _ in bodies]
            for connection, body in zip(open_, bodies, strict=True):
                with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read
                    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return [_reply(connection) for connection in open_]

    def distinct(self) -> list[bytes]:
        """DISTINCT bodies of the workload's stream, the same for every setup."""
        prefix = self.distinct_prefix
        self.agent.payload_files(DISTINCT_SEED, "default", DISTINCT, prefix)
        offsets = np.load(f"{prefix}.offsets.npy", allow_pickle=False).tolist()
        data = Path(f"{prefix}.bin").read_bytes()
        return [data[offsets[k]:offsets[k + 1]] for k in range(DISTINCT)]

    @property
    def distinct_prefix(self) -> Path:
        """Where the distinct items lie for the agent to judge."""
        return self.scratch / "distinct"


def answered(replies: Sequence[Reply]) -> list[bytes]:
    """The answers' bodies. Raises RunFailedError for a reply that is not 200."""
    bad = [reply for reply in replies if reply.status != 200]
    if bad:
        raise RunFailedError(f"{len(bad)} of {len(replies)} requests at the same time got {bad[0].status}")
    return [reply.body for reply in replies]


def all_right(said: Sequence[str], what: str) -> None:
    """Raises RunFailedError with the first reason that is not empty."""
    wrong = [why for why in said if why]
    if wrong:
        raise RunFailedError(f"{len(wrong)} of {len(said)} {what} are wrong: {wrong[0]}")


def _reply(connection: socket.socket) -> Reply:
    """What comes on a connection, which is closed then: gunicorn serves nobody else for two seconds until it is."""
    answer = http.client.HTTPResponse(connection, method="POST")
    try:
        answer.begin()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        answer.close()
        connection.close()
