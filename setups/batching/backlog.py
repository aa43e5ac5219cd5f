"""The jobs of one front that no worker has, and what goes next."""

import math
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from itertools import islice

from batching import policy
from batching.board import Board
from batching.costs import Law, mean_law
from batching.job import MAX_ATTEMPTS, Answer, Job
from batching.settings import Settings

LOOK = 64           # jobs looked at for like lengths: more found no better company in simulations
TYPICAL = 16        # jobs whose mean length stands for the queue's
ALONE_EVERY = 32    # batches: one is of one job, so that what a batch is weighed against does not grow stale
MEMORY_S = 1.0      # of the moving averages
ROOM = 0.75         # of its time is what a request may expect to need: expectations err, and answers travel
RESERVE_S = 3e-3    # of its time is for the answer's way back


class Backlog:
    """A queue that knows what batches cost. `pending` holds the ids somebody still waits for; others are skipped.

    `held_s` is, after an empty `batch`, the seconds until it is worth asking again (0: when something changes).
    `refuse` takes the answers to jobs that are dropped. `fronts` share the workers, each with a queue of its own.
    """

    def __init__(self, settings: Settings, pending: Container[int], boards: Sequence[Board], fronts: int,
                 refuse: Callable[[list[Answer]], None]) -> None:
        self._settings = settings
        self._pending = pending
        self._boards = boards
        self._fronts = fronts
        self._refuse = refuse
        self._workers = 1
        self._jobs: deque[Job] = deque()
        self._best: dict[int, tuple[int, int]] = {}
        self._shown: list[float] = []
        self._arrived = 0
        self._rate = 0.0
        self._utilisation = 0.0
        self._busy_s = self._model_s()
        self._seen_s = time.monotonic()
        self._since_ns = 0
        self._given = 0
        self.held_s = 0.0
        self.retried = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Queue a new job."""
        self._jobs.append(job)
        self._arrived += 1

    def put_back(self, lost: Sequence[Job], started: Container[int]) -> list[Answer]:
        """Queue again, first in line, what a dead worker held; a 500 for each that has used up its attempts.

        A job in `started` was running when the worker died; it runs alone from now on.
        """
        lost = [job for job in lost if job.id in self._pending]
        spent = {job.id for job in lost if job.id in started and job.attempt >= MAX_ATTEMPTS}
        again = [job._replace(attempt=job.attempt + (job.id in started)) for job in lost if job.id not in spent]
        self._jobs.extendleft(reversed(again))
        self.retried += len(again)
        return [Answer(job_id, 500, 0, 0, 0, 0, b"two workers died on this request") for job_id in spent]

    def refresh(self) -> None:
        """Take in what the workers have learned and how busy all are; called every 20 ms or so, more seldom while
        nothing is queued."""
        ready = [board for board in self._boards if board["ready"]]
        self._workers = max(len(ready), 1)
        shown = [board["shown"] for board in ready]
        if ready and shown != self._shown:
            self._law = mean_law([board.law() for board in ready])
            self._best.clear()
            self._shown = shown
        now_s = time.monotonic()
        span_s = max(now_s - self._seen_s, 1e-3)
        busy_s = self._model_s()
        new = -math.expm1(-span_s / MEMORY_S)
        self._rate += new * (self._arrived / span_s - self._rate)
        self._utilisation += new * ((busy_s - self._busy_s) / span_s / self._workers - self._utilisation)
        self._arrived, self._seen_s, self._busy_s = 0, now_s, busy_s

    def _model_s(self) -> float:
        return sum(board["model_s"] for board in self._boards)

    def ahead(self, workers: int) -> int:
        """How many batches a front that cannot see idle workers keeps under way."""
        size = len(self._jobs[0].body) if self._jobs else 0
        return policy.ahead(workers, self._law.predict(self._best_size(size), size, size), self._settings.cores)

    def room(self, body: bytes, timeout_s: float) -> bool:
        """Whether a request that came now would be answered in time, with the queue as it is: better to refuse it at
        once than to make it wait for nothing."""
        self._drop()
        if not self._jobs:
            return True
        first = [len(job.body) for job in islice(self._jobs, TYPICAL)]
        typical, own, predict = sum(first) // len(first), len(body), self._law.predict
        best = self._best_size(typical)
        batch_s, queued = predict(best, typical, typical), len(self._jobs) * self._fronts
        queue_s = policy.expected_s(queued, self._workers, best, batch_s)
        longer_s = max(predict(1, own, own) - predict(1, typical, typical), 0.0)
        return queue_s + longer_s <= ROOM * timeout_s

    def batch(self, idle: int) -> list[Job]:
        """The next batch for one of `idle` workers; empty when there is none, or while it waits for company."""
        self.held_s = 0.0
        self._drop()
        if not self._jobs:
            return []
        oldest = self._jobs[0]
        size = len(oldest.body)
        self._given += 1
        alone = len(self._jobs) == 1 or oldest.attempt > 1 or self._given % ALONE_EVERY == 0
        best = 1 if alone else self._best_size(size)    # a search, which a lone request need not wait for
        if best <= 1:
            self._since_ns = 0
            return [self._jobs.popleft()]
        if self._company(idle, best, size):
            return []
        seconds = self._law.predict(best, size, size)
        most = policy.share(len(self._jobs), idle, self._workers, best, self._full_size(size), seconds)
        wait_us = (time.monotonic_ns() - self._since_ns) // 1000 if self._since_ns else 0
        self._since_ns = 0
        jobs = self._picked(most)
        return [job._replace(wait_us=wait_us) for job in jobs] if wait_us else jobs

    def _drop(self) -> None:
        """Take off the head of the queue what nobody waits for, and refuse what cannot be answered in time any more.

        A last one is tried as long as its time is not over: refusing it would serve nobody, and only what runs can tell
        that the learned cost was wrong.
        """
        now_ns = time.monotonic_ns()
        while self._jobs:
            job = self._jobs[0]
            size = len(job.body)
            if job.id in self._pending:
                needed_s = self._law.predict(1, size, size) + RESERVE_S if len(self._jobs) > 1 else 0.0
                if (job.deadline_ns - now_ns) / 1e9 >= needed_s:
                    return
                self._refuse([Answer(job.id, 504, (now_ns - job.admitted_ns) // 1000, 0, 0, 0,
                                     b"the deadline would pass before the answer")])
            self._jobs.popleft()

    def _picked(self, most: int) -> list[Job]:
        seen = [self._jobs.popleft() for _ in range(min(len(self._jobs), max(LOOK, most)))]
        fit = [job for job in seen if job.attempt == 1 and job.id in self._pending]
        now_ns = time.monotonic_ns()
        slack_s = [(job.deadline_ns - now_ns) / 1e9 - RESERVE_S for job in fit]
        chosen = policy.pick([len(job.body) for job in fit], slack_s,
                             self._law.predict, most, self._settings.gain)
        jobs = [fit[i] for i in chosen]
        taken = {job.id for job in jobs}
        self._jobs.extendleft(job for job in reversed(seen) if job.id not in taken)
        return jobs

    def _company(self, idle: int, best: int, size: int) -> bool:
        """Whether to hold the queue back for another job; then `held_s` says for how long at most."""
        taken = len(self._jobs)
        now_ns = time.monotonic_ns()
        left_s = self._settings.max_wait_s - ((now_ns - self._since_ns) / 1e9 if self._since_ns else 0.0)
        if taken >= best or left_s <= 0:
            return False
        predict = self._law.predict
        wait_s = policy.wait_s(taken, best, idle > 1, self._utilisation, self._rate, predict(1, size, size),
                               predict(taken + 1, size, size) - predict(taken, size, size), left_s)
        if wait_s <= 0:
            return False
        self._since_ns = self._since_ns or now_ns
        self.held_s = wait_s
        return True

    def _best_size(self, size: int) -> int:
        return self._sizes(size)[0]

    def _full_size(self, size: int) -> int:
        return self._sizes(size)[1]

    def _sizes(self, size: int) -> tuple[int, int]:
        # Bodies of nearly the same length share a result: a search costs as much as a small model.
        near = math.ceil(size / 16) * 16
        found = self._best.get(near)
        if found is None:
            gain, limit = self._settings.gain, self._settings.max_batch
            found = (policy.best_size(self._law.predict, near, limit, gain),
                     policy.best_size(self._law.predict, near, limit, gain * policy.FULL))
            self._best[near] = found
        return found

    _law: Law
