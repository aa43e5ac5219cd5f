"""Rows come back from disk as they went, in at most 20 bytes each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import TailraceError
from harness.record.requests import SCHEMA, SCHEMA_1, read_chunks, read_requests, write_requests
from harness.record.schema import ABSENT, BLANK, COLUMNS

MakeRows = Callable[..., dict[str, np.ndarray[Any, Any]]]
TIMES = st.one_of(st.just(ABSENT), st.integers(-(10**12), 4 * 10**12))
KINDS: dict[str, Any] = {
    "int8": st.integers(-128, 127), "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(), "string": st.sampled_from(["", "timeout", "reset", "unsent"]), "int64": TIMES,
}


@st.composite
def any_rows(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    """Rows of every value the schema allows, however unlikely; due times are always there."""
    count = draw(st.integers(0, 40))
    rows = {}
    for name, kind in COLUMNS.items():
        values = st.integers(-(10**12), 10**12) if name == "due_ns" else KINDS[kind]
        drawn = list(range(count)) if name == "seq" else draw(st.lists(values, min_size=count, max_size=count))
        rows[name] = np.array(drawn, dtype="U9" if kind == "string" else kind)
    return rows


@settings(max_examples=25, deadline=None)
@given(rows=any_rows(), order=st.randoms(use_true_random=False))
def test_whatever_was_measured_comes_back(rows: dict[str, Any], order: Any, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("rows") / "requests.parquet"
    shuffled = list(range(len(rows["seq"])))
    order.shuffle(shuffled)
    write_requests(path, {name: values[shuffled] for name, values in rows.items()})
    back = read_requests(path, COLUMNS)
    for name in COLUMNS:
        assert back[name].tolist() == rows[name].tolist(), name
        assert back[name].dtype == (object if COLUMNS[name] == "string" else COLUMNS[name])


def test_one_column_alone_is_the_same_as_among_all(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(5000)
    write_requests(tmp_path / "r.parquet", rows)
    for name in COLUMNS:
        expected = rows.get(name, np.full(5000, BLANK.get(name)))  # what a run on the CPU leaves out
        assert np.array_equal(read_requests(tmp_path / "r.parquet", [name])[name], expected), name


def test_a_row_takes_at_most_20_bytes(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(50_000)
    write_requests(tmp_path / "r.parquet", rows)
    assert (tmp_path / "r.parquet").stat().st_size / 50_000 <= 20


def test_what_only_a_gpu_tells_costs_a_run_on_the_cpu_nothing(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(40_000)
    silent = {"copy_us": np.full(40_000, -1, np.int32), "kernel_us": np.full(40_000, -1, np.int32)}
    told = {name: (rows["model_us"] * share).astype(np.int32) for name, share in (("copy_us", 0.1), ("kernel_us", 0.6))}
    sizes = {}
    for name, more in (("none", {}), ("silent", silent), ("told", told)):
        write_requests(tmp_path / name, {**rows, **more})
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["silent"] == sizes["none"]
    assert pq.read_schema(tmp_path / "silent").names == SCHEMA.names
    assert sizes["told"] / 40_000 <= 26
    back = read_requests(tmp_path / "told", ["kernel_us", "model_us", "copy_us"])
    assert np.array_equal(back["kernel_us"], told["kernel_us"])
    assert np.array_equal(back["copy_us"], told["copy_us"])
    assert set(read_requests(tmp_path / "silent", ["copy_us"])["copy_us"].tolist()) == {-1}


def test_chunks_are_bounded_and_complete(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(530_000, rate=50_000)
    write_requests(tmp_path / "r.parquet", rows)
    sizes, done = [], []
    for part in read_chunks(tmp_path / "r.parquet", ["done_ns", "error"]):
        sizes.append(len(part["done_ns"]))
        done.append(part["done_ns"])
    assert len(sizes) > 1
    assert max(sizes) <= 1 << 19
    assert np.array_equal(np.concatenate(done), rows["done_ns"])


def test_a_missing_column_is_refused_on_writing_and_an_unknown_one_on_reading(tmp_path: Path,
                                                                             queue_rows: MakeRows) -> None:
    rows = queue_rows(10)
    with pytest.raises(ValueError, match="judged"):
        write_requests(tmp_path / "r.parquet", {name: rows[name] for name in rows if name != "judged"})
    write_requests(tmp_path / "r.parquet", rows)
    with pytest.raises(TailraceError, match="no column 'latency'"):
        read_requests(tmp_path / "r.parquet", ["latency"])


def test_what_a_load_leaves_out_is_blank(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(500)
    write_requests(tmp_path / "r.parquet", {name: rows[name] for name in COLUMNS if name not in BLANK})
    back = read_requests(tmp_path / "r.parquet", COLUMNS)
    for name, value in BLANK.items():
        assert set(back[name].tolist()) == {value}, name
    assert np.array_equal(back["done_ns"], rows["done_ns"])


def test_rows_of_schema_1_are_read_with_blanks(tmp_path: Path, queue_rows: MakeRows) -> None:
    rows = queue_rows(500)
    write_requests(tmp_path / "new.parquet", {name: rows[name] for name in COLUMNS if name not in BLANK})
    pq.write_table(pq.read_table(tmp_path / "new.parquet").select(SCHEMA_1.names).cast(SCHEMA_1),
                   tmp_path / "old.parquet")
    for name in COLUMNS:
        assert np.array_equal(read_requests(tmp_path / "old.parquet", [name])[name],
                              read_requests(tmp_path / "new.parquet", [name])[name]), name
