"""What generators append while they run, read back as the judge sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.load.arrivals import due_times
from harness.load.spec import LoadSpec
from harness.plan.attempt import Attempt
from harness.run.live_rows import LiveRows


class Noted:
    """A judge that keeps what it saw and is content once told so many requests."""

    said = "looking"

    def __init__(self) -> None:
        self.looks: list[tuple[NDArray[np.float64], NDArray[np.int64], int]] = []
        self.requests = 0
        self.answer = ""

    def look(self, latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64], now_ns: int) -> str:
        self.looks.append((latency_ns.copy(), due_ns.copy(), now_ns))
        return self.answer


def append(path: Path, *pairs: tuple[int, int], spare: bytes = b"") -> None:
    with path.open("ab") as file:
        file.write(np.array(pairs, dtype=np.int64).tobytes() + spare)


def specs(folder: Path) -> list[LoadSpec]:
    return [LoadSpec(host="", port=0, path="", content_type="", headers={}, stages=[], warmup_s=0, seed=0, payloads="",
                     timeout_s=1, answers_every=0, worker=worker, workers=2, cpu=None, realtime=False,
                     out=str(folder / f"part{worker}")) for worker in range(2)]


def test_rows_are_laid_by_due_time_as_far_as_every_generator_has_told(tmp_path: Path, attempt: Any) -> None:
    calm: Attempt = attempt("calm")
    due, stage = due_times(calm.scenario.stage, calm.seed, calm.scenario.warmup_s)
    first = int(np.count_nonzero(stage < 0))
    judge = Noted()
    rows = LiveRows(calm, specs(tmp_path), judge)
    assert rows.look() == ""
    end = int(due[first + 9])
    append(tmp_path / "part0.live", (0, 5), (first, 1_000), (first + 2, -1), (-1, end + 5))
    assert (rows.look(), judge.looks) == ("", []), "the other one has not told yet"
    append(tmp_path / "part1.live", (first + 1, 2_000), (-1, end), spare=b"half a pair")
    rows.look()
    latency, seen, now_ns = judge.looks[-1]
    assert now_ns == end
    assert np.array_equal(seen, due[first:first + 10])
    assert latency[:3].tolist() == [1_000, 2_000, np.inf]
    assert np.isnan(latency[3:]).all()


def test_a_half_written_pair_is_read_once_it_is_whole(tmp_path: Path, attempt: Any) -> None:
    calm: Attempt = attempt("calm")
    due, stage = due_times(calm.scenario.stage, calm.seed, calm.scenario.warmup_s)
    first = int(np.count_nonzero(stage < 0))
    judge = Noted()
    rows = LiveRows(calm, specs(tmp_path)[:1], judge)
    whole = np.array([(first, 7_000), (-1, int(due[first + 1]))], dtype=np.int64).tobytes()
    append(tmp_path / "part0.live", (-1, int(due[first + 1])), spare=whole[:11])
    rows.look()
    assert np.isnan(judge.looks[-1][0][0])
    with (tmp_path / "part0.live").open("ab") as file:
        file.write(whole[11:])
    judge.answer, judge.requests = "enough", 1
    assert rows.look() == rows.why == "enough"
    assert judge.looks[-1][0][0] == 7_000
    assert rows.cut_s * 1e9 == pytest.approx((due[first] + due[first + 1]) / 2)
