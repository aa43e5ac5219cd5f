"""The engine against real servers that misbehave: every request is one row, and its times are in order."""

from collections.abc import Callable

import numpy as np
import pytest

from harness.load.spec import LoadSpec
from harness.record.schema import ABSENT, COLUMNS
from tests.load.conftest import Driven, FaultyServer, drive, drive_closed
from tests.load.faulty_server import HUGE

MS = 1_000_000
EXPECTED = {  # kind: (status, error, bytes)
    "ok": (200, "", 2), "chunked": (200, "", 10), "continue": (200, "", 2), "malformed": (0, "malformed", 0),
    "badlength": (0, "malformed", 0), "upgrade": (0, "malformed", 0), "busy": (503, "", 4), "huge": (200, "", HUGE),
    "garbage": (200, "", 2), "twice": (200, "", 2), "empty": (204, "", 0), "close": (200, "", 2),
    "untilclose": (200, "", 12), "partial": (0, "reset", 4), "nothing": (0, "reset", 0), "drip": (200, "", 2),
    "count": (200, "", 1), "hang": (0, "timeout", 0), "reset": (0, "reset", 0),
}
Make = Callable[..., LoadSpec]


def in_order(driven: Driven) -> None:
    """Every column is there, and due ≤ sent ≤ first byte ≤ done wherever they happened."""
    columns = driven.columns
    assert set(columns) == set(COLUMNS) - {"judged"}
    last = columns["due_ns"]
    for name in ("sent_ns", "connected_ns", "written_ns", "first_byte_ns", "done_ns"):
        there = columns[name] != ABSENT
        assert (columns[name][there] >= last[there]).all(), name
        last = np.where(there, columns[name], last)
    assert (columns["done_ns"] != ABSENT).all()


def test_every_fault_is_a_row(server: FaultyServer, spec: Make) -> None:
    kinds = list(EXPECTED)
    rounds = 3
    driven = drive(spec(server.port, [kind.encode() for kind in kinds]),
                   [i * 10 * MS for i in range(rounds * len(kinds))])
    in_order(driven)
    found = list(zip(driven.columns["status"].tolist(), driven.errors(), driven.columns["bytes"].tolist(),
                     strict=True))
    assert {kinds[i % len(kinds)]: row for i, row in enumerate(found)} == EXPECTED
    assert found == [EXPECTED[kind] for kind in kinds] * rounds
    assert server.received() == len(found), "a request was repeated or lost"
    assert driven.engine.stray == 2 * rounds
    assert not driven.engine.flying


def test_what_an_answer_tells(server: FaultyServer, spec: Make) -> None:
    columns = drive(spec(server.port, [b"ok", b"chunked", b"busy"]), [0, 20 * MS, 40 * MS]).columns
    assert columns["queue_us"].tolist() == [1500, -1, -1]
    assert columns["wait_us"].tolist() == [-1, 2000, -1]
    assert columns["model_us"].tolist() == [250, -1, -1]
    assert columns["batch"].tolist() == [7, 0, 0]


def test_connecting_and_writing_are_told_where_they_take_time(server: FaultyServer, spec: Make) -> None:
    columns = drive(spec(server.port, [b"ok" + b" " * (4 << 20), b"ok"]), [0, 600 * MS, 1200 * MS]).columns
    assert columns["cold"].tolist() == [True, False, False]
    assert (columns["connected_ns"] != ABSENT).tolist() == [True, False, False]
    assert (columns["written_ns"] != ABSENT).tolist() == [True, False, True]  # 4 MiB are not taken by one call
    assert (columns["written_ns"] - columns["sent_ns"])[[0, 2]].min() > 100_000


def test_timeouts_count_from_the_due_time(server: FaultyServer, spec: Make) -> None:
    columns = drive(spec(server.port, [b"hang"], timeout_s=0.2), [0, 100 * MS]).columns
    waited_ms = (columns["done_ns"] - columns["due_ns"]) / 1e6
    assert (waited_ms >= 200).all()
    assert (waited_ms < 300).all()
    assert (columns["first_byte_ns"] == ABSENT).all()


def test_nobody_there(dead_port: int, spec: Make) -> None:
    driven = drive(spec(dead_port, [b"ok"]), [0] * 50 + [20 * MS])
    in_order(driven)
    assert driven.errors() == ["refused"] * 51
    assert driven.columns["cold"].all()


