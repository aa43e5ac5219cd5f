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
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent

from batching import policy
from batching.board import BATCH_BUCKETS, Board, worker_board
from batching.costs import SIZES, Costs
from batching.job import Answer, Job
from batching.link import Want
from batching.settings import Settings, from_environment

IDLE_S = 0.1
PRIME_S = 1.5
SHOW_EVERY = 16


class Worker:
    """One model and what is known about it. Runs jobs; knows no transport."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self._settings = settings
        self._board = board
        self._model: Any = model.load(settings.model_dir, settings.threads, settings.device)
        self._costs = Costs()
        self._batches = 0

    def prime(self, bodies: Sequence[bytes]) -> None:
        """Run golden bodies in batches of growing size, short ones and long ones; raises what the model raises."""
        order = sorted(bodies, key=len)
        begun = time.perf_counter()
        self._answers([model.decode(order[0])])
        measured: list[tuple[int, int, float]] = []
        for n in (size for size in SIZES if size <= self._settings.max_batch):
            for at in (0, (len(order) - 1) // 2, len(order) - 1):
                batch = [order[min(at, len(order) - n) + i] if n <= len(order) else order[i % len(order)] for i in range(n)]
                start = time.perf_counter()
                self._answers([model.decode(body) for body in batch])
                measured.append((n, max(map(len, batch)), time.perf_counter() - start))
            if time.perf_counter() - begun > PRIME_S:
                break
        self._costs.prime(measured)
        self._show()

    def want(self) -> Want:
        """What to ask for next."""
        size, gain = self._costs.typical_size, self._settings.gain
        best = policy.best_size(self._costs.predict, size, self._settings.max_batch, gain)
        self._board["best"] = best
        return Want(best, policy.window(self._costs.predict, size, best, gain), self._costs.predict(best, size))

    def company_s(self, jobs: list[Job], best: int, rate: float, utilisation: float, others_idle: bool) -> float:
        """Seconds to wait for more jobs before running these."""
        size, n = max(len(job.body) for job in jobs), len(jobs)
        if n < 2 or n >= best:
            return 0.0
        predict = self._costs.predict
        return policy.wait_s(n, best, others_idle, utilisation, rate, predict(1, size),
                             predict(n + 1, size) - predict(n, size), self._settings.max_wait_s)

    def groups(self, jobs: list[Job], best: int) -> list[list[Job]]:
        """Jobs in the order and company in which they should run."""
        if len(jobs) == 1:
            return [jobs]
        now_ns = time.monotonic_ns()
        plan = policy.plan([len(job.body) for job in jobs], [(job.deadline_ns - now_ns) / 1e9 for job in jobs],
                           [job.attempt > 1 for job in jobs], self._costs.predict, best, self._settings.gain)
        return [[jobs[i] for i in group] for group in plan]

    def run(self, jobs: list[Job], wait_ns: int) -> list[Answer]:
        """One answer for each job: expired ones are dropped, a bad item fails alone."""
        start_ns = time.monotonic_ns()
        answers: list[Answer] = []
        live: list[Job] = []
        items: list[Any] = []
        for job in jobs:
            if job.deadline_ns <= start_ns:
                self._board.add("expired")
                answers.append(_refusal(job, 504, "the deadline passed in the queue", start_ns, wait_ns))
                continue
            try:
                items.append(model.decode(job.body))
                live.append(job)
            except ValueError as error:
                self._board.add("bad")
                answers.append(_refusal(job, 400, str(error), start_ns, wait_ns))
            except Exception as error:  # noqa: BLE001 a workload's mistake must fail this item, not its neighbours
                self._board.add("failed")
                answers.append(_refusal(job, 500, _words(error), start_ns, wait_ns))
        return answers + self._predicted(live, items, start_ns, wait_ns) if live else answers

    def _predicted(self, jobs: list[Job], items: list[Any], start_ns: int, wait_ns: int) -> list[Answer]:
        n, size = len(jobs), max(len(job.body) for job in jobs)
        self._board.start((job.id for job in jobs), start_ns / 1e9, self._costs.predict(n, size))
        try:
            bodies = self._answers(items)
        except Exception as error:  # noqa: BLE001 predict may raise anything; the batch is retried item by item
            if n > 1:
                return [answer for job, item in zip(jobs, items, strict=True)
                        for answer in self._predicted([job], [item], time.monotonic_ns(), wait_ns)]
            self._board.add("failed")
            return [_refusal(jobs[0], 500, _words(error), start_ns, wait_ns)]
        finally:
            self._board.stop()
        model_ns = time.monotonic_ns() - start_ns
        self._learn(n, size, model_ns / 1e9)
        return [Answer(job.id, 200, max(0, start_ns - job.admitted_ns - wait_ns) // 1000, wait_ns // 1000,
                       model_ns // 1000, n, body) for job, body in zip(jobs, bodies, strict=True)]

    def _answers(self, items: list[Any]) -> list[bytes]:
        answers = model.predict(self._model, items)
        if len(answers) != len(items):
            raise RuntimeError(f"predict gave {len(answers)} answers for {len(items)} items")
        return [model.encode(answer) for answer in answers]

    def _learn(self, n: int, size: int, seconds: float) -> None:
        self._costs.observe(n, size, seconds)
        board = self._board
        board.add("batches")
        board.add("items", n)
        board.add("model_s", seconds)
        board.add(next((f"batch_{edge}" for edge in BATCH_BUCKETS if n <= edge), "batch_more"))
        self._batches += 1
        if self._batches % SHOW_EVERY == 0:
            self._show()

    def _show(self) -> None:
        for n in SIZES:
            self._board[f"cost_{n}"] = self._costs.predict(n, self._costs.typical_size)


class Pace:
    """How busy this worker is and how fast jobs come to it: moving averages over about a second."""

    def __init__(self) -> None:
        self.utilisation = 0.0
        self.rate = 0.0
        self._last_s = time.monotonic()

    def note(self, jobs: int, busy_s: float) -> None:
        """Take in one turn of the loop that ended now."""
        now_s = time.monotonic()
        span_s = max(now_s - self._last_s, 1e-6)
        self._last_s = now_s
        weight = min(1.0, span_s)
        self.utilisation += weight * (min(1.0, busy_s / span_s) - self.utilisation)
        self.rate += weight * (jobs / span_s - self.rate)


def serve(worker: Worker, link: "transport.WorkerLink", settings: Settings, others: list[Board]) -> None:
    """Pull, run, answer, until standard input closes."""
    pace = Pace()
    while not select.select([sys.stdin], [], [], 0)[0]:
        want = worker.want()
        jobs = link.take(want, IDLE_S)
        begun_s = time.monotonic()
        if not jobs:
            pace.note(0, 0.0)
            continue
        wait_ns = 0
        idle = any(board["ready"] and not board["busy_since_s"] for board in others)
        company_s = worker.company_s(jobs, want.best, pace.rate * settings.workers, pace.utilisation, idle)
        if company_s > 0:
            start_ns = time.monotonic_ns()
            jobs += link.take(Want(want.best - len(jobs), want.best - len(jobs), want.seconds), company_s)
            wait_ns = time.monotonic_ns() - start_ns
        for group in worker.groups(jobs, want.best):
            link.give(worker.run(group, wait_ns))
        pace.note(len(jobs), time.monotonic() - begun_s)


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
    worker = Worker(settings, board)
    worker.prime(golden_bodies(settings.workload))
    board["ready"] = 1
    line = sys.stdin.readline()
    if line:
        others = [worker_board(Path(), other) for other in range(settings.workers) if other != slot]
        link = transport.WorkerLink(name, int(line), settings.workers)
        serve(worker, link, settings, others)
        link.close()


def _refusal(job: Job, status: int, words: str, start_ns: int, wait_ns: int) -> Answer:
    queue_ns = max(0, start_ns - job.admitted_ns - wait_ns)
    return Answer(job.id, status, queue_ns // 1000, wait_ns // 1000, 0, 0, words.encode())


def _words(error: Exception) -> str:
    return f"the model failed on this item: {type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
