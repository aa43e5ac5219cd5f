"""What a queue with deadlines lets in, gives out and refuses."""

import sys
import time
from pathlib import Path

import pytest

SETUPS = Path(__file__).resolve().parents[2] / "setups"
sys.path.insert(0, str(SETUPS))

from batching.backlog import Backlog  # noqa: E402  the path above makes it importable
from batching.board import worker_board  # noqa: E402
from batching.costs import SIZES, Law  # noqa: E402
from batching.job import Answer, Job  # noqa: E402
from batching.settings import Settings, from_environment  # noqa: E402

BODY = b"x" * 100
EACH_S = 0.010      # alone; a batch of n takes 4 ms + n * 6 ms


class Queue:
    """A backlog over two workers whose costs are known, and what it refused."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.boards = [worker_board(folder, slot) for slot in range(2)]
        for board in self.boards:
            board.show_law(Law((0.004, 0.006, 0.0, 0.0), (1.0,) * len(SIZES)))
            board["ready"] = 1
        self.pending: dict[int, None] = {}
        self.refused: list[Answer] = []
        self.backlog = Backlog(settings, self.pending, self.boards, 1, self._refuse)

    def _refuse(self, answers: list[Answer]) -> None:
        self.refused += answers
        for answer in answers:
            self.pending.pop(answer.id)

    def put(self, job_id: int, slack_s: float) -> None:
        now_ns = time.monotonic_ns()
        self.pending[job_id] = None
        self.backlog.put(Job(job_id, now_ns, now_ns + int(slack_s * 1e9), 1, 0, BODY))


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    for name, value in {"WORKLOAD": str(tmp_path), "MODEL_DIR": str(tmp_path), "HOST": "127.0.0.1", "PORT": "1",
                        "THREADS": "1", "KNOB_WORKERS": "2", "KNOB_MAX_BATCH": "8", "SERVER_CORES": "2"}.items():
        monkeypatch.setenv(name, value)
    return Queue(tmp_path, from_environment())


def test_an_empty_queue_lets_everyone_in_whose_time_is_not_over(queue: Queue) -> None:
    assert queue.backlog.room(BODY, 0.001)


def test_a_queue_lets_in_only_who_can_be_answered_in_time(queue: Queue) -> None:
    for job_id in range(40):
        queue.put(job_id, 10.0)
    # 40 jobs in batches of at most 8, 52 ms each, on two workers: 130 ms, and one and a half batches.
    assert not queue.backlog.room(BODY, 0.2)
    assert queue.backlog.room(BODY, 0.4)


def test_a_long_one_is_not_taken_for_what_stands_before_it(queue: Queue) -> None:
    for board in queue.boards:
        board.show_law(Law((0.0, 0.0, 6e-5, 0.0), (1.0,) * len(SIZES)))     # 6 ms each, 0.6 s the long one
    queue.backlog.refresh()
    for job_id in range(40):
        queue.put(job_id, 10.0)
    assert queue.backlog.room(100 * BODY, 1.5)
    assert not queue.backlog.room(100 * BODY, 0.7)
    assert queue.backlog.room(BODY, 0.7)


def test_what_workers_show_anew_is_taken_in_at_the_next_refresh(queue: Queue) -> None:
    for job_id in range(40):
        queue.put(job_id, 10.0)
    for board in queue.boards:
        board.show_law(Law((0.002, 0.003, 0.0, 0.0), (1.0,) * len(SIZES)))     # twice as fast as before
    assert not queue.backlog.room(BODY, 0.2)
    queue.backlog.refresh()
    assert queue.backlog.room(BODY, 0.2)


def test_who_cannot_be_answered_in_time_any_more_is_refused_before_the_model_runs(queue: Queue) -> None:
    queue.put(1, EACH_S / 2)
    queue.put(2, 10.0)
    assert [job.id for job in queue.backlog.batch(1)] == [2]
    assert [(answer.id, answer.status) for answer in queue.refused] == [(1, 504)]


def test_a_last_one_is_tried_until_its_time_is_over_for_a_learned_cost_may_be_wrong(queue: Queue) -> None:
    queue.put(1, EACH_S / 2)
    assert [job.id for job in queue.backlog.batch(1)] == [1]
    queue.put(2, -0.001)
    assert queue.backlog.batch(1) == []
    assert [(answer.id, answer.status) for answer in queue.refused] == [(2, 504)]


def test_who_gave_up_is_neither_run_nor_refused_nor_counted(queue: Queue) -> None:
    for job_id in range(40):
        queue.put(job_id, 10.0)
    queue.pending.clear()
    assert queue.backlog.room(BODY, 0.02)
    assert queue.backlog.batch(1) == []
    assert queue.refused == []


def test_a_batch_ends_before_the_first_deadline_in_it(queue: Queue) -> None:
    queue.put(1, 0.030)
    for job_id in range(2, 10):
        queue.put(job_id, 10.0)
    batch = queue.backlog.batch(1)
    assert batch[0].id == 1
    assert 0.004 + 0.006 * len(batch) < 0.030


@pytest.mark.parametrize(("busy_s", "waits"), [(0.0, False), (2.0, True)])
def test_company_is_waited_for_only_where_workers_were_busy(queue: Queue, busy_s: float, waits: bool) -> None:
    for board in queue.boards:
        board["model_s"] += busy_s
    for job_id in range(1200):      # a second's, of which all gave up
        queue.put(job_id, 10.0)
    queue.pending.clear()
    assert queue.backlog.batch(1) == []
    for job_id in (2001, 2002):
        queue.put(job_id, 10.0)
    queue.backlog.refresh()
    assert (queue.backlog.batch(1) == [], queue.backlog.held_s > 0) == (waits, waits)
