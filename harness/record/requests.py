"""requests.parquet: one row per request of the schedule, at most 20 bytes each.

Of the four times only `due_ns` is stored as it is. The others are stored as the time passed since the latest earlier
event that happened, which needs two or three bytes instead of eight, and are rebuilt on reading; a time that never
came (ABSENT) is a null.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import TailraceError
from harness.record.schema import ABSENT, BLANK, COLUMNS, GPU_COLUMNS

Array = np.ndarray[Any, Any]
Rows = dict[str, Array]

_AFTER = {"sent_ns": "sent_after_ns", "connected_ns": "connected_after_ns", "written_ns": "written_after_ns",
          "first_byte_ns": "first_byte_after_ns", "done_ns": "done_after_ns"}
_STORED = {_AFTER.get(name, name): kind for name, kind in COLUMNS.items()}
_DELTA = ("seq", "due_ns")
_SPLIT = (*_AFTER.values(), "queue_us", "wait_us", "model_us", *GPU_COLUMNS)
_DICTIONARY = ("stage", "status", "error", "bytes", "batch", "judged", "gc_us")
_ENCODING = {**dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"), **dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT")}
_ROW_GROUP = 1 << 19

GPU_SCHEMA = pa.schema([pa.field(name, {"bool": pa.bool_(), "string": pa.string()}.get(kind) or
                             pa.from_numpy_dtype(np.dtype(kind)), nullable=name in _AFTER.values())
                    for name, kind in _STORED.items()])
SCHEMA = pa.schema([field for field in GPU_SCHEMA if field.name not in GPU_COLUMNS])
SCHEMA_1 = pa.schema([field for field in SCHEMA if field.name not in {_AFTER.get(name, name) for name in BLANK}])


def write_requests(path: Path, rows: Mapping[str, Array]) -> None:
    """The rows, ordered by seq, as a Parquet file. `rows` holds every column of COLUMNS, all of one length;
    those of BLANK may be left out, and those of the GPU are where no row tells any.

    Raises ValueError for a missing or surplus column, OSError when it cannot be written.
    """
    rows = {name: np.full(len(rows["seq"]), value, COLUMNS[name]) for name, value in BLANK.items()} | dict(rows)
    if set(rows) != set(COLUMNS):
        raise ValueError(f"columns differ from the schema: {sorted(set(rows) ^ set(COLUMNS))}")
    order = np.argsort(rows["seq"], kind="stable")
    schema = GPU_SCHEMA if any(np.any(rows[name] != BLANK[name]) for name in GPU_COLUMNS) else SCHEMA
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, column_encoding=_ENCODING,
                          use_dictionary=list(_DICTIONARY),  # type: ignore[arg-type]  # the stubs know only bool
                          write_statistics=False) as writer:
        for start in range(0, len(order), _ROW_GROUP):
            writer.write_table(_table({name: rows[name][order[start:start + _ROW_GROUP]] for name in COLUMNS}, schema))


def row_count(path: Path) -> int:
    """Rows in the file, read from its footer."""
    return int(pq.read_metadata(path).num_rows)


def read_requests(path: Path, names: Iterable[str]) -> Rows:
    """The asked columns as arrays of one length, by seq: int64 ns for times (ABSENT where a thing never happened),
    object arrays of str for `error`. Only what they need is read. Raises TailraceError for an unknown column."""
    wanted = _known(path, names)
    count = row_count(path)
    if 0 < count <= _ROW_GROUP:
        return next(read_chunks(path, wanted))
    rows = {name: np.empty(count, dtype=_kind(name)) for name in wanted}
    start = 0
    for part in read_chunks(path, wanted):
        stop = start + len(next(iter(part.values()), ()))
        for name, values in part.items():
            rows[name][start:stop] = values
        start = stop
    return rows


def read_chunks(path: Path, names: Iterable[str]) -> Iterator[Rows]:
    """The asked columns, some 500 000 rows at a time, so that memory stays small."""
    wanted = _known(path, names)
    stored = list(dict.fromkeys(part for name in wanted for part in _sources(name)))
    file = pq.ParquetFile(path, read_dictionary=["error"])
    stored = [name for name in stored if name in file.schema_arrow.names]
    for group in range(file.num_row_groups):
        # In threads of its own a row group takes half as much CPU again; runs are read beside each other instead.
        yield _rebuild(file.read_row_group(group, columns=stored, use_threads=False), wanted)


def _known(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in COLUMNS]
    if unknown:
        raise TailraceError(f"{path}: no column '{unknown[0]}' in requests", f"known: {', '.join(COLUMNS)}")
    return wanted


def _kind(name: str) -> np.dtype[Any]:
    return np.dtype(object if COLUMNS[name] == "string" else COLUMNS[name])


def _sources(name: str) -> tuple[str, ...]:
    """The stored columns that `name` is rebuilt from."""
    chain = ("due_ns", *_AFTER.values())
    return chain[:chain.index(_AFTER[name]) + 1] if name in _AFTER else (name,)


def _table(rows: Rows, schema: pa.Schema) -> pa.Table:
    stored: dict[str, pa.Array[Any]] = {}
    latest = rows["due_ns"].astype(np.int64)
    for name in COLUMNS:
        if name in _AFTER:
            absent = rows[name] == ABSENT
            stored[_AFTER[name]] = pa.array(np.where(absent, 0, rows[name] - latest), pa.int64(), mask=absent)
            latest = np.where(absent, latest, rows[name])
        elif COLUMNS[name] == "string":
            stored[name] = pa.array(rows[name].astype(object), pa.string())
        else:
            stored[name] = pa.array(rows[name].astype(COLUMNS[name], casting="same_kind"))
    return pa.table([stored[name] for name in schema.names], schema=schema)


def _rebuild(table: pa.Table, wanted: tuple[str, ...]) -> Rows:
    rows: Rows = {}
    if "due_ns" in table.column_names:
        rows["due_ns"] = latest = values(table["due_ns"])
        for name, stored in _AFTER.items():
            if stored in table.column_names:
                rows[name], latest = _times(table[stored], latest)
    for name in wanted:
        if name not in rows and name in BLANK and name not in table.column_names:
            rows[name] = np.full(table.num_rows, BLANK[name], COLUMNS[name])
        elif name not in rows:
            rows[name] = _text(table[name]) if COLUMNS[name] == "string" else values(table[name])
    return {name: rows[name] for name in wanted}


def _times(passed: "pa.ChunkedArray[Any]", latest: Array) -> tuple[Array, Array]:
    """(the times, ABSENT where null; the latest time so far)."""
    if passed.null_count == len(latest):
        return np.full(len(latest), ABSENT), latest
    if not passed.null_count:
        time = latest + values(passed)
        return time, time
    absent = values(passed.is_null())
    time = latest + np.where(absent, 0, values(passed))
    return np.where(absent, ABSENT, time), time


def _text(column: "pa.ChunkedArray[Any]") -> Array:
    """An object array whose equal strings are one object."""
    coded: Any = column.unify_dictionaries().combine_chunks()
    texts = np.array(coded.dictionary.to_pylist(), dtype=object)
    return np.asarray(texts[np.from_dlpack(coded.indices)])


def values(column: "pa.ChunkedArray[Any]") -> Array:
    """A column of numbers or truth values as an array; what stands in place of a null means nothing.

    pyarrow's own to_numpy imports pandas, which takes several times as long as reading a million rows.
    """
    chunk: Any = column.combine_chunks()
    bits = chunk.buffers()[1]
    if pa.types.is_boolean(chunk.type):
        last = chunk.offset + len(chunk)
        flags = np.unpackbits(np.frombuffer(bits, np.uint8), count=last, bitorder="little")
        return flags[chunk.offset:].view(np.bool_)
    kind = np.dtype(str(chunk.type))
    return np.frombuffer(bits, kind, len(chunk), chunk.offset * kind.itemsize)
