"""Fronts and workers talk through Redis streams: a broker between them that outlives either.

One stream of batches with a consumer group, of which every worker is a consumer; one list of answers for each front.
What a worker took stays pending in the group until its answer is there: taking away and answering are one transaction.
A front keeps about as many batches in the stream as there are workers, and forms the next one when an answer comes.
"""

import asyncio
import math
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio
from batching.backlog import Backlog
from batching.job import Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs
from broker import DOWN, GROUP, RETRY_S, Line, Wire, client, companions, key, packed, takes_several, there_already

__all__ = ["FrontLink", "WorkerLink", "companions"]

FIELD = b"jobs"
AT_ONCE = 64
BLOCK_S = 1
EXPIRE_S = 1.0
LEFT_S = 60
TURNS = 2   # of the event loop, in which answers leave before the next ones are asked for
SWEEPS_S = (0.0, 0.1, 0.3, 1.0)


class FrontLink:
    """One front's batches on their way through Redis.

    `trouble` says why none gets through; "" while they do.
    """

    def __init__(self, index: int, fronts: int, workers: int, backlog: Backlog,
                 deliver: Callable[[list[Answer]], None]) -> None:
        self._index = index
        self._workers = math.ceil(workers / fronts)
        self._backlog = backlog
        self._deliver = deliver
        self._sent: dict[bytes, list[Job]] = {}
        self._under_way: dict[int, list[Job]] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self.trouble = "not connected to the broker yet"

    async def open(self) -> None:
        """Start connecting, sending and receiving."""
        self._commands = client(redis.asyncio)
        self._adding = Line()
        self._loops = [self._start(work) for work in (self._send(), self._receive(), self._expire())]

    async def work(self) -> None:
        """Return never, and raise what ends the sending or receiving."""
        await asyncio.gather(*self._loops)

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
        with suppress(redis.RedisError):
            for name in ("batches", f"answers-{self._index}"):
                await self._commands.execute_command("EXPIRE", key(name), LEFT_S)
        await self._adding.close()
        await self._commands.aclose()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _send(self) -> None:
        """Keep the stream supplied, for ever; what comes up during one round trip goes with the next."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.trouble:
                continue
            try:
                await self._add(self._next())
            except DOWN:
                self._again()
                await asyncio.sleep(RETRY_S)

    def _next(self) -> list[list[Job]]:
        batches: list[list[Job]] = []
        while True:
            under_way = len(self._under_way) + len(batches)
            # Never fewer than there are workers: then no search for the best size delays a lone request.
            if under_way >= self._workers and under_way >= self._backlog.ahead(self._workers):
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
        # Under way from here on: the answer may overtake the receipt.
        self._under_way.update((jobs[0].id, jobs) for jobs in batches)
        entries = await self._adding.ask([packed("XADD", key("batches"), "*", FIELD, pack_jobs(jobs))
                                          for jobs in batches])
        for entry, jobs in zip(entries, batches, strict=True):
            if isinstance(entry, redis.ResponseError):
                self._refused(jobs, entry)
            elif self._under_way.get(jobs[0].id) is jobs:
                self._sent[entry] = jobs

    def _refused(self, jobs: list[Job], error: redis.ResponseError) -> None:
        """Redis is there and takes nothing, its memory being full for example: nobody need wait for that."""
        self._under_way.pop(jobs[0].id, None)
        words = f"the broker takes no work: {error}".encode()
        self._deliver([Answer(job.id, 503, 0, 0, 0, 0, words) for job in jobs])
        self._wake.set()

    async def _receive(self) -> None:
        """Take answers off this front's list, for ever, and notice every loss of Redis: this connection is never
        remade unseen, and nearly always waits for a word of it."""
        while True:
            line = Line()
            try:
                await line.open()
                several = await takes_several(self._commands)
                await self._make_group(self._commands)
                self._again()
                self._tell("")
                await self._take(line, several)
            except DOWN as error:
                self._tell(f"the broker does not answer: {error}")
            except redis.ResponseError as error:
                self._tell(f"the broker refuses: {error}")
            finally:
                await line.close()
            await asyncio.sleep(RETRY_S)

    async def _take(self, line: Line, several: bool) -> None:
        name = key(f"answers-{self._index}")
        words = [packed("BLMPOP", BLOCK_S, 1, name, "LEFT", "COUNT", AT_ONCE) if several else
                 packed("BLPOP", name, BLOCK_S)]
        while True:
            [found] = await line.ask(words)
            if isinstance(found, redis.ResponseError):
                raise found
            for blob in (found[1] if several else found[1:]) if found else ():
                self._done(unpack_answers(blob))
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _tell(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            print(trouble or "connected to the broker", file=sys.stderr, flush=True)
        self.trouble = trouble

    @staticmethod
    async def _make_group(commands: "redis.asyncio.Redis") -> None:
        try:
            await commands.xgroup_create(key("batches"), GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not there_already(error):
                raise

    def _done(self, answers: list[Answer]) -> None:
        """One blob answers one batch, whatever became of its jobs."""
        for answer in answers:
            self._under_way.pop(answer.id, None)
        self._deliver(answers)
        self._tidy()
        self._wake.set()

    def _tidy(self) -> None:
        if len(self._sent) > 2 * len(self._under_way):
            self._sent = {entry: jobs for entry, jobs in self._sent.items() if jobs[0].id in self._under_way}

    def _again(self) -> None:
        """Queue again all that is unanswered: a new Redis knows nothing of it, and an old one may have lost answers."""
        held = [job for jobs in self._under_way.values() for job in jobs]
        self._under_way.clear()
        self._sent.clear()
        self._deliver(self._backlog.put_back(held, frozenset()))
        self._wake.set()

    async def _expire(self) -> None:
        """Free the places of batches nobody waits for any more, for ever: however their answers were lost, newer ones
        must get through."""
        while True:
            await asyncio.sleep(EXPIRE_S)
            now_ns = time.monotonic_ns()
            late = [first for first, jobs in self._under_way.items() if max(job.deadline_ns for job in jobs) < now_ns]
            for first in late:
                del self._under_way[first]
            if late:
                self._tidy()
                self._wake.set()

    async def _requeue(self, name: str, started: frozenset[int]) -> None:
        """Redis may serve a blocked consumer just before it notices that the process is gone, hence the later looks."""
        for pause_s in SWEEPS_S:
            await asyncio.sleep(pause_s)
            with suppress(redis.RedisError):
                rows = await self._commands.execute_command(
                    "XPENDING", key("batches"), GROUP, "-", "+", AT_ONCE, name)
                mine = [entry for entry, *_ in rows if entry in self._sent]
                if mine:
                    await self._take_back(mine, started)

    async def _take_back(self, entries: list[bytes], started: frozenset[int]) -> None:
        pipe = self._commands.pipeline(transaction=True)
        pipe.execute_command("XACK", key("batches"), GROUP, *entries)
        pipe.execute_command("XDEL", key("batches"), *entries)
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
        self._wire = Wire()
        self._entry = b""
        self._make_group()

    def take(self, timeout_s: float) -> list[list[Job]]:
        """The stream's next batch; none after the timeout, or a moment after Redis failed."""
        try:
            [found] = self._wire.ask([packed(
                "XREADGROUP", "GROUP", GROUP, self._name, "COUNT", 1, "BLOCK", round(timeout_s * 1e3),
                "STREAMS", key("batches"), ">")])
        except DOWN as error:
            found = error
        if isinstance(found, redis.RedisError):     # away, or a new one, which knows of no group
            time.sleep(RETRY_S)
            self._make_group()
            return []
        if not found:
            return []
        [[_, [[self._entry, [_, batch]]]]] = found
        return [unpack_jobs(batch)]

    def give(self, answers: list[Answer]) -> None:
        """Answer the batch and take it off the stream, both or neither."""
        commands = [packed("MULTI"),
                    packed("RPUSH", key(f"answers-{answers[0].front}"), pack_answers(answers)),
                    packed("XACK", key("batches"), GROUP, self._entry),
                    packed("XDEL", key("batches"), self._entry),
                    packed("EXEC")]
        with suppress(*DOWN):    # the front sends again what it holds
            *queued, done = self._wire.ask(commands)
            replies = [*queued, *(done if isinstance(done, list) else [done])]
            refused = [reply for reply in replies if isinstance(reply, redis.ResponseError)]
            if refused:
                print(f"the broker takes no answers: {refused[0]}", file=sys.stderr, flush=True)

    def _make_group(self) -> None:
        with suppress(redis.RedisError), client(redis) as commands:     # away; or there already
            commands.xgroup_create(key("batches"), GROUP, id="0", mkstream=True)

    def close(self) -> None:
        """Disconnect."""
        self._wire.close()
