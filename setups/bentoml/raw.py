"""Between the contract's raw bodies and BentoML's lists: one body in, a list of one on, one answer back."""

import base64
import json
import time
from typing import Any

import model
from replica.replica import BODY_LIMIT
from replica.timing import server_timing
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RawBodies:
    """ASGI middleware for POST /predict; everything else passes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["path"] != "/predict" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        body = await Request(scope, receive).body()
        if len(body) > BODY_LIMIT:
            said = JSONResponse({"error": f"the body is larger than {BODY_LIMIT} bytes"}, status_code=413)
            return await said(scope, receive, send)
        return await (await self._ask(scope, receive, body))(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, body: bytes) -> Response:
        wrapped = json.dumps({"bodies": [base64.b64encode(body).decode()]}).encode()
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-type", b"content-length")]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(wrapped)).encode())]
        messages: list[Message] = [{"type": "http.request", "body": wrapped, "more_body": False}]
        said: dict[str, Any] = {"body": b""}

        async def hear() -> Message:
            return messages.pop() if messages else await receive()

        async def keep(message: Message) -> None:
            said["status"] = message.get("status", said.get("status"))
            said["body"] += message.get("body", b"")

        came_s = time.monotonic()
        await self._app({**scope, "headers": headers}, hear, keep)
        if said["status"] != 200:
            return Response(said["body"], said["status"], media_type="application/json")
        return _unwrapped(json.loads(said["body"])[0], came_s)


def _unwrapped(item: dict[str, Any], came_s: float) -> Response:
    if "error" in item:
        return JSONResponse({"error": item["error"]}, status_code=400)
    timing = {"queue": (item["begun_s"] - came_s) * 1e3, "model": item["model_ms"]} | item["device_ms"]
    return Response(item["answer"].encode(), media_type=model.ANSWER_TYPE, headers={
        "Server-Timing": server_timing(timing), "x-batch-size": str(item["items"])})
