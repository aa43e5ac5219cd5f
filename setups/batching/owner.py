"""The one process that owns a device and its model: it computes batches that workers prepared, and nothing else.

`python -m batching.owner SLOT PARENT_PID`, started by the supervisor in the run's folder. One thread talks to workers
and joins what they bring while two compute, so that one has the next batch copied and started while the other waits for
its own: the device waits for no Python.
"""

import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import model
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent
from replica.timing import device_ms

from batching import halves
from batching.board import Board, owner_board
from batching.device import LINE, address
from batching.halves import Arrays
from batching.region import Region
from batching.settings import Settings, from_environment

AHEAD = 2               # batches: one runs, one lies ready on the device; more would be formed too early to be large
WASTE = 1.5             # padding to the longest may make a batch larger by this: then it runs without the longest
WARM_S = 10.0           # at most, before serving: a device may build a graph for each shape
SWITCH_S = 5e-4         # a thread that computes gets Python's lock this soon
RATE = 0.1
DOUBTFUL = 8            # batches that failed in a row: then a golden item tells whether the device still computes


@dataclass(frozen=True)
class Piece:
    """What one worker brought. `alone`: it is not joined with others, for it may have killed an owner."""

    worker: socket.socket
    region: Region
    arrays: Arrays
    rows: int
    alone: bool


@dataclass
class Batch:
    """Pieces joined, and what became of them: `outputs` or `error`."""

    pieces: list[Piece]
    arrays: Arrays
    begun_s: float = 0.0
    seconds: float = 0.0
    copy_ms: float = 0.0
    kernel_ms: float = 0.0
    outputs: Arrays | None = None
    error: str = ""

    @property
    def rows(self) -> int:
        """How many items it holds."""
        return sum(piece.rows for piece in self.pieces)


def company(waiting: Sequence[Piece], limit: int) -> list[int]:
    """Which of the waiting pieces run together, as indices: the oldest, and in order of age whatever fits beside it
    into `limit` rows without making all WASTE times as large as they are apart."""
    oldest = waiting[0]
    chosen, rows = [0], oldest.rows
    apart, shape = halves.size(oldest.arrays), halves.inner(oldest.arrays)
    kind = halves.kind(oldest.arrays)
    for i, piece in enumerate(waiting if not oldest.alone else ()):
        if i == 0 or piece.alone or rows + piece.rows > limit or halves.kind(piece.arrays) != kind:
            continue
        both = halves.widest(shape, halves.inner(piece.arrays))
        if (rows + piece.rows) * halves.cells(both) <= WASTE * (apart + halves.size(piece.arrays)):
            chosen.append(i)
            rows, shape, apart = rows + piece.rows, both, apart + halves.size(piece.arrays)
    return chosen


