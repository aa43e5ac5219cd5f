"""What the kernel of a report receives is what the process that reports found."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import TailraceError
from harness.report.handed import ARRAYS, hand, received
from harness.report.options import Options
from harness.report.rows import opened


@pytest.mark.parametrize("published", ["light", "goodput"])
def test_what_is_received_is_what_was_found(tmp_path: Path, published: str) -> None:
    """Not-a-numbers, infinities, keys that are numbers, and every array."""
    found, drawn = opened(Options(f"results/{published}"))
    hand((found, drawn), tmp_path / "handed")
    again, redrawn = received(tmp_path / "handed")
    np.testing.assert_equal(asdict(again), asdict(found))
    assert list(redrawn) == list(drawn)
    for name, run in drawn.items():
        other = redrawn[name]
        assert repr((other.duration_s, other.tail)) == repr((run.duration_s, run.tail))
        np.testing.assert_array_equal(other.grid, run.grid)
        for each in ARRAYS:
            np.testing.assert_array_equal(getattr(other.batched, each), getattr(run.batched, each))


def test_a_race_of_every_kind_of_run_is_received(tmp_path: Path, write_race: Callable[[Path, Any], None], race: Any,
                                                 simulated: Any) -> None:
    setups = {"zmq": simulated(4.0, batch=8), "late": simulated(4.0, lag_ms=30.0),
              "gone": simulated(4.0, status="failed", reason="it crashed")}
    write_race(tmp_path / "results", race("embed", 400.0, 60.0, setups, repetitions=2))
    found = opened(Options(str(tmp_path / "results")))
    hand(found, tmp_path / "handed")
    np.testing.assert_equal(asdict(received(tmp_path / "handed")[0]), asdict(found[0]))


def test_nothing_found_is_told_at_once(tmp_path: Path) -> None:
    hand(None, tmp_path / "handed")
    with pytest.raises(TailraceError, match="could not be analysed"):
        received(tmp_path / "handed")
