"""Fronts and workers talk directly over ZeroMQ: no broker hop.

Each front binds a ROUTER in the run's folder; each worker has a DEALER to every front. An idle worker says what it wants to all
fronts; one that has jobs answers with a batch; the worker tells the other fronts that it is taken. A front that gave
jobs before it heard so has them run next.
"""

import asyncio
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Container

import zmq
from batching import policy
from batching.job import MAX_ATTEMPTS, Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs
from batching.link import Companion, Want
from batching.settings import Settings

WANT, TAKEN, ANSWERS = b"w", b"t", b"a"
_WANT = struct.Struct("<QHHd")


def companions(_settings: Settings) -> list[Companion]:
    """Nothing runs beside."""
    return []


class FrontLink:
    """The queue of one front, and the workers that wait for jobs from it."""

    def __init__(self, index: int, workers: int, pending: Container[int],
                 deliver: Callable[[list[Answer]], None]) -> None:
        self._workers = workers
        self._pending = pending
        self._deliver = deliver
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.bind(f"ipc://front-{index}")
        self.retried = 0
        self._queue: deque[Job] = deque()
        self._idle: dict[bytes, Want] = {}
        self._served: dict[bytes, int] = {}
        self._asked: dict[bytes, int] = {}
        self._held: dict[bytes, dict[int, Job]] = {}
        self._gone: set[bytes] = set()
        self._turn_booked = False

    @property
    def waiting(self) -> int:
        """Jobs no worker has taken."""
        return len(self._queue)

    async def open(self) -> None:
        """Watch the socket."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.get(zmq.FD), self._turn)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)
        if not self._turn_booked:
            self._turn_booked = True
            self._loop.call_soon(self._turn)

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again, first in line, what it held; who used up the attempts gets a 500."""
        worker = name.encode()
        self._gone.add(worker)
        self._idle.pop(worker, None)
        lost = [job for job in self._held.pop(worker, {}).values() if job.id in self._pending]
        spent = [job for job in lost if job.id in started and job.attempt >= MAX_ATTEMPTS]
        self._deliver([Answer(job.id, 500, 0, 0, 0, 0, b"two workers died on this request") for job in spent])
        again = [job._replace(attempt=job.attempt + (job.id in started)) for job in lost if job not in spent]
        self._queue.extendleft(reversed(again))
        self.retried += len(again)
        self._turn()

    async def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket.get(zmq.FD))
        self._socket.close()

    def _turn(self) -> None:
        """Read all there is, give all there is. ZeroMQ's descriptor signals edges, so both go on until nothing is left."""
        self._turn_booked = False
        while True:
            while self._socket.get(zmq.EVENTS) & zmq.POLLIN:
                self._hear(*self._socket.recv_multipart(zmq.NOBLOCK))
            if not self._give():
                return

    def _hear(self, worker: bytes, kind: bytes, data: bytes) -> None:
        if worker in self._gone:
            return
        if kind == ANSWERS:
            answers = unpack_answers(data)
            held = self._held.get(worker, {})
            for answer in answers:
                held.pop(answer.id, None)
            self._deliver(answers)
        elif kind == TAKEN:
            self._idle.pop(worker, None)
        else:
            number, *want = _WANT.unpack(data)
            # A worker repeats its wish while it idles; one that was granted already is on its way.
            if number > self._served.get(worker, 0):
                self._asked[worker] = number
                self._idle[worker] = Want(*want)

    def _give(self) -> bool:
        """Send one batch to the worker idle for the shortest time; whether there was one to send."""
        while self._queue and self._queue[0].id not in self._pending:
            self._queue.popleft()
        if not self._queue or not self._idle:
            return False
        idle = len(self._idle)
        worker, want = self._idle.popitem()
        count = policy.share(len(self._queue), idle, self._workers, want.best, want.most, want.seconds)
        jobs: list[Job] = []
        while self._queue and len(jobs) < count:
            job = self._queue.popleft()
            if job.id in self._pending:
                jobs.append(job)
        self._served[worker] = self._asked[worker]
        self._held.setdefault(worker, {}).update((job.id, job) for job in jobs)
        self._socket.send_multipart([worker, pack_jobs(jobs)], copy=True)
        return True


class WorkerLink:
    """A worker's wish and the jobs it brings."""

    def __init__(self, name: str, fronts: int, workers: int) -> None:  # noqa: ARG002 the front does the sharing
        self._sockets = [self._connected(name, index) for index in range(fronts)]
        self._poller = zmq.Poller()
        for each in self._sockets:
            self._poller.register(each, zmq.POLLIN)
        self._poller.register(sys.stdin.fileno(), zmq.POLLIN)
        self._number = time.monotonic_ns()

    def take(self, want: Want, timeout_s: float) -> list[Job]:
        """Say what is wanted and wait for it; an empty list after the timeout or when the supervisor has something to say."""
        jobs, _ = self._received()
        if jobs:
            return jobs
        self._number += 1
        wish = _WANT.pack(self._number, *want)
        for each in self._sockets:
            each.send_multipart([WANT, wish])
        self._poller.poll(timeout_s * 1e3)
        jobs, silent = self._received()
        if jobs:
            for each in silent:
                each.send_multipart([TAKEN, b""])
        return jobs

    def give(self, answers: list[Answer]) -> None:
        """Send answers, one message for each front."""
        fronts: dict[int, list[Answer]] = {}
        for answer in answers:
            fronts.setdefault(answer.front, []).append(answer)
        for front, its in fronts.items():
            self._sockets[front].send_multipart([ANSWERS, pack_answers(its)])

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets:
            each.close()

    def _received(self) -> tuple[list[Job], list["zmq.Socket[bytes]"]]:
        """The jobs that have arrived, and the fronts none came from."""
        jobs: list[Job] = []
        silent = []
        for each in self._sockets:
            quiet = True
            while each.get(zmq.EVENTS) & zmq.POLLIN:
                jobs += unpack_jobs(each.recv(zmq.NOBLOCK))
                quiet = False
            if quiet:
                silent.append(each)
        return jobs, silent

    @staticmethod
    def _connected(name: str, index: int) -> "zmq.Socket[bytes]":
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, name.encode())
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, 20)
        dealer.connect(f"ipc://front-{index}")
        return dealer