@pytest.mark.parametrize("size", [0, 1, 32 << 10, (32 << 10) + 1, 3_000_000, HUGE])
def test_large_bodies_arrive_whole(server: FaultyServer, spec: Make, size: int) -> None:
    body = b"count " + b"x" * size
    driven = drive(spec(server.port, [body], timeout_s=5.0), [0, 0, 200 * MS])
    assert driven.errors() == ["", "", ""]
    assert driven.engine.answers == dict.fromkeys(range(3), b"%d" % len(body))


def test_connections_are_kept_and_opened_as_needed(server: FaultyServer, spec: Make) -> None:
    one_by_one = drive(spec(server.port, [b"ok"]), [i * 40 * MS for i in range(10)])
    assert one_by_one.engine.opened <= 3, "one, but for an answer that a busy machine delays"
    assert one_by_one.columns["cold"].sum() == one_by_one.engine.opened
    assert one_by_one.columns["cold"][0]
    burst = drive(spec(server.port, [b"drip"]), [0] * 20)
    assert burst.engine.opened == 20


def test_a_bounded_number_of_connections_makes_requests_wait_inside(server: FaultyServer, spec: Make) -> None:
    driven = drive(spec(server.port, [b"drip"], timeout_s=5.0), [0] * 6, most_connections=2)
    in_order(driven)
    assert driven.errors() == [""] * 6
    assert driven.engine.opened == 2
    lag_ms = (driven.columns["sent_ns"] - driven.columns["due_ns"]) / 1e6
    assert lag_ms[-1] > 2 * 60, "waiting inside the generator is lag, and so part of latency"


def test_what_never_gets_a_connection_is_unsent(server: FaultyServer, spec: Make) -> None:
    driven = drive(spec(server.port, [b"hang"], timeout_s=0.2), [0, 0, 0], most_connections=1)
    assert sorted(driven.errors()) == ["timeout", "unsent", "unsent"]
    assert (driven.columns["sent_ns"] == ABSENT).sum() == 2


def test_one_sampled_answer_in_three(server: FaultyServer, spec: Make) -> None:
    driven = drive(spec(server.port, [b"ok"], answers_every=3), [i * 5 * MS for i in range(10)])
    assert driven.engine.answers == {0: b"ok", 3: b"ok", 6: b"ok", 9: b"ok"}


def test_a_stall_does_not_hold_the_schedule_back(server: FaultyServer, spec: Make) -> None:
    due = [i * 5 * MS for i in range(100)]
    columns = drive(spec(server.port, [b"hang"] + [b"ok"] * 99, timeout_s=1.0), due).columns
    assert np.quantile((columns["sent_ns"] - columns["due_ns"]) / 1e6, 0.9) < 20
    assert (columns["status"][1:] == 200).all()


def test_a_closed_loop_keeps_its_users_busy(server: FaultyServer, spec: Make) -> None:
    driven = drive_closed(spec(server.port, [b"drip"]), [(3, 0.5), (6, 0.5)], warmup_s=0.04)
    in_order(driven)
    columns = driven.columns
    assert columns["seq"].tolist() == list(range(len(columns["seq"])))
    assert (columns["due_ns"] == columns["sent_ns"]).all()
    assert set(columns["stage"].tolist()) == {-1, 0, 1}
    for stage, users in ((0, 3), (1, 6)):
        mine = columns["stage"] == stage
        at = np.sort(columns["due_ns"][mine])
        flying = [((columns["due_ns"] <= t) & (columns["done_ns"] > t)).sum() for t in at[len(at) // 2:]]
        assert max(flying) == users


def test_a_closed_loop_survives_failures(server: FaultyServer, dead_port: int, spec: Make) -> None:
    mixed = drive_closed(spec(server.port, [b"ok", b"reset", b"close"]), [(2, 0.3)])
    assert {"", "reset"} == set(mixed.errors())
    assert server.received() == len(mixed.columns["seq"])
    refused = drive_closed(spec(dead_port, [b"ok"]), [(2, 0.2)])
    assert set(refused.errors()) == {"refused"}
    assert 10 <= len(refused.columns["seq"]) <= 50, "a pause between tries"
