"""One HTTP request at a time, for readiness, golden answers and conformance; never for load."""

import http.client
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

HOST = "127.0.0.1"
FAILURES = (OSError, http.client.HTTPException)


class Reply(NamedTuple):
    """`headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, path: str, body: bytes | None = None, *, content_type: str = "", timeout_s: float = 10.0,
             headers: Mapping[str, str] | None = None) -> Reply:
    """GET without a body, else POST, on a connection of its own. Raises one of FAILURES."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    sent = {"Connection": "close", **({"Content-Type": content_type} if content_type else {}), **(headers or {})}
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # a server may answer before it read a large body
            connection.request("GET" if body is None else "POST", path, body=body, headers=sent)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
