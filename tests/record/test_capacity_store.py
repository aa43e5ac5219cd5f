"""Capacities on disk: whole or not there, found by name, and no run's folder."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import TailraceError
from harness.record.capacity import Capacity, Rate, capacity_id, find_capacities, read_capacity
from harness.record.capacity import write_capacity as write
from harness.record.layout import run_folders

FOUND = Capacity("20260101T000000.000Z-fastapi-embed", "fastapi", "embed", "p(99)<100ms", Rate(300.0, 290.0, math.inf),
                 ("run-1", "run-2"), "latency", "smooth", "m", last_passed=290.0, replica_cpus=3, knobs={"workers": 3})


def machine(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "machine.json").write_text("{}")
    return tmp_path / "m"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(machine(tmp_path), FOUND)
    assert read_capacity(path) == FOUND
    assert find_capacities(tmp_path) == [FOUND] == find_capacities(tmp_path / "m")


def test_one_recorded_before_ceilings_were_kept_is_read_without(tmp_path: Path) -> None:
    path = write(machine(tmp_path), replace(FOUND, ceiling=340.0))
    assert read_capacity(path).ceiling == 340.0
    table = json.loads(path.read_text())
    del table["ceiling"]
    path.write_text(json.dumps(table))
    assert read_capacity(path) == FOUND


def test_it_is_no_run(tmp_path: Path) -> None:
    write(machine(tmp_path), FOUND)
    assert run_folders(tmp_path) == []


def test_the_newest_comes_last(tmp_path: Path) -> None:
    folder = machine(tmp_path)
    write(folder, FOUND)
    newer = replace(FOUND, id=capacity_id("fastapi", "embed", datetime(2026, 2, 1, tzinfo=UTC)), binding="errors")
    write(folder, newer)
    assert find_capacities(tmp_path) == [FOUND, newer]


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    path = write(machine(tmp_path), FOUND)
    path.write_text("{")
    with pytest.raises(TailraceError, match="remove it"):
        read_capacity(path)
