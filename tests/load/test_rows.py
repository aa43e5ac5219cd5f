"""Rows after the flight: headers, clocks, parts put together."""

from array import array
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunFailedError
from harness.load.merge import merge_parts, read_answers
from harness.load.rows import ABORTED, OK, TIMEOUT, ClockOffset, Columns, Rows, receive_lag, save
from harness.load.server_timing import parse_batches, parse_durations
from harness.record.schema import ABSENT, COLUMNS


def test_durations() -> None:
    told = parse_durations([b"queue;dur=0.412, wait;dur=0.000, model;dur=3.712", None, b"model;desc=\"a b\";dur=2",
                            b"MODEL; DUR=1", b"cache;dur=9,queue;dur=", b"model;dur=1e9", b"model;dur=99999999999",
                            b"unmodel;dur=4"])
    assert told["queue_us"].tolist() == [412, -1, -1, -1, -1, -1, -1, -1]
    assert told["wait_us"].tolist() == [0] + [-1] * 7
    assert told["model_us"].tolist() == [3712, -1, 2000, 1000, -1, 1000, 2**31 - 1, -1]


def test_durations_of_a_gpu() -> None:
    told = parse_durations([b"queue;dur=0.1, model;dur=3, copy;dur=0.25, kernel;dur=1.5", b"model;dur=3", None])
    assert told["copy_us"].tolist() == [250, -1, -1]
    assert told["kernel_us"].tolist() == [1500, -1, -1]
    assert told["model_us"].tolist() == [3000, 3000, -1]


def test_batches() -> None:
    assert parse_batches([b"8", None, b"many", b" 3 ", b"99999", b"-1"]).tolist() == [8, 0, 0, 3, 32767, 0]


def part(seqs: list[int]) -> Columns:
    rows = Rows(len(seqs))
    for i in range(len(seqs)):
        rows.sent_ns[i] = rows.read_ns[i] = rows.done_ns[i] = 1000 + seqs[i]
        rows.error[i], rows.status[i] = OK, 200
    due = np.array(seqs, np.int64) + 1000
    zero = ClockOffset(0, 0)
    return rows.columns(due, np.zeros(len(seqs), np.int8), np.array(seqs, np.int32), 1000, (zero, zero))


def saved(folder: Path, *parts: list[int]) -> list[Path]:
    for number, seqs in enumerate(parts):
        save(str(folder / str(number)), part(seqs), {seq: b"answer %d" % seq for seq in seqs[:1]}, closed=False)
    return [folder / str(number) for number in range(len(parts))]


def test_parts_become_one(tmp_path: Path) -> None:
    prefixes = saved(tmp_path, [0, 3, 6], [1, 4], [2, 5])
    columns = merge_parts(prefixes, expected=7)
    assert set(columns) == set(COLUMNS) - {"judged"}
    assert columns["seq"].tolist() == list(range(7))
    assert columns["done_ns"].tolist() == list(range(7))
    assert columns["error"].tolist() == [""] * 7
    assert read_answers(prefixes) == [(0, b"answer 0"), (1, b"answer 1"), (2, b"answer 2")]
    for name, kind in COLUMNS.items():
        if name not in ("judged", "error"):
            assert columns[name].dtype == np.dtype(kind), name


@pytest.mark.parametrize(("parts", "expected", "complaint"), [
    (([0, 2], [1, 4]), None, "1 have no row"),
    (([0, 1], [1, 2]), None, "1 have several"),
    (([0, 1], [2]), 4, "1 have no row"),
    (([0, 1], [2, 3]), 3, "1 rows are beyond"),
])
def test_an_incomplete_run_is_refused(tmp_path: Path, parts: tuple[list[int], ...], expected: int | None,
                                      complaint: str) -> None:
    with pytest.raises(RunFailedError, match=complaint):
        merge_parts(saved(tmp_path, *parts), expected)


def test_a_missing_part_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="no readable rows"):
        merge_parts([*saved(tmp_path, [0]), tmp_path / "gone"])
    (tmp_path / "torn.npz").write_bytes(b"PK torn")
    with pytest.raises(RunFailedError, match="no readable rows"):
        merge_parts([tmp_path / "torn"])


def test_kernel_stamps_become_monotonic() -> None:
    rows = Rows(5)
    sent, read, done = [1_000] * 5, [5_000] * 5, [6_000] * 5
    kernel = [1_000_004_000, 1_000_009_000, 1_000_000_500, 0, 1_000_004_100]
    for i in range(5):
        rows.sent_ns[i], rows.read_ns[i], rows.done_ns[i], rows.kernel_ns[i] = sent[i], read[i], done[i], kernel[i]
    rows.read_ns[4] = ABSENT
    due, seq, stage = np.zeros(5, np.int64), np.arange(5, dtype=np.int32), np.zeros(5, np.int8)
    steady = (ClockOffset(0, 1_000_000_000), ClockOffset(10_000, 1_000_000_000))
    assert rows.columns(due, stage, seq, 0, steady)["first_byte_ns"].tolist() == [4_000, 5_000, 1_000, 5_000, ABSENT]
    stepped = (ClockOffset(0, 1_000_000_000), ClockOffset(10_000, 3_000_000_000))
    assert rows.columns(due, stage, seq, 0, stepped)["first_byte_ns"].tolist() == [5_000] * 4 + [ABSENT]
    drifting = (ClockOffset(0, 1_000_000_000), ClockOffset(10_000, 1_000_000_400))
    assert rows.columns(due, stage, seq, 0, drifting)["first_byte_ns"][0] == 3_800


def test_how_long_answers_lay_in_the_kernel() -> None:
    read = array("q", [10_000_000 + i * 1000 for i in range(100)] + [ABSENT])
    first = np.array([10_000_000 - 5_000_000] * 99 + [10_099_000 - 5_000_000, ABSENT])
    told = receive_lag(read, first, 5_000_000)
    assert told == {"receive_p99_ms": pytest.approx(0.098), "receive_p999_ms": pytest.approx(0.098),
                    "receive_late_moments": 0}
    assert receive_lag(read, np.array([*(np.frombuffer(read, np.int64)[:100] - 5_000_000), ABSENT]), 5_000_000) == {}


def test_late_reading_is_counted_by_moments() -> None:
    first = np.arange(0, 1_000_000_000, 10_000_000)
    read = array("q", (first + 100_000).tolist())
    for i in (1, 2, 30, 31, 95):    # in three tenths of a second
        read[i] += 2_000_000
    assert receive_lag(read, first, 0)["receive_late_moments"] == 3


def test_blank_rows_are_aborted() -> None:
    rows = Rows(2)
    rows.grow(1)
    rows.error[1] = TIMEOUT
    zero = ClockOffset(0, 0)
    columns = rows.columns(np.zeros(3, np.int64), np.zeros(3, np.int8), np.arange(3, dtype=np.int32), 0, (zero, zero))
    assert columns["error"].tolist() == [ABORTED, TIMEOUT, ABORTED]
    assert (columns["done_ns"] == ABSENT).all()
