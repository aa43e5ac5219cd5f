"""Fronts and workers talk through Redis streams: a broker between them that outlives either.

One stream of batches with a consumer group, of which every worker is a consumer; one list of answers for each front.
What a worker took stays pending in the group until its answer is there: taking away and answering are one transaction.
A front keeps about as many batches in the stream as there are workers, and forms the next one when an answer comes.
"""

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from batching.backlog import Backlog
from batching.job import Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs
from batching.link import Companion
from batching.settings import Settings

SOCKET = "redis.sock"
GROUP = "workers"
FIELD = b"jobs"
AT_ONCE = 64
BLOCK_S = 1
RETRY_S = 0.1
LEFT_S = 60
SWEEPS_S = (0.0, 0.1, 0.3, 1.0)


def companions(settings: Settings) -> list[Companion]:
    """A Redis of its own, in memory only, on a Unix socket in the run's folder; none where an address was given."""
    if settings.redis_url:
        return []
    command = ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--save", "",
               "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", "--dir", "."]
    return [Companion(command, _answers)]


class FrontLink:
    """One front's batches on their way through Redis."""

    def __init__(self, index: int, fronts: int, workers: int, backlog: Backlog,
                 deliver: Callable[[list[Answer]], None]) -> None:
        self._index = index
        self._workers = math.ceil(workers / fronts)
        self._backlog = backlog
        self._deliver = deliver
        self._sent: dict[bytes, list[Job]] = {}
        self._under_way: dict[int, list[Job]] = {}
        self._lost: list[list[Job]] = []
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connect, make the stream's group, start sending and receiving."""
        self._commands = _client(redis.asyncio)
        self._answers = _client(redis.asyncio)
        await self._make_group()
        self._start(self._send())
        self._start(self._receive())

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._backlog.put(job)
        self._wake.set()

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again what it held of this front's, looking several times."""
        self._start(self._requeue(name, started))

    async def close(self) -> None:
        """Stop the tasks, leave nothing for long on a Redis that others use, disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(redis.ConnectionError):
            for name in ("batches", f"answers-{self._index}"):
                await self._commands.execute_command("EXPIRE", _key(name), LEFT_S)
        await self._commands.aclose()
        await self._answers.aclose()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_group(self) -> None:
        with suppress(redis.ResponseError):     # it is there already
            await self._commands.xgroup_create(_key("batches"), GROUP, id="0", mkstream=True)

    async def _send(self) -> None:
        """Keep the stream supplied, for ever; what comes up during one round trip goes with the next."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batches, self._lost = [*self._lost, *self._next()], []
            try:
                await self._add(batches)
            except redis.ConnectionError:
                self._lost = batches
                await self._reconnected()

    def _next(self) -> list[list[Job]]:
        batches: list[list[Job]] = []
        while True:
            under_way = len(self._under_way) + len(batches)
            if under_way >= self._backlog.ahead(self._workers):
                return batches
            jobs = self._backlog.batch(max(1, self._workers - under_way))
            if not jobs:
                if self._backlog.held_s and self._later is None:
                    self._later = asyncio.get_running_loop().call_later(self._backlog.held_s, self._waited)
                return batches
            batches.append(jobs)

    def _waited(self) -> None:
        self._later = None
        self._wake.set()

    async def _add(self, batches: list[list[Job]]) -> None:
        if not batches:
            return
        pipe = self._commands.pipeline(transaction=False)
        for jobs in batches:
            # Under way from here on: the answer may overtake the receipt.
            self._under_way[jobs[0].id] = jobs
            pipe.execute_command("XADD", _key("batches"), "*", FIELD, pack_jobs(jobs))
        entries: list[bytes] = await pipe.execute()
        for entry, jobs in zip(entries, batches, strict=True):
            if self._under_way.get(jobs[0].id) is jobs:
                self._sent[entry] = jobs

    async def _receive(self) -> None:
        """Take answers off this front's list, for ever."""
        key = _key(f"answers-{self._index}")
        while True:
            try:
                found = await self._answers.execute_command("BLMPOP", BLOCK_S, 1, key, "LEFT", "COUNT", AT_ONCE)
            except redis.ConnectionError:
                await asyncio.sleep(RETRY_S)
                continue
            for blob in found[1] if found else ():
                self._done(unpack_answers(blob))

    def _done(self, answers: list[Answer]) -> None:
        """One blob answers one batch, whatever became of its jobs."""
        for answer in answers:
            self._under_way.pop(answer.id, None)
        self._deliver(answers)
        if len(self._sent) > 2 * len(self._under_way):
            self._sent = {entry: jobs for entry, jobs in self._sent.items() if jobs[0].id in self._under_way}
        self._wake.set()

    async def _reconnected(self) -> None:
        """Wait for Redis to be back; a new one knows nothing, so everything unanswered goes again."""
        while True:
            try:
                await self._commands.ping()
                await self._make_group()
                break
            except redis.ConnectionError:
                await asyncio.sleep(RETRY_S)
        self._lost = [*(jobs for jobs in self._under_way.values() if jobs not in self._lost), *self._lost]
        self._under_way.clear()
        self._sent.clear()
        self._wake.set()

    async def _requeue(self, name: str, started: frozenset[int]) -> None:
        """Redis may serve a blocked consumer just before it notices that the process is gone, hence the later looks."""
        for pause_s in SWEEPS_S:
            await asyncio.sleep(pause_s)
            with suppress(redis.ConnectionError, redis.ResponseError):
                rows = await self._commands.execute_command(
                    "XPENDING", _key("batches"), GROUP, "-", "+", AT_ONCE, name)
                mine = [entry for entry, *_ in rows if entry in self._sent]
                if mine:
                    await self._take_back(mine, started)

    async def _take_back(self, entries: list[bytes], started: frozenset[int]) -> None:
        pipe = self._commands.pipeline(transaction=True)
        pipe.execute_command("XACK", _key("batches"), GROUP, *entries)
        pipe.execute_command("XDEL", _key("batches"), *entries)
        await pipe.execute()
        for entry in entries:
            jobs = self._sent.pop(entry, [])
            if jobs and self._under_way.pop(jobs[0].id, []):
                self._deliver(self._backlog.put_back(jobs, started))
        self._wake.set()


