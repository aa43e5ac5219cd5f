"""A relay on loopback to a server elsewhere: it passes requests on over kept connections, with TLS and signatures.

The load generator speaks plain HTTP/1.1 to loopback; this is its slower part, in a process of its own.
"""

import asyncio
import ipaddress
import json
import os
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import uvicorn
from auth import Signing, signing
from gateway.upstream import Answer, LostError, Upstream

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

READY = ("/healthz", "/health", "/ping", "/v1/models/model", "/v2/models/model/ready")
PASSED_ON = (b"content-type", b"inference-header-content-length", b"x-request-timeout-ms", b"traceparent",
             b"tracestate")
PASSED_BACK = (b"content-type", b"server-timing", b"x-batch-size", b"retry-after", b"inference-header-content-length")
QUERY = "TAILRACE_REMOTE_QUERY"
READY_S = 5.0
BODY_LIMIT = 8 * 1024 * 1024


class Relay:
    """The ASGI app in front of `url`."""

    def __init__(self, url: SplitResult, ready: SplitResult | None, sign: Signing, tls: ssl.SSLContext | None,
                 timeout_s: float) -> None:
        self._url, self._ready, self._sign, self._timeout_s = url, ready, sign, timeout_s
        self._upstream = Upstream(url.hostname or "", port_of(url), tls)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """A POST is a prediction; a GET of a protocol's ready route asks whether the server is ready."""
        if scope["method"] == "POST":
            body = await whole_body(receive)
            answer = body if isinstance(body, Answer) else await self._predict(scope, body)
        elif scope["path"] in READY:
            answer = await self._is_ready()
        else:
            answer = refused(404, f"no {scope['method']} {scope['path']} here")
        headers = [(name, answer.headers[name]) for name in PASSED_BACK if name in answer.headers]
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _predict(self, scope: dict[str, Any], body: bytes) -> Answer:
        told = dict(scope["headers"])
        headers = {name.decode(): told[name].decode("latin-1") for name in PASSED_ON if name in told}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._asked("POST", self._url, body, headers)
        except TimeoutError:
            return refused(504, f"no answer within {self._timeout_s:g} s")
        except LostError as error:
            return refused(502, str(error))

    async def _asked(self, method: str, url: SplitResult, body: bytes, headers: dict[str, str]) -> Answer:
        """The server's answer to a signed request. Raises LostError."""
        headers |= self._sign(method, url.geturl(), body, headers)
        return await self._upstream.ask([self._head(method, target_of(url), headers, len(body)), body])

    async def _is_ready(self) -> Answer:
        try:
            async with asyncio.timeout(READY_S):
                if self._ready is None:
                    await self._upstream.open()
                    return refused(200, "")
                return await self._asked("GET", self._ready, b"", {})
        except (LostError, TimeoutError) as error:
            return refused(503, str(error) or "no answer")

    def _head(self, method: str, target: str, headers: dict[str, str], length: int) -> bytes:
        fixed = {"Host": self._url.netloc, **headers, "Content-Length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()


def refused(status: int, words: str) -> Answer:
    """An answer of the relay's own."""
    return Answer(status, json.dumps({"error": words}).encode(), {b"content-type": b"application/json"})


async def whole_body(receive: Receive) -> bytes | Answer:
    """The request's body, or the answer to one that is larger than BODY_LIMIT or breaks off."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return refused(400, "the connection closed within the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            return refused(413, f"the body is larger than {BODY_LIMIT} bytes")
        more = message.get("more_body", False)
    return b"".join(parts)


def refuse_grpc(protocol: str) -> None:
    """Raises SystemExit with a sentence for a protocol that does not travel in HTTP/1.1."""
    if "grpc" in protocol:
        raise SystemExit(f"knob protocol: '{protocol}' is gRPC, which is not relayed; give a protocol over HTTP, "
                         "oip-http-binary for example")


def parsed(url: str, outside: bool) -> SplitResult:
    """The URL's parts, without a port that goes without saying: who signs leaves it out of the header Host. Raises
    SystemExit with a sentence for one that cannot be used, or that leaves this machine without being asked to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SystemExit(f"knob url: {url!r} is no http:// or https:// URL; give --knob remote.url=URL")
    if not outside and not is_loopback(parts.hostname):
        raise SystemExit(f"knob url: {parts.hostname} is not this machine; load leaves it only with "
                         "--knob remote.outside=true")
    usual = f":{port_of(parts._replace(netloc=''))}"
    return parts._replace(netloc=parts.netloc.removesuffix(usual))


def with_query(url: SplitResult, secret: str) -> SplitResult:
    """The URL with a secret part of its query added."""
    return url._replace(query="&".join(each for each in (url.query, secret) if each))


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def port_of(url: SplitResult) -> int:
    """The URL's port, or its scheme's."""
    return url.port or (443 if url.scheme == "https" else 80)


def target_of(url: SplitResult) -> str:
    """What the request line asks for."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def main() -> None:
    """Serves until SIGTERM. Raises SystemExit with a sentence for knobs that cannot be followed."""
    refuse_grpc(os.environ["KNOB_PROTOCOL"])
    outside = os.environ["KNOB_OUTSIDE"] == "true"
    url = parsed(os.environ["KNOB_URL"], outside)
    ready = parsed(os.environ["KNOB_READY_URL"], outside) if os.environ["KNOB_READY_URL"] else None
    if ready is not None and (ready.scheme, ready.netloc) != (url.scheme, url.netloc):
        raise SystemExit("knob ready_url: it is on another server than url")
    secret = os.environ.get(QUERY, "")
    tls = ssl.create_default_context(cafile=os.environ["KNOB_CA_FILE"] or None) if url.scheme == "https" else None
    sign = signing(os.environ["KNOB_AUTH"], os.environ["KNOB_REGION"], os.environ["KNOB_SERVICE"])
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} relaying to {url.scheme}://{url.netloc}"
                     f"{' outside this machine' if not is_loopback(url.hostname or '') else ''}\n")
    relay = Relay(with_query(url, secret), ready and with_query(ready, secret), sign, tls,
                  float(os.environ["KNOB_TIMEOUT_S"]))
    uvicorn.run(relay, host=os.environ["HOST"], port=int(os.environ["PORT"]), loop="uvloop",
                http="httptools", lifespan="off", access_log=False, log_level="warning", server_header=False,
                date_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main()
