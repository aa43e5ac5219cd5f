"""Writing a run: its folder is there from the start, its run.json comes last, by rename."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import TailraceError
from harness.record import layout
from harness.record.plain import plain
from harness.record.read import StoredRun
from harness.record.requests import Array, write_requests
from harness.record.schema import RunMeta
from harness.record.scrape import Scrape
from harness.record.seal import digest

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PROBE_SCHEMA = pa.schema([pa.field(name, kind) for name, kind in (
    ("t_ns", pa.int64()), ("scope", pa.string()), ("pid", pa.int32()), ("name", pa.string()), ("metric", pa.string()),
    ("value", pa.float64()))])


class Probe(NamedTuple):
    """One thing seen at one moment. `t_ns` counts from the run's t0; `scope` is server, load or host; `pid` is 0 and
    `name` empty where the metric is of the whole scope; the metric's name carries its unit."""

    t_ns: int
    scope: str
    pid: int
    name: str
    metric: str
    value: float


class RunWriter:
    """A run's folder below `machine` (results/<machine id>) while it is being written; a context manager.

    Leaving it without `finish` leaves an unfinished folder, except when the disk was full: then the folder goes and a
    TailraceError says so.
    """

    def __init__(self, machine: Path, *, setup: str, workload: str, scenario: str, load: float = 1.0,
                 repetition: int = 0) -> None:
        self.started = datetime.now(UTC)
        while True:
            self.run_id = layout.run_name(self.started, setup=setup, workload=workload, scenario=scenario, load=load,
                                          repetition=repetition)
            self.folder = machine / self.run_id
            if not self.folder.exists():
                break
            self.started += timedelta(milliseconds=1)

    def __enter__(self) -> "RunWriter":
        with _telling(self.folder):
            self.folder.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise _full(self.folder, error) from None

    @property
    def server_log(self) -> Path:
        """Where the server's output goes."""
        return self.folder / layout.SERVER_LOG

    @property
    def load_log(self) -> Path:
        """Where the generators' messages go."""
        return self.folder / layout.LOAD_LOG

    def write_requests(self, rows: Mapping[str, Array]) -> None:
        """The rows of the schedule: see record/requests.py."""
        write_requests(self.folder / layout.REQUESTS, rows)

    def write_probes(self, probes: Sequence[Probe]) -> None:
        """What the probes saw."""
        table = pa.Table.from_pylist([probe._asdict() for probe in probes], schema=PROBE_SCHEMA)
        pq.write_table(table, self.folder / layout.PROBES, compression="zstd", write_statistics=False)

    def write_payload_bytes(self, lengths: Array) -> None:
        """Body bytes of every payload of the pool, int32[pool]; request seq carries payload seq modulo their number."""
        table = pa.table({"bytes": pa.array(lengths.astype(np.int32))})
        pq.write_table(table, self.folder / layout.PAYLOADS, compression="zstd", write_statistics=False)

    def write_scrapes(self, before: Scrape, after: Scrape) -> None:
        """The server's own counters before the load and after it; no file for what it has not."""
        for name, text in ((layout.METRICS_BEFORE, before.metrics), (layout.METRICS, after.metrics),
                           (layout.STATISTICS_BEFORE, before.statistics), (layout.STATISTICS, after.statistics)):
            if text:
                (self.folder / name).write_text(text, encoding="utf-8")

    def finish(self, meta: RunMeta) -> StoredRun:
        """Seals the folder: sums over every file, then run.json, which holds a sum of itself, by rename. Nothing may
        change in it afterwards."""
        meta = replace(meta, files={path.name: file_sum(path) for path in sorted(self.folder.iterdir())})
        meta = replace(meta, digest=digest(asdict(meta)))
        write_json(self.folder / layout.RUN, asdict(meta))
        return StoredRun(self.folder, meta)


def write_machine(results: Path, machine_id: str, facts: Mapping[str, Any]) -> None:
    """results/<machine>/machine.json, where it is not there yet. Raises TailraceError when it cannot be written."""
    path = results / machine_id / layout.MACHINE
    with _telling(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_json(path, dict(facts))


def file_sum(path: Path) -> str:
    """sha256 of a file's bytes, as hex; the bytes are on disk when it returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


class _telling:  # noqa: N801 -- reads as a statement: `with _telling(folder):`
    """Turns an OSError about `folder` into one sentence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            if error.errno in _FULL:
                raise _full(self.folder, error) from None
            raise TailraceError(f"{self.folder}: cannot be written: {error.strerror}",
                                "check its permissions, or give another results folder") from None


def _full(folder: Path, error: OSError) -> TailraceError:
    why = "a file grew over the limit set for this process" if error.errno == errno.EFBIG else "the disk is full"
    where = error.filename if isinstance(error.filename, str | Path) else folder
    return TailraceError(f"{where}: {why}, so this run was not recorded",
                         "free some space and run again with --resume")


def write_json(path: Path, table: dict[str, Any]) -> None:
    """The table as JSON at `path`, whole or not at all: written beside, then renamed. Raises OSError."""
    text = json.dumps(plain(table), indent=1, ensure_ascii=False, allow_nan=False)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
