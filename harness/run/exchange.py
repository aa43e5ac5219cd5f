"""One HTTP request at a time, for readiness, golden answers and conformance; never for load."""

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

HOST = "127.0.0.1"
FAILURES = (OSError, http.client.HTTPException)


class NotOfProtocolError(http.client.HTTPException):
    """An answer came that the setup's protocol does not know."""


class Reply(NamedTuple):
    """`headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, path: str, body: bytes | None = None, *, content_type: str = "", timeout_s: float = 10.0,
             headers: Mapping[str, str] | None = None) -> Reply:
    """GET without a body, else POST, on a connection of its own. Raises one of FAILURES."""
    with kept_open(port, timeout_s) as ask:
        return ask(path, body, {"Connection": "close", **({"Content-Type": content_type} if content_type else {}),
                                **(headers or {})})


@contextmanager
def kept_open(port: int, timeout_s: float) -> Iterator[Callable[[str, bytes | None, Mapping[str, str]], Reply]]:
    """A function of path, body and headers that asks, one request after another on one connection; it connects at its
    first call, and again after a failure. It raises one of FAILURES."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)

    def ask(path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        try:
            if connection.sock is None:
                connection.connect()  # outside of what is suppressed: a connection that fails has no answer to read
            with suppress(BrokenPipeError, ConnectionResetError):  # a server may answer before it read a large body
                connection.request("GET" if body is None else "POST", path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except BaseException:
            connection.close()
            raise

    try:
        yield ask
    finally:
        connection.close()
