"""The gateway's routes as a bare ASGI app: validate, admit, ask the engine within the deadline, answer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import model
import tracing
from budget import Budget
from figures import CONTENT_TYPE, Figures
from replica.replica import BODY_LIMIT
from settings import LATEST_MS, Settings
from tongues import Header
from upstream import Answer, LostError, Upstream

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes, list[Header]]

JSON_TYPE = (b"content-type", b"application/json")
LATER = (b"retry-after", b"1")
CLOSE = (b"connection", b"close")
PASSED_BACK = (b"server-timing", b"x-batch-size", b"retry-after", b"traceresponse")
HEALTH_S = 2.0
RETRIES = 2


class RefusedError(Exception):
    """A request that gets `reply` and no answer of the engine's."""

    def __init__(self, status: int, words: str, *headers: Header) -> None:
        super().__init__(words)
        self.reply: Reply = (status, json.dumps({"error": words}).encode(), [JSON_TYPE, *headers])


class App:
    """The gateway in front of one engine."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._settings = settings
        self._upstream = upstream
        self._figures = Figures()
        self._budget = Budget(settings.retry_share)
        self._in_flight = 0
        self._routes = {("POST", settings.front.predict): self._predicted, ("GET", "/metrics"): self._metrics,
                        ("GET", "/healthz"): self._health, ("GET", settings.front.ready): self._health}
        back = settings.back
        fixed = [(b"Host", settings.host.encode()), *back.headers,
                 (b"Content-Type", (back.types[0] or model.CONTENT_TYPE).encode())]
        self._head = b"POST %s HTTP/1.1\r\n" % settings.predict.encode() + b"".join(
            b"%s: %s\r\n" % header for header in fixed)
        self._answer_type = (b"content-type", (settings.front.types[1] or model.ANSWER_TYPE).encode())

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        method, path = scope["method"], scope["path"]
        route = self._routes.get((method, path))
        if route is None:
            known = any(path == other for _, other in self._routes)
            status, body, headers = RefusedError(405 if known else 404, f"no {method} {path} here").reply
        else:
            status, body, headers = await route(dict(scope["headers"]), receive)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _predicted(self, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        """A prediction, counted."""
        began_s = time.perf_counter()
        try:
            reply = await self._predict(headers, receive)
        except RefusedError as refused:
            reply = refused.reply
        self._figures.answered(reply[0], time.perf_counter() - began_s)
        return reply

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        until_s = time.monotonic() + self._allowed_s(headers)
        item = self._item(await whole_body(headers, receive))
        if self._in_flight >= self._settings.queue:
            raise RefusedError(503, f"{self._in_flight} requests are in flight already", LATER)
        self._in_flight += 1
        self._figures.in_flight.set(self._in_flight)
        self._budget.deposit()
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                answer = await self._asked(self._settings.back.asked(item), headers, until_s)
        except TimeoutError:
            raise RefusedError(504, "the deadline passed") from None
        except LostError as error:
            raise RefusedError(502, str(error), LATER) from None
        finally:
            self._in_flight -= 1
            self._figures.in_flight.set(self._in_flight)
        return self._answered(answer)

    def _allowed_s(self, headers: dict[bytes, bytes]) -> float:
        """Seconds the request may take."""
        told = headers.get(b"x-request-timeout-ms")
        try:
            allowed_ms = float(told) if told is not None else self._settings.deadline_ms
        except ValueError:
            allowed_ms = float("nan")
        if not allowed_ms <= LATEST_MS:
            raise RefusedError(400, f"x-request-timeout-ms must be a number of at most {LATEST_MS:.0f}")
        return allowed_ms / 1e3

    def _item(self, body: bytes) -> bytes:
        """The item in a request's body, looked at as far as the settings ask for."""
        if not body:
            raise RefusedError(400, "the body is empty")
        try:
            item = self._settings.front.item(body)
            if self._settings.decode:
                model.decode(item)
        except (ValueError, LookupError) as error:
            raise RefusedError(400, str(error)) from None
        return item

    async def _asked(self, body: bytes, headers: dict[bytes, bytes], until_s: float) -> Answer:
        """The engine's answer; what lost its connection is sent again while the budget lasts. Raises LostError."""
        for left in range(RETRIES, -1, -1):
            try:
                return await self._once(body, headers, until_s)
            except LostError:
                if not left or not self._budget.take():
                    raise
                self._figures.retried.inc()
        raise AssertionError("every turn returns or raises")

    async def _once(self, body: bytes, headers: dict[bytes, bytes], until_s: float) -> Answer:
        """The engine's answer to one copy of the request, or to the faster of two."""
        hedge_s = self._settings.hedge_ms / 1e3
        if not hedge_s:
            return await self._upstream.ask(self._request(body, headers, until_s))
        copies = {asyncio.ensure_future(self._upstream.ask(self._request(body, headers, until_s)))}
        try:
            done, _ = await asyncio.wait(copies, timeout=hedge_s)
            if not done and self._budget.take():
                self._figures.hedged.inc()
                copies.add(asyncio.ensure_future(self._upstream.ask(self._request(body, headers, until_s))))
            done, waiting = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            if waiting and all(each.exception() for each in done):
                done, _ = await asyncio.wait(waiting)
            return min(done, key=lambda each: each.exception() is not None).result()
        finally:
            for each in copies:
                each.cancel()
                if each.done() and not each.cancelled():
                    each.exception()  # looked at, so that asyncio does not complain

    def _request(self, body: bytes, headers: dict[bytes, bytes], until_s: float) -> list[bytes]:
        """The request to the engine, as parts to be written one after another."""
        left_ms = max(0.0, (until_s - time.monotonic()) * 1e3)
        head = (b"%sContent-Length: %d\r\nx-request-timeout-ms: %.0f\r\ntraceparent: %s\r\n"
                % (self._head, len(body), left_ms, tracing.passed_on(headers.get(b"traceparent"))))
        state = headers.get(b"tracestate")
        if state is not None and b"traceparent" in headers:
            head += b"tracestate: %s\r\n" % state
        return [head + b"\r\n", body]

    def _answered(self, answer: Answer) -> Reply:
        """The engine's answer as the client's protocol has it; what is no 200 is passed on as it is."""
        kept = [(name, answer.headers[name]) for name in PASSED_BACK if name in answer.headers]
        if answer.status != 200:
            kept.append((b"content-type", answer.headers.get(b"content-type", b"text/plain")))
            return answer.status, answer.body, kept
        try:
            body, more = self._settings.front.answered(self._settings.back.answer(answer.body))
        except ValueError as error:
            raise RefusedError(502, f"the engine's answer is not of its protocol: {error}") from None
        return 200, body, [*kept, *more, self._answer_type]

    async def _health(self, _headers: dict[bytes, bytes], _receive: Receive) -> Reply:
        """Ready when the engine is."""
        try:
            async with asyncio.timeout(HEALTH_S):
                answer = await self._upstream.get(self._settings.ready)
        except (LostError, TimeoutError) as error:
            return RefusedError(503, str(error) or "the engine does not say whether it is ready", LATER).reply
        if answer.status != 200:
            return RefusedError(503, f"the engine's {self._settings.ready} says {answer.status}", LATER).reply
        return 200, b"ready\n", [(b"content-type", b"text/plain")]

    async def _metrics(self, _headers: dict[bytes, bytes], _receive: Receive) -> Reply:
        return 200, self._figures.text(), [(b"content-type", CONTENT_TYPE)]


async def whole_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The request's body. Raises RefusedError when it is larger than BODY_LIMIT, or breaks off."""
    refused = RefusedError(413, f"the body is larger than {BODY_LIMIT} bytes", CLOSE)
    if int(headers.get(b"content-length", b"0")) > BODY_LIMIT:
        raise refused
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the connection closed within the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            raise refused
        more = message.get("more_body", False)
    return b"".join(parts)
