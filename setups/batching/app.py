"""The application server as a bare ASGI app: admit, hand over, wait, answer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import model
from replica.replica import BODY_LIMIT

from batching import metrics
from batching.backlog import Backlog
from batching.board import CODES, Board, front_board, owner_board, worker_board
from batching.job import FRONT_SHIFT, Answer, Job
from batching.link import FrontLink
from batching.settings import Settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Reply = tuple[int, bytes, list[tuple[bytes, bytes]]]

LATEST_S = 600.0
SWEEP_S = 0.02
QUIET_S = 0.1   # while nothing is queued: to wake up costs the one core there may be as much as a small model does
ANSWER_TYPE = (b"content-type", model.ANSWER_TYPE.encode())
JSON_TYPE = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")


class App:
    """Routes of one front. `link` is set before the first request; `draining` closes connections after their answer."""

    link: FrontLink

    def __init__(self, settings: Settings, index: int, fronts: int, board: Board) -> None:
        self._settings = settings
        self._fronts = fronts
        self._board = board
        self._elsewhere = 0.0
        # Ids of a restarted front must not meet those of its predecessor: they begin at the clock.
        self._next_id = (index << FRONT_SHIFT) + time.monotonic_ns() // 10_000
        self._others = [front_board(Path(), other) for other in range(fronts) if other != index]
        self._workers = [worker_board(Path(), slot) for slot in range(settings.workers)]
        self._owners = [owner_board(Path(), slot) for slot in range(settings.owners)]
        self._code_field = {code: f"code_{code}" for code in CODES}
        self.pending: dict[int, tuple[asyncio.Future[Answer], int]] = {}
        self.backlog = Backlog(settings, self.pending, self._workers, fronts, self.deliver)
        self.draining = False
        self._hurry = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        path, method = scope["path"], scope["method"]
        if path == "/predict" and method == "POST":
            status, body, headers = await self._predict(scope["headers"], receive)
        elif path == "/healthz":
            status, body, headers = self._health()
        elif path == "/metrics":
            text = metrics.render(Path(), self._settings.workers, self._fronts, self._settings.owners)
            status, body, headers = 200, text.encode(), [(b"content-type", metrics.CONTENT_TYPE.encode())]
        else:
            status, body, headers = _error(405 if path == "/predict" else 404, f"no {method} {path} here")
        if path == "/predict":
            self._board.add(self._code_field[status])
        headers.append((b"content-length", b"%d" % len(body)))
        if self.draining:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def deliver(self, answers: list[Answer]) -> None:
        """Hand answers to the requests that still wait for them."""
        for answer in answers:
            entry = self.pending.pop(answer.id, None)
            if entry is not None and not entry[0].done():
                entry[0].set_result(answer)

    async def sweep(self) -> None:
        """Answer 504 for what has passed its deadline, and keep figures fresh, for ever."""
        retried = self._board["retried"]
        while True:
            await self._pause()
            now_ns = time.monotonic_ns()
            late = [job_id for job_id, (_, deadline_ns) in self.pending.items() if deadline_ns <= now_ns]
            self.deliver([Answer(job_id, 504, 0, 0, 0, 0, b"the deadline passed") for job_id in late])
            self._board["unanswered"] = len(self.pending)
            self._elsewhere = sum(board["unanswered"] for board in self._others)
            self._board["waiting"] = len(self.backlog)
            self._board["retried"] = retried + self.backlog.retried
            self.backlog.refresh()

    async def _pause(self) -> None:
        """Until the next look is due: soon where jobs are queued or a deadline is near."""
        soon_ns = time.monotonic_ns() + int(QUIET_S * 1e9)
        if not self.backlog and all(deadline_ns > soon_ns for _, deadline_ns in self.pending.values()):
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    await self._hurry.wait()
                    await asyncio.sleep(SWEEP_S)
            return
        await asyncio.sleep(SWEEP_S)

    async def _predict(self, headers: Headers, receive: Receive) -> Reply:
        timeout_s, refusal = _allowed(headers, self._settings.deadline_s)
        if refusal is not None:
            return refusal
        body = await _body(receive)
        if body is None:
            return _too_large()
        refusal = self._turned_away(body, timeout_s)
        if refusal is not None:
            return refusal
        answer = await self._answer(body, timeout_s)
        timing = (b"queue;dur=%.3f, wait;dur=%.3f, model;dur=%.3f"
                  % (answer.queue_us / 1e3, answer.wait_us / 1e3, answer.model_us / 1e3))
        if answer.kernel_us:
            timing += b", copy;dur=%.3f, kernel;dur=%.3f" % (answer.copy_us / 1e3, answer.kernel_us / 1e3)
        if answer.gc_us:
            timing += b", gc;dur=%.3f" % (answer.gc_us / 1e3)
        extra = [(b"server-timing", timing), (b"x-batch-size", b"%d" % answer.batch)]
        if answer.status == 200:
            return 200, answer.body, [ANSWER_TYPE, *extra]
        if answer.status == 503:
            extra.append((b"retry-after", b"1"))
        return _error(answer.status, answer.body.decode(errors="replace"), extra)

    def _turned_away(self, body: bytes, timeout_s: float) -> Reply | None:
        """Why a request is not let in; None when it is."""
        if timeout_s <= 0:
            return _error(504, "the deadline passed")
        if len(self.pending) + self._elsewhere >= self._settings.queue:
            return _error(503, "the queue is full", [(b"retry-after", b"1")])
        if not self.backlog.room(body, timeout_s):
            return _error(503, "the queue is too long for an answer in time", [(b"retry-after", b"1")])
        return None

    async def _answer(self, body: bytes, timeout_s: float) -> Answer:
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + int(timeout_s * 1e9)
        self._next_id += 1
        job = Job(self._next_id, now_ns, deadline_ns, 1, 0, body)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.pending[job.id] = (future, deadline_ns)
        self.link.submit(job)
        if len(self.backlog) > 1 or timeout_s < QUIET_S:
            self._hurry.set()
        try:
            return await future
        finally:
            self.pending.pop(job.id, None)

    def _health(self) -> Reply:
        if self.link.trouble:
            return _error(503, self.link.trouble, [(b"retry-after", b"1")])
        missing = [what for what, boards in (("worker", self._workers), ("owner of the device", self._owners))
                   if boards and not any(board["ready"] for board in boards)]
        if not missing:
            return 200, b"ready\n", [(b"content-type", b"text/plain")]
        return _error(503, f"no {missing[0]} is alive", [(b"retry-after", b"1")])


def _allowed(headers: Headers, timeout_s: float) -> tuple[float, Reply | None]:
    """Seconds the request may take, and what to refuse it with if its headers say enough."""
    for name, value in headers:
        if name == b"x-request-timeout-ms":
            try:
                timeout_s = float(value) / 1e3
            except ValueError:
                timeout_s = float("nan")
            if not timeout_s <= LATEST_S:
                return 0.0, _error(400, f"x-request-timeout-ms must be a number of at most {LATEST_S * 1e3:.0f}")
        elif name == b"content-length" and int(value) > BODY_LIMIT:
            return 0.0, _too_large()
    return timeout_s, None


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None when it is larger than BODY_LIMIT."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            return None
    return b"".join(parts)


def _too_large() -> Reply:
    return _error(413, f"the body is larger than {BODY_LIMIT} bytes", [CLOSE])


def _error(status: int, words: str, headers: Headers = ()) -> Reply:
    return status, json.dumps({"error": words}).encode(), [JSON_TYPE, *headers]