class WorkerLink:
    """One consumer of the group."""

    def __init__(self, name: str, fronts: int) -> None:  # noqa: ARG002 an answer's id names its front
        self._name = name
        self._client = _client(redis)
        self._entry = b""
        self._make_group()

    def take(self, timeout_s: float) -> list[list[Job]]:
        """The stream's next batch; none after the timeout, or a moment after Redis failed."""
        try:
            found = self._client.execute_command(
                "XREADGROUP", "GROUP", GROUP, self._name, "COUNT", 1, "BLOCK", round(timeout_s * 1e3),
                "STREAMS", _key("batches"), ">")
        except redis.ResponseError:     # a new Redis, which knows of no group
            self._make_group()
            return []
        except redis.ConnectionError:
            time.sleep(RETRY_S)
            return []
        if not found:
            return []
        [[_, [[self._entry, [_, batch]]]]] = found
        return [unpack_jobs(batch)]

    def give(self, answers: list[Answer]) -> None:
        """Answer the batch and take it off the stream, both or neither."""
        pipe = self._client.pipeline(transaction=True)
        pipe.execute_command("RPUSH", _key(f"answers-{answers[0].front}"), pack_answers(answers))
        pipe.execute_command("XACK", _key("batches"), GROUP, self._entry)
        pipe.execute_command("XDEL", _key("batches"), self._entry)
        with suppress(redis.ConnectionError):   # the front sends again what it holds
            pipe.execute()

    def _make_group(self) -> None:
        with suppress(redis.ConnectionError, redis.ResponseError):      # away; or there already
            self._client.xgroup_create(_key("batches"), GROUP, id="0", mkstream=True)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _client(library: Any) -> Any:
    url = os.environ.get("KNOB_REDIS_URL", "")
    client = library.Redis.from_url(url, protocol=2) if url else library.Redis(unix_socket_path=SOCKET, protocol=2)
    # Answers as Redis gave them: the client's conversions into dicts and numbers cost more than the commands.
    client.response_callbacks.clear()
    return client


def _key(name: str) -> str:
    """Keys of this deployment alone: its folder's name is its own."""
    return f"tailrace:{Path.cwd().name}:{name}"


def _answers() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(SOCKET) == 0
