"""Requests to the engine: HTTP/1.1 over connections that are kept, one request at a time on each.

No client library at hand costs less than the prediction of a small model; the parsing is httptools'.
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser


class LostError(ConnectionError):
    """The engine could not be reached, went away, or answered what is no HTTP."""


@dataclass
class Answer:
    """An engine's answer; `headers` have lower-case names."""

    status: int = 0
    body: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """One connection; `answered` waits for the answer to the request that is on it."""

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._parser: Any = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._answer = Answer()
        self._complete = False
        self._until_close = False  # a body whose length nobody told ends with the connection
        self.answered: asyncio.Future[Answer] | None = None
        self.transport: Any = None
        self.open = False

    def send(self, request: list[bytes]) -> "asyncio.Future[Answer]":
        """Sends the request; the answer comes later, or LostError."""
        self._parts, self._answer, self._complete, self._until_close = [], Answer(), False, False
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.writelines(request)
        return self.answered

    def connection_made(self, transport: Any) -> None:
        self.transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"the engine's answer is no HTTP: {error}")
            return
        if self._complete and self.answered is not None:
            if self._parser.should_keep_alive():
                self._upstream.idle.append(self)
            else:
                self.transport.close()
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if error is None and self._until_close and self.answered is not None:
            self._finish()
        self._fail(f"the engine closed the connection{f': {error}' if error else ''}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._until_close = not self._answer.headers.keys() & {b"content-length", b"transfer-encoding"}

    def on_message_complete(self) -> None:
        self._complete = True

    def _finish(self) -> None:
        self._answer.body = b"".join(self._parts)
        answered, self.answered = self.answered, None
        if answered is not None and not answered.done():
            answered.set_result(self._answer)

    def _fail(self, why: str) -> None:
        answered, self.answered = self.answered, None
        self.transport.close()
        if answered is not None and not answered.done():
            answered.set_exception(LostError(why))


class Upstream:
    """The engine on `port`, over TLS where given. A connection that has been used last is used next."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self.idle: list[Connection] = []

    async def ask(self, request: list[bytes]) -> Answer:
        """The answer to a request (its parts, to be written one after another). Raises LostError; when cancelled, the
        connection closes, which tells the engine."""
        connection = await self._connection()
        try:
            return await connection.send(request)
        except asyncio.CancelledError:
            connection.transport.abort()
            raise

    async def get(self, path: str) -> Answer:
        """The answer to a GET. Raises LostError."""
        return await self.ask([f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()])

    async def open(self) -> None:
        """Sees that a connection can be opened, and keeps it. Raises LostError."""
        self.idle.append(await self._connection())

    async def _connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if connection.open:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise LostError(f"the engine cannot be reached: {error}") from None
        return connection
