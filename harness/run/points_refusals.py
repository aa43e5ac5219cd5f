"""Points of the contract about what is refused: bad bodies, unknown routes, listeners the network could reach."""

import json
from collections.abc import Callable
from typing import Any

from harness.errors import RunFailedError
from harness.run.exchange import exchange
from harness.run.sockets import listeners
from harness.run.subject import ANSWER_S, Subject
from harness.run.unary import call, channel
from harness.run.warden import descendants

HUGE_BYTES = 10_000_000
KINDS = ("malformed", "empty", "wrong type", "wrong shape", "huge")
_STRANGER = [["not", "an", "item"]]


def bad_body(kind: str, good: bytes, content_type: str) -> bytes:
    """A body that no model takes, made from a good one: of JSON, its first value replaced by a list (wrong type), and
    itself in a list (wrong shape); of anything else, JSON (wrong type) and its first half (wrong shape)."""
    if kind == "wrong type":
        return _first_replaced(json.loads(good)) if _is_json(content_type) else json.dumps(_STRANGER).encode()
    if kind == "wrong shape":
        return b"[[" + good + b"]]" if _is_json(content_type) else good[:len(good) // 2]
    return {"malformed": b"{\x00", "empty": b"", "huge": b"x" * HUGE_BYTES}[kind]


def unknown_route(subject: Subject) -> str:
    """A route that nobody made is a 404, over gRPC a method UNIMPLEMENTED."""
    if subject.setup.codec.transport == "grpc":
        with channel(subject.port) as opened:
            status = call(opened, "/no.such.Service/Method", b"", ANSWER_S).status
        if status != 404:
            raise RunFailedError(f"an unknown method got {status} instead of UNIMPLEMENTED")
        return "UNIMPLEMENTED"
    reply = exchange(subject.port, "/no-such-route")
    if reply.status != 404:
        raise RunFailedError(f"GET /no-such-route got {reply.status} instead of 404")
    return "404"


def loopback(subject: Subject) -> str:
    """No listener that the network can reach."""
    found = listeners(descendants(subject.server.warden_pid))
    reachable = sorted({f"{each.address}:{each.port}" for each in found if not each.is_local})
    if reachable:
        raise RunFailedError(f"listens where the network can reach it: {', '.join(reachable)}", "bind to {host}")
    return f"listens only on loopback ({len({each.port for each in found})} ports)"


def _asked(kind: str) -> Callable[[Subject], str]:
    def question(subject: Subject) -> str:
        good = subject.golden[0][0]
        reply = subject.predict(bad_body(kind, good, subject.content_type))
        if not 400 <= reply.status < 500:
            raise RunFailedError(f"a body that is {kind} got {reply.status} instead of a 4xx")
        if not reply.body.strip():
            raise RunFailedError(f"a body that is {kind} got {reply.status} without a message")
        health, again = subject.ready(), subject.predict(good)
        if (health.status, again.status) != (200, 200):
            raise RunFailedError(f"after a body that is {kind}, ready is {health.status}, a prediction {again.status}")
        return f"{reply.status} with a message, and it stays healthy"

    return question


QUESTIONS: dict[str, Callable[[Subject], str]] = {
    **{f"bad-body-{kind.replace(' ', '-')}": _asked(kind) for kind in KINDS},
    "unknown-route": unknown_route, "loopback": loopback}


def _is_json(content_type: str) -> bool:
    return content_type.split(";", maxsplit=1)[0].strip() == "application/json"


def _first_replaced(item: Any) -> bytes:
    if isinstance(item, dict) and item:
        return json.dumps({**item, next(iter(item)): _STRANGER}).encode()
    return json.dumps(_STRANGER).encode()
