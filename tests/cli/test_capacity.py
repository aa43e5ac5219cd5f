"""What a probe is believed, what is said of a search, and its curve."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness.analyse.model import Check
from harness.catalog.slo import parse_promise
from harness.cli.capacity import draw, sentence
from harness.decide.capacity import Found, Probe, Result, Sent
from harness.decide.capacity_boundary import Boundary
from harness.decide.capacity_probe import accused
from harness.decide.twin_seen import Seen
from harness.errors import TailraceError
from harness.record.capacity import Capacity, Rate, capacity_id

PROMISE = (parse_promise("p(99)", "< 100ms"),)
LATE = Check("lag", "invalid", "sent late", "", "generator", {"p99_ms": 4.0})
PAUSED = Check("hiccup", "invalid", "the host paused", "", "host")
BUSY = Check("generator_cpu", "invalid", "the generator was busy", "", "generator")


@pytest.mark.parametrize(("checks", "limit_ms", "said"), [
    ([], 100.0, ("", "")),
    ([Check("errors", "invalid", "answers were wrong", "", "setup")], 100.0, ("", "")),
    ([replace(PAUSED, severity="warning")], 100.0, ("", "")),
    ([LATE], 100.0, ("", "")),
    ([LATE], 50.0, ("sent late", "host")),
    ([LATE], math.inf, ("", "")),
    ([PAUSED], 100.0, ("the host paused", "host")),
    ([PAUSED, BUSY], 100.0, ("the generator was busy", "generator")),
])
def test_what_a_probe_is_believed(checks: list[Check], limit_ms: float, said: tuple[str, str]) -> None:
    assert accused(checks, limit_ms) == said


def found(**changes: object) -> Found:
    due_s = np.arange(400) / 40
    latency_s = np.random.default_rng(1).lognormal(-4.0, 0.5, 400)
    none = np.full(400, math.nan)
    run = Seen("run-1", 40.0, due_s, latency_s, due_s >= 0, np.zeros(400, dtype=np.int64), none, none)
    sent = tuple(Sent(Probe("load", 40.0, 10.0, i), Result(run), verdict)
                 for i, verdict in enumerate(("pass", "fail", "inconclusive", "invalid")))
    curve = np.array([[10.0, 0.01, 0.0], [50.0, 0.05, 0.0], [60.0, 0.2, 0.0], [70.0, math.inf, 0.1]])
    made = Found(Rate(55.0, 53.0, 57.0), 40.0, math.inf, "latency", "smooth", None,
                 Boundary(55.0, "latency", "smooth", curve), sent)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_curve_holds_every_mark_and_the_capacity(tmp_path: Path) -> None:
    path = tmp_path / "capacity" / "c.svg"
    assert draw(found(), PROMISE, "a on b", path) == str(path)
    drawn = path.read_text(encoding="utf-8")
    assert drawn.lstrip().startswith("<svg")
    assert "a on b" in drawn
    assert draw(found(rate=Rate(math.nan, math.nan, math.inf), why="nothing is kept"), PROMISE, "a on b", path)
    assert draw(found(boundary=None), PROMISE, "a on b", path) == ""


def test_a_curve_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TailraceError, match="cannot be written"):
        draw(found(), PROMISE, "a on b", tmp_path / "file" / "c.svg")


def test_what_was_found_is_a_sentence() -> None:
    kept = Capacity(capacity_id("a", "b", datetime(2026, 1, 1, tzinfo=UTC)), "a", "b", "p(99)<100ms",
                    Rate(55.0, 53.0, 57.0), ("run-1",), "latency", "smooth", replica_cpus=3)
    said = sentence(kept, found())
    assert "carries 55" in said
    assert "of the loads certified to pass the last is 40.0/s, of those to fail there is none" in said
    assert "no capacity under p(99)<100ms: nothing is kept" in sentence(kept, found(why="nothing is kept"))