class Computer:
    """The model on its device, in threads of its own. Batches come by `work` and go by `done`; `bell` tells of it."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self._settings = settings
        self._board = board
        self._model: Any = model.load(settings.model_dir, settings.threads, settings.device)
        self._expected_s: dict[int, float] = {}
        self._lock = threading.Lock()
        self._running: dict[int, float] = {}
        self._busy_until_s = 0.0
        self._failed = 0
        self._golden: Arrays = {}
        self.work: SimpleQueue[Batch] = SimpleQueue()
        self.done: SimpleQueue[Batch] = SimpleQueue()
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)

    def warm(self, bodies: Sequence[bytes]) -> None:
        """Compute golden batches of every power of two, of short and of long bodies, so that what a device builds or
        captures once for a shape is there; raises what the model raises."""
        host = model.load_host(self._settings.model_dir)
        until_s = time.monotonic() + WARM_S
        items = [model.decode(body) for body in sorted(bodies, key=len)]
        self._golden = model.prepare(host, items[:1])
        for n in (1 << power for power in range(self._settings.device_batch.bit_length())):
            for chosen in (items[:1], items[-1:]):
                prepared = model.prepare(host, chosen * n)
                for _ in range(2):
                    began_s = time.monotonic()
                    model.finish(host, model.compute(self._model, prepared))
                self._expected_s[n.bit_length()] = time.monotonic() - began_s
                if time.monotonic() > until_s:
                    return

    def run(self) -> None:
        """Compute what comes, for ever."""
        while True:
            batch = self.work.get()
            for piece in batch.pieces:
                piece.region.begun = True
            expected_s = self._begin(batch)
            try:
                batch.outputs = model.compute(self._model, batch.arrays)
            except Exception as error:      # the workers hear of it, and try their items one by one
                batch.error = f"{type(error).__name__}: {error}"
                self._doubt()
            self._end(batch, expected_s)
            self.done.put(batch)
            os.eventfd_write(self.bell, 1)

    def _doubt(self) -> None:
        """After a row of failures try a golden item, and end this process where that fails, too: what a device lost,
        only a new process gets back, and the supervisor starts one."""
        self._failed += 1
        if self._failed % DOUBTFUL:
            return
        try:
            model.compute(self._model, self._golden)
        except Exception as error:
            print(f"the device computes no more, not even a golden item: {type(error).__name__}: {error}",
                  file=sys.stderr, flush=True)
            os._exit(1)

    def _begin(self, batch: Batch) -> float:
        """Note that it runs; the seconds it should take."""
        expected_s = self._expected_s.get(batch.rows.bit_length(), 0.0)
        with self._lock:
            batch.begun_s = time.monotonic()
            self._running[id(batch)] = batch.begun_s
            self._show(expected_s)
        return expected_s

    def _end(self, batch: Batch, expected_s: float) -> None:
        """Note what it took. A model that does not tell its own times has computed all the while."""
        told = device_ms(self._model)
        with self._lock:
            now_s = time.monotonic()
            del self._running[id(batch)]
            # Two that run at once keep the device busy once.
            busy_s = now_s - max(batch.begun_s, self._busy_until_s)
            self._busy_until_s = now_s
            batch.seconds = now_s - batch.begun_s
            batch.copy_ms = told.get("copy", 0.0)
            batch.kernel_ms = told.get("kernel", busy_s * 1e3)
            if not batch.error:
                self._failed = 0
                self._expected_s[batch.rows.bit_length()] = expected_s + RATE * (batch.seconds - expected_s)
                self._board.count_batch(batch.rows, busy_s)
            self._show(expected_s)

    def _show(self, expected_s: float) -> None:
        self._board["expected_s"] = expected_s
        self._board["busy_since_s"] = min(self._running.values(), default=0.0)


class Owner:
    """The workers' connections, what they brought, and what is being computed."""

    def __init__(self, computer: Computer, limit: int, listening: socket.socket) -> None:
        self._computer = computer
        self._limit = limit
        self._listening = listening
        self._waiting: deque[Piece] = deque()
        self._ahead = 0
        self._most = AHEAD
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ, None)
        self._selector.register(computer.bell, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Take, join, hand over, answer, for ever."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listening:
                    self._welcome()
                elif key.fileobj == self._computer.bell:
                    self._answer()
                else:
                    self._hear(key.fileobj, key.data)
            while self._waiting and self._ahead < (1 if self._waiting[0].alone else self._most):
                chosen = company(self._waiting, self._limit)
                # Nothing runs beside what may have killed an owner.
                self._most = 1 if self._waiting[0].alone else AHEAD
                pieces = [self._waiting[i] for i in chosen]
                for i in reversed(chosen):
                    del self._waiting[i]
                self._hand_over(pieces)

    def _welcome(self) -> None:
        connection, _ = self._listening.accept()
        _, descriptors, _, _ = socket.recv_fds(connection, LINE, 1)
        if descriptors:
            self._selector.register(connection, selectors.EVENT_READ, Region(descriptors[0]))
        else:
            connection.close()

    def _hear(self, worker: socket.socket, region: Region) -> None:
        try:
            line = worker.recv(LINE)
        except OSError:
            line = b""
        if not line:        # it died; what it brought is computed for nobody
            self._selector.unregister(worker)
            worker.close()
            region.close()
            return
        told = json.loads(line)
        self._waiting.append(Piece(worker, region, region.get(told["arrays"]), told["rows"], told["alone"]))

    def _hand_over(self, pieces: list[Piece]) -> None:
        self._ahead += 1
        self._computer.work.put(Batch(pieces, halves.joined([piece.arrays for piece in pieces])))

    def _answer(self) -> None:
        os.eventfd_read(self._computer.bell)
        while not self._computer.done.empty():
            batch = self._computer.done.get()
            self._ahead -= 1
            self._most = AHEAD
            if batch.error and len(batch.pieces) > 1:      # it may be the fault of one
                for piece in batch.pieces:
                    self._hand_over([piece])
            else:
                self._reply(batch)

    def _reply(self, batch: Batch) -> None:
        parts: list[Arrays] = []
        if batch.outputs is not None:
            try:
                parts = halves.parted(batch.outputs, [piece.rows for piece in batch.pieces])
            except ValueError as error:
                batch.error = str(error)
        for i, piece in enumerate(batch.pieces):
            told: dict[str, Any] = {"error": batch.error} if batch.error else {
                "arrays": piece.region.put(parts[i]), "begun_s": batch.begun_s, "copy_ms": batch.copy_ms,
                "kernel_ms": batch.kernel_ms, "rows": batch.rows}
            try:
                piece.worker.send(json.dumps(told).encode())
            except OSError:     # it died
                continue


def main() -> None:
    """Load, warm, listen, say ready, serve until killed."""
    slot, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    # A stop signal meant for the whole group must not end it while workers hold jobs; the supervisor ends it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = from_environment()
    board = owner_board(Path(), slot)
    board["busy_since_s"] = 0.0
    computer = Computer(settings, board)
    computer.warm(golden_bodies(settings.workload))
    Path(address(slot)).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address(slot))
    listening.listen(settings.workers + 1)
    sys.setswitchinterval(SWITCH_S)
    for _ in range(AHEAD):
        threading.Thread(target=computer.run, daemon=True).start()
    board["ready"] = 1
    Owner(computer, settings.device_batch, listening).serve()


if __name__ == "__main__":
    main()
