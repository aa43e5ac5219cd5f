"""Figures that a process reads while another writes them."""

import subprocess
import sys
import time
from pathlib import Path

SETUPS = Path(__file__).resolve().parents[2] / "setups"
sys.path.insert(0, str(SETUPS))

from batching.board import Board, worker_board  # noqa: E402  the path above makes it importable

LOOKS = 300_000
# Batches of no length, one after the other, until killed.
WORKER = """
import sys, time
from pathlib import Path
from batching.board import worker_board
board = worker_board(Path(sys.argv[1]), 0)
while True:
    board.start((7,), time.monotonic(), 0.1)
    board.stop()
"""


def seen(board: Board) -> list[float]:
    """How long the present batch has run, looked at again and again."""
    return [board.busy_s(time.monotonic()) for _ in range(LOOKS)]


def test_a_batch_that_ends_while_it_is_looked_at_does_not_hang(tmp_path: Path) -> None:
    board = worker_board(tmp_path, 0)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env={"PYTHONPATH": str(SETUPS)})
    try:
        until_s = time.monotonic() + 10
        while not board["expected_s"] and time.monotonic() < until_s:
            time.sleep(0.01)
        looks = seen(board)
    finally:
        worker.kill()
        worker.wait()
    assert any(looks)
    # The worker itself may stand still for a while; since the machine's start it has not.
    assert max(looks) < min(5.0, time.monotonic() / 2)


def test_a_batch_is_as_old_as_its_start(tmp_path: Path) -> None:
    board = worker_board(tmp_path, 0)
    assert board.busy_s(100.0) == 0.0
    board.start((1, 2), 99.5, 0.1)
    assert board.busy_s(100.0) == 0.5
    board.stop()
    assert board.busy_s(100.0) == 0.0
