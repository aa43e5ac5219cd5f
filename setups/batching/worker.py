"""An ML worker: loads the model, learns what batches cost, then pulls jobs and answers them until its input closes.

`python -m batching.worker SLOT NAME PARENT_PID`, started by the supervisor in the run's folder.
"""

import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
import transport
from replica.collector import Collector
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent

from batching import policy
from batching.board import Board, worker_board
from batching.costs import RATE, SIZES, Costs
from batching.engines import engine
from batching.job import Answer, Job
from batching.link import OwnerLostError
from batching.settings import Settings, from_environment

IDLE_S = 0.1
PRIME_S = 0.6
STALE = 2
STRETCH_MOST = 10.0
SHOW_EVERY = 16


class Worker:
    """One model and what is known about it. Runs jobs; knows no transport."""

    def __init__(self, settings: Settings, slot: int, board: Board) -> None:
        self._settings = settings
        self._board = board
        self._engine = engine(settings, slot, self._alive)
        self._costs = Costs()
        # On a CPU work is CPU seconds: what else the machine does meanwhile says nothing about a batch size. How much
        # longer it takes by the wall is learned apart.
        self._clock = time.process_time if settings.device == "cpu" or settings.owners else time.perf_counter
        self._stretch = 1.0
        self._collector = Collector()
        self._batches = 0
        self._ran: list[tuple[int, float, int, float, float]] = []

    def prime(self, bodies: Sequence[bytes]) -> None:
        """Run golden bodies in batches of growing size, of short, long and mixed ones; raises what the model raises.

        Ends when growing has stopped to pay or PRIME_S is over: serving teaches the rest.
        """
        order = sorted(bodies, key=len)
        self._engine.answers([model.decode(order[0])], False)
        begun = time.perf_counter()
        least: dict[tuple[int, float, int], float] = {}
        each: list[float] = []
        tried: list[int] = []
        for n in (1 << power for power in range(self._settings.max_batch.bit_length())):
            tried.append(n)
            shortest_s, longest_s, *_ = self._timed(order, n, least)
            each.append((shortest_s + longest_s) / n)
            stopped = len(each) > STALE and min(each[-STALE:]) > min(each[:-STALE]) * (1 - self._settings.gain)
            if stopped or time.perf_counter() - begun > PRIME_S / 2:
                break
        # All sizes in turn, again: what the machine does meanwhile then falls on every size alike.
        for n in tried:
            if time.perf_counter() - begun < PRIME_S:
                self._timed(order, n, least)
        self._costs.prime([(*place, seconds) for place, seconds in least.items()])
        self._show()

    def _timed(self, order: Sequence[bytes], n: int, least: dict[tuple[int, float, int], float]) -> list[float]:
        """Seconds of n bodies: the shortest, the longest, and some of all lengths; `least` keeps each least one."""
        taken = []
        ends = max(0, len(order) - n)
        for at, step in ((0, 1.0), (ends, 1.0), *([(0, (len(order) - 1) / (n - 1))] if n > 1 else ())):
            batch = [order[round(at + i * step) % len(order)] for i in range(n)]
            start = self._clock()
            self._engine.answers([model.decode(body) for body in batch], False)
            taken.append(self._clock() - start)
            place = (n, sum(map(len, batch)) / n, max(map(len, batch)))
            least[place] = min(taken[-1], least.get(place, taken[-1]))
        return taken

    def run(self, jobs: list[Job]) -> list[Answer]:
        """One answer for each job: expired ones are dropped, a bad item fails alone."""
        start_ns = time.monotonic_ns()
        answers: list[Answer] = []
        live: list[Job] = []
        items: list[Any] = []
        for job in jobs:
            if job.deadline_ns <= start_ns:
                self._board.add("expired")
                answers.append(_refusal(job, 504, "the deadline passed in the queue", start_ns))
                continue
            try:
                items.append(model.decode(job.body))
                live.append(job)
            except ValueError as error:
                self._board.add("bad")
                answers.append(_refusal(job, 400, str(error), start_ns))
            except Exception as error:     # a workload's mistake fails its item, not the neighbours
                self._board.add("failed")
                answers.append(_refusal(job, 500, _words(error), start_ns))
        return answers + self._predicted(live, items, start_ns) if live else answers

    def _predicted(self, jobs: list[Job], items: list[Any], start_ns: int, alone: bool = False) -> list[Answer]:
        n, longest = len(jobs), max(len(job.body) for job in jobs)
        mean = sum(len(job.body) for job in jobs) / n
        expected_s = self._stretch * self._costs.predict(n, mean, longest)
        self._board.start((job.id for job in jobs), start_ns / 1e9, expected_s)
        start_s, collected_s = self._clock(), self._collector.spent_s
        try:
            done = self._engine.answers(items, alone)
        except Exception as error:     # the batch is retried item by item
            lost = isinstance(error, OwnerLostError)
            if n > 1 or (lost and not alone):
                return [answer for job, item in zip(jobs, items, strict=True)
                        for answer in self._predicted([job], [item], time.monotonic_ns(), alone=lost)]
            self._board.add("failed")
            return [_refusal(jobs[0], 500, _words(error), start_ns)]
        finally:
            self._board.stop()
        model_ns = time.monotonic_ns() - start_ns
        self._ran.append((n, mean, longest, max(self._clock() - start_s, 1e-6), model_ns / 1e9))
        self._board.count_batch(n, model_ns / 1e9)
        gc_us = round((self._collector.spent_s - collected_s) * 1e6)
        waited_us, copy_us, kernel_us = int(done.waited_s * 1e6), round(done.copy_ms * 1e3), round(done.kernel_ms * 1e3)
        return [Answer(job.id, 200, _queue_us(job, start_ns) + waited_us, job.wait_us, model_ns // 1000 - waited_us,
                       done.rows, body, copy_us, kernel_us, gc_us) for job, body in zip(jobs, done.bodies, strict=True)]

    def _alive(self) -> None:
        """What waits for a device does not hang."""
        if self._board["busy_since_s"]:
            self._board["busy_since_s"] = time.monotonic()

    def learn(self) -> None:
        """Take in what the batches since the last call cost; no answer need wait for it."""
        for n, mean, longest, work_s, seconds in self._ran:
            self._costs.observe(n, mean, longest, work_s)
            self._stretch += RATE * (min(seconds / work_s, STRETCH_MOST) - self._stretch)
            self._batches += 1
            if self._batches % SHOW_EVERY == 0:
                self._show()
        self._ran.clear()

    def _show(self) -> None:
        size = self._costs.typical_size
        self._board["best"] = policy.best_size(self._costs.predict, size, self._settings.max_batch, self._settings.gain)
        for n in SIZES:
            self._board[f"cost_{n}"] = self._stretch * self._costs.predict(n, size, size)
        self._board.show_law(self._costs.law(self._stretch))


def serve(worker: Worker, link: "transport.WorkerLink") -> None:
    """Pull, run, answer, until standard input closes."""
    while not select.select([sys.stdin], [], [], 0)[0]:
        for batch in link.take(IDLE_S):
            link.give(worker.run(batch))
            worker.learn()


def main() -> None:
    """Load, prime, say ready, learn how many fronts there are, serve."""
    slot, name, parent = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    die_with_parent(parent)
    # A stop signal meant for the whole group must not end a worker that still holds jobs; the supervisor ends it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = from_environment()
    board = worker_board(Path(), slot)
    board.stop()
    worker = Worker(settings, slot, board)
    worker.prime(golden_bodies(settings.workload))
    board["ready"] = 1
    line = sys.stdin.readline()
    if line:
        link = transport.WorkerLink(name, int(line))
        serve(worker, link)
        link.close()


def _refusal(job: Job, status: int, words: str, start_ns: int) -> Answer:
    return Answer(job.id, status, _queue_us(job, start_ns), job.wait_us, 0, 0, words.encode())


def _queue_us(job: Job, start_ns: int) -> int:
    return max(0, (start_ns - job.admitted_ns) // 1000 - job.wait_us)


def _words(error: Exception) -> str:
    return f"the model failed on this item: {type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
