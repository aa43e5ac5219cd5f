"""Fronts and workers talk through Redis streams: a broker between them that outlives either.

One stream of jobs with a consumer group, of which every worker is a consumer; one list of answers for each front. What a worker
took stays pending in the group until its answer is there: taking away and answering are one transaction.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from batching import policy
from batching.job import MAX_ATTEMPTS, Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs
from batching.link import Companion, Want
from batching.settings import Settings

SOCKET = "redis.sock"
GROUP = "workers"
FIELD = b"job"
AT_ONCE = 256
BLOCK_S = 1
RETRY_S = 0.1
SWEEPS_S = (0.0, 0.1, 0.3, 1.0)


def companions(settings: Settings) -> list[Companion]:
    """A Redis of its own, in memory only, on a Unix socket in the run's folder; none where an address was given."""
    if settings.redis_url:
        return []
    command = ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--save", "",
               "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", "--dir", "."]
    return [Companion(command, _answers)]


class FrontLink:
    """One front's jobs on their way through Redis."""

    def __init__(self, index: int, workers: int,  # noqa: ARG002 workers share by themselves
                 pending: Container[int], deliver: Callable[[list[Answer]], None]) -> None:
        self._index = index
        self._pending = pending
        self._deliver = deliver
        self._outbox: list[Job] = []
        self.retried = 0
        self._sent: dict[bytes, Job] = {}
        self._entries: dict[int, bytes] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Jobs of this front that were not answered; Redis knows which of them were taken."""
        return len(self._outbox) + len(self._sent)

    async def open(self) -> None:
        """Connect, make the stream's group, start sending and receiving."""
        self._commands = _client(redis.asyncio)
        self._answers = _client(redis.asyncio)
        await self._make_group()
        self._start(self._send())
        self._start(self._receive())

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._outbox.append(job)
        self._wake.set()

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again what it held of this front's, looking several times."""
        self._start(self._requeue(name, started))

    async def close(self) -> None:
        """Stop the tasks and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._commands.aclose()
        await self._answers.aclose()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_group(self) -> None:
        with suppress(redis.ResponseError):     # it is there already
            await self._commands.xgroup_create(_key("jobs"), GROUP, id="0", mkstream=True)

    async def _send(self) -> None:
        """Everything submitted while the last round trip was under way goes with the next, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            jobs = [job for job in self._outbox if job.id in self._pending]
            self._outbox.clear()
            try:
                await self._add(jobs)
            except redis.ConnectionError:
                self._outbox += jobs
                await self._reconnected()

    async def _add(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        pipe = self._commands.pipeline(transaction=False)
        for job in jobs:
            pipe.execute_command("XADD", _key("jobs"), "*", FIELD, pack_jobs([job]))
        entries: list[bytes] = await pipe.execute()
        for entry, job in zip(entries, jobs, strict=True):
            # The answer may have overtaken the receipt.
            if job.id in self._pending:
                self._sent[entry] = job
                self._entries[job.id] = entry

    async def _receive(self) -> None:
        """Take answers off this front's list, for ever."""
        key = _key(f"answers-{self._index}")
        while True:
            try:
                found = await self._answers.execute_command("BLMPOP", BLOCK_S, 1, key, "LEFT", "COUNT", AT_ONCE)
            except redis.ConnectionError:
                await asyncio.sleep(RETRY_S)
                continue
            if not found:
                self._forget_abandoned()
            for blob in found[1] if found else ():
                answers = unpack_answers(blob)
                for answer in answers:
                    self._sent.pop(self._entries.pop(answer.id, b""), None)
                self._deliver(answers)

    def _forget_abandoned(self) -> None:
        for entry in [entry for entry, job in self._sent.items() if job.id not in self._pending]:
            self._entries.pop(self._sent.pop(entry).id, None)

    async def _reconnected(self) -> None:
        """Wait for Redis to be back; a new one knows nothing, so everything unanswered is queued again."""
        while True:
            try:
                await self._commands.ping()
                await self._make_group()
                break
            except redis.ConnectionError:
                await asyncio.sleep(RETRY_S)
        self._outbox = [*self._sent.values(), *self._outbox]
        self._sent.clear()
        self._entries.clear()
        self._wake.set()

    async def _requeue(self, name: str, started: frozenset[int]) -> None:
        """Redis may serve a blocked consumer just before it notices that the process is gone, hence the later looks."""
        for pause_s in SWEEPS_S:
            await asyncio.sleep(pause_s)
            with suppress(redis.ConnectionError, redis.ResponseError):
                rows = await self._commands.execute_command(
                    "XPENDING", _key("jobs"), GROUP, "-", "+", AT_ONCE, name)
                mine = [entry for entry, *_ in rows if entry in self._sent]
                if mine:
                    await self._move(mine, started)

    async def _move(self, entries: list[bytes], started: frozenset[int]) -> None:
        pipe = self._commands.pipeline(transaction=True)
        pipe.xack(_key("jobs"), GROUP, *entries)
        pipe.xdel(_key("jobs"), *entries)
        await pipe.execute()
        for entry in entries:
            job = self._sent.pop(entry, None)
            if job is None:
                continue
            self._entries.pop(job.id, None)
            if job.id in started and job.attempt >= MAX_ATTEMPTS:
                self._deliver([Answer(job.id, 500, 0, 0, 0, 0, b"two workers died on this request")])
            else:
                self.retried += 1
                self.submit(job._replace(attempt=job.attempt + (job.id in started)))


class WorkerLink:
    """One consumer of the group."""

    def __init__(self, name: str, fronts: int, workers: int) -> None:  # noqa: ARG002 answers find their front by name
        self._name = name
        self._workers = workers
        self._client = _client(redis)
        self._entries: dict[int, bytes] = {}
        self._length = 0
        self._make_group()

    def take(self, want: Want, timeout_s: float) -> list[Job]:
        """Read new entries of the stream; an empty list after the timeout, or a moment after Redis failed."""
        count = policy.share(max(self._length, want.best), 1, self._workers, want.best, want.most, want.seconds)
        try:
            found = self._client.execute_command(
                "XREADGROUP", "GROUP", GROUP, self._name, "COUNT", count, "BLOCK", max(1, round(timeout_s * 1e3)),
                "STREAMS", _key("jobs"), ">")
        except redis.ResponseError:     # a new Redis, which knows of no group
            self._make_group()
            return []
        except redis.ConnectionError:
            time.sleep(RETRY_S)
            return []
        jobs: list[Job] = []
        for entry, values in _rows(found):
            job = unpack_jobs(values[1])[0]
            self._entries[job.id] = entry
            jobs.append(job)
        return jobs

    def give(self, answers: list[Answer]) -> None:
        """Answer and take off the stream, both or neither."""
        fronts: dict[int, list[Answer]] = {}
        for answer in answers:
            fronts.setdefault(answer.front, []).append(answer)
        entries = [self._entries.pop(answer.id) for answer in answers]
        pipe = self._client.pipeline(transaction=True)
        for front, its in fronts.items():
            pipe.execute_command("RPUSH", _key(f"answers-{front}"), pack_answers(its))
        pipe.execute_command("XACK", _key("jobs"), GROUP, *entries)
        pipe.execute_command("XDEL", _key("jobs"), *entries)
        pipe.execute_command("XLEN", _key("jobs"))
        with suppress(redis.ConnectionError):   # the fronts queue again what they hold
            self._length = pipe.execute()[-1]

    def _make_group(self) -> None:
        with suppress(redis.ConnectionError, redis.ResponseError):      # away; or there already
            self._client.xgroup_create(_key("jobs"), GROUP, id="0", mkstream=True)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _rows(found: Any) -> Iterator[tuple[bytes, list[bytes]]]:
    """(entry id, [field, value]) of what XREADGROUP answered over one stream."""
    for _, rows in found or ():
        yield from rows


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
