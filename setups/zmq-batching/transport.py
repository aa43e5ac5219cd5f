"""Fronts and workers talk directly over ZeroMQ: no broker hop.

Each front binds a ROUTER in the run's folder; each worker has a DEALER to every front. An idle worker says so to all
fronts; one that has jobs answers with a batch; the worker tells the other fronts that it is taken. A front that gave
a batch before it heard so has it run next.
"""

import asyncio
import struct
import sys
import time
from collections.abc import Callable

import zmq
from batching.backlog import Backlog
from batching.job import Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs
from batching.link import Companion
from batching.settings import Settings

IDLE, TAKEN, ANSWERS = b"i", b"t", b"a"
_READABLE = int(zmq.POLLIN)     # an enum's arithmetic is slow enough to be seen in a profile
_NUMBER = struct.Struct("<Q")


def companions(_settings: Settings) -> list[Companion]:
    """Nothing runs beside."""
    return []


def readable(socket: "zmq.Socket[bytes]") -> bool:
    """Whether a message waits; asking re-arms the socket's descriptor."""
    return bool(int(socket.get(zmq.EVENTS)) & _READABLE)


class FrontLink:
    """The workers that wait for jobs from one front, and what each holds."""

    trouble = ""

    def __init__(self, index: int, fronts: int, workers: int,  # noqa: ARG002 idle workers come forward by themselves
                 backlog: Backlog, deliver: Callable[[list[Answer]], None]) -> None:
        self._backlog = backlog
        self._deliver = deliver
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.bind(f"ipc://front-{index}")
        self._idle: dict[bytes, int] = {}
        self._served: dict[bytes, int] = {}
        self._held: dict[bytes, dict[int, Job]] = {}
        self._gone: set[bytes] = set()
        self._turn_booked = False
        self._later: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Watch the socket."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._turn)

    async def work(self) -> None:
        """The event loop does all; nothing here can end alone."""
        await asyncio.get_running_loop().create_future()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._backlog.put(job)
        if not self._turn_booked:
            self._turn_booked = True
            self._loop.call_soon(self._turn)

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again what it held, and hear it no more."""
        worker = name.encode()
        self._gone.add(worker)
        self._idle.pop(worker, None)
        self._deliver(self._backlog.put_back(list(self._held.pop(worker, {}).values()), started))
        self._turn()

    async def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _turn(self) -> None:
        """Read all there is, give all there is; ZeroMQ's descriptor signals edges, so until nothing is left."""
        self._turn_booked = False
        while True:
            while readable(self._socket):
                self._hear(*self._socket.recv_multipart(zmq.NOBLOCK))
            if not self._give():
                break
        if self._backlog.held_s and self._later is None:
            self._later = self._loop.call_later(self._backlog.held_s, self._waited)

    def _waited(self) -> None:
        self._later = None
        self._turn()

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
            number = _NUMBER.unpack(data)[0]
            # A worker repeats itself while it idles; the batch that answers this number may be on its way.
            if number > self._served.get(worker, 0):
                self._idle[worker] = number

    def _give(self) -> bool:
        """Send one batch to the worker idle for the shortest time; whether there was one to send."""
        if not self._idle:
            return False
        jobs = self._backlog.batch(len(self._idle))
        if not jobs:
            return False
        worker, number = self._idle.popitem()
        self._served[worker] = number
        self._held.setdefault(worker, {}).update((job.id, job) for job in jobs)
        self._socket.send_multipart([worker, pack_jobs(jobs)])
        return True


class WorkerLink:
    """A worker's ends towards all fronts."""

    def __init__(self, name: str, fronts: int) -> None:
        self._sockets = [self._connected(name, index) for index in range(fronts)]
        self._poller = zmq.Poller()
        for each in self._sockets:
            self._poller.register(each, zmq.POLLIN)
        self._poller.register(sys.stdin.fileno(), zmq.POLLIN)
        self._number = time.monotonic_ns()

    def take(self, timeout_s: float) -> list[list[Job]]:
        """Say that this worker idles and wait for batches; none after the timeout, or when the supervisor calls."""
        batches, _ = self._received()
        if batches:
            return batches
        self._number += 1
        for each in self._sockets:
            each.send_multipart([IDLE, _NUMBER.pack(self._number)])
        self._poller.poll(round(timeout_s * 1e3))
        batches, silent = self._received()
        if batches:
            for each in silent:
                each.send_multipart([TAKEN, b""])
        return batches

    def give(self, answers: list[Answer]) -> None:
        """Send the answers to one batch, all of one front."""
        self._sockets[answers[0].front].send_multipart([ANSWERS, pack_answers(answers)])

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets:
            each.close()

    def _received(self) -> tuple[list[list[Job]], list["zmq.Socket[bytes]"]]:
        """The batches that have arrived, and the fronts none came from."""
        batches: list[list[Job]] = []
        silent = []
        for each in self._sockets:
            quiet = True
            while readable(each):
                batches.append(unpack_jobs(each.recv(zmq.NOBLOCK)))
                quiet = False
            if quiet:
                silent.append(each)
        return batches, silent

    @staticmethod
    def _connected(name: str, index: int) -> "zmq.Socket[bytes]":
        dealer: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, name.encode())
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, 20)
        dealer.connect(f"ipc://front-{index}")
        return dealer
