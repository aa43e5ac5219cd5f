"""The boards of all processes as one Prometheus text (exposition format 0.0.4), whichever front is asked."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from batching.board import BATCH_BUCKETS, CODES, Board, front_board, owner_board, supervisor_board, worker_board
from batching.costs import SIZES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(folder: Path, workers: int, fronts: int, owners: int) -> str:
    """All figures of a deployment whose boards lie in `folder`; batches are those of `owners` where there are any."""
    worker_boards = [worker_board(folder, slot) for slot in range(workers)]
    front_boards = [front_board(folder, index) for index in range(fronts)]
    owner_boards = [owner_board(folder, slot) for slot in range(owners)]
    lines = [*_front_lines(front_boards), *_worker_lines(worker_boards), *_batch_lines(owner_boards or worker_boards),
             *_cost_lines(worker_boards)]
    if owners:
        lines += _figure("tailrace_device_seconds_total", "counter", "Seconds in which a device's owner computed",
                         _sum(owner_boards, "model_s"))
    supervisor = supervisor_board(folder)
    lines += _figure("tailrace_worker_deaths_total", "counter", "Worker processes that ended unasked",
                     supervisor["deaths"])
    lines += _figure("tailrace_workers_hung_total", "counter", "Worker processes killed because a batch hung",
                     supervisor["hung"])
    return "\n".join(lines) + "\n"


def _front_lines(boards: list[Board]) -> Iterator[str]:
    yield from _head("tailrace_requests_total", "counter", "Answers by HTTP status")
    for code in CODES:
        yield f'tailrace_requests_total{{code="{code}"}} {_sum(boards, f"code_{code}")}'
    yield from _figure("tailrace_queue_depth", "gauge", "Jobs admitted and not yet taken by a worker",
                       _sum(boards, "waiting"))
    yield from _figure("tailrace_unanswered", "gauge", "Jobs admitted and not yet answered", _sum(boards, "unanswered"))
    yield from _figure("tailrace_retries_total", "counter", "Jobs queued again after a worker or the broker died",
                       _sum(boards, "retried"))


def _worker_lines(boards: list[Board]) -> Iterator[str]:
    yield from _figure("tailrace_workers_alive", "gauge", "Workers that have answered a golden request and live",
                       _sum(boards, "ready"))
    yield from _figure("tailrace_expired_total", "counter", "Jobs past their deadline, dropped before the model",
                       _sum(boards, "expired"))
    yield from _figure("tailrace_bad_items_total", "counter", "Bodies refused by the model's decode",
                       _sum(boards, "bad"))
    yield from _figure("tailrace_failed_items_total", "counter", "Items on which predict raised",
                       _sum(boards, "failed"))
    yield from _figure("tailrace_model_seconds_total", "counter", "Seconds in decode, predict and encode",
                       _sum(boards, "model_s"))


def _batch_lines(boards: list[Board]) -> Iterator[str]:
    yield from _head("tailrace_batch_size", "histogram", "Items per batch that ran")
    below = 0.0
    for size in BATCH_BUCKETS:
        below += _sum(boards, f"batch_{size}")
        yield f'tailrace_batch_size_bucket{{le="{size}"}} {below}'
    yield f'tailrace_batch_size_bucket{{le="+Inf"}} {_sum(boards, "batches")}'
    yield f'tailrace_batch_size_sum {_sum(boards, "items")}'
    yield f'tailrace_batch_size_count {_sum(boards, "batches")}'


def _cost_lines(boards: list[Board]) -> Iterator[str]:
    yield from _head("tailrace_batch_best_size", "gauge", "Batch size a worker aims at")
    for slot, board in enumerate(boards):
        yield f'tailrace_batch_best_size{{worker="{slot}"}} {board["best"]}'
    yield from _head("tailrace_batch_cost_seconds", "gauge", "Learned seconds of a batch of typical bodies")
    for slot, board in enumerate(boards):
        for size in SIZES:
            yield f'tailrace_batch_cost_seconds{{worker="{slot}",size="{size}"}} {board[f"cost_{size}"]:.6f}'


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}."
    yield f"# TYPE {name} {kind}"


def _figure(name: str, kind: str, words: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, words)
    yield f"{name} {value}"


def _sum(boards: Iterable[Board], field: str) -> float:
    return sum(board[field] for board in boards)
