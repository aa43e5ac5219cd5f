"""Runs that lie on disk: finding them, and reading only what is asked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import TailraceError, UsageError
from harness.record import layout
from harness.record.migrate import to_meta
from harness.record.requests import Array, Rows, read_requests, row_count, values
from harness.record.schema import RunMeta


@dataclass(frozen=True)
class StoredRun:
    """A finished run: its meta is in memory, its rows are read on asking."""

    folder: Path
    meta: RunMeta

    @property
    def has_rows(self) -> bool:
        """Whether requests were recorded; a skipped run or one that failed early has none."""
        return (self.folder / layout.REQUESTS).is_file()

    @property
    def row_count(self) -> int:
        """Requests recorded, from the file's footer; 0 where there is no file."""
        return row_count(self.folder / layout.REQUESTS) if self.has_rows else 0

    def columns(self, *names: str) -> Rows:
        """The asked columns of record/schema.py as arrays of one length, ordered by seq; `error` is an object array
        of str. Raises TailraceError for an unknown column or a run without rows."""
        return read_requests(self._requests(), names)

    def probes(self) -> Rows:
        """What the probes saw, as arrays of one length: t_ns (int64, since t0), scope, pid (int32), name, metric,
        value (float64); the texts are object arrays. Empty arrays where there were none."""
        path = self.folder / layout.PROBES
        if not path.is_file():
            return {}
        table = pq.ParquetFile(path).read()    # read_table imports pandas, which takes longer than any probes
        return {name: np.array(table[name].to_pylist(), dtype=object) if pa.types.is_string(table[name].type)
                else values(table[name]) for name in table.column_names}

    def payload_bytes(self) -> Array:
        """Body bytes of every payload of the pool, int32[pool]; empty where they were not recorded. Request seq
        carried payload seq modulo their number."""
        path = self.folder / layout.PAYLOADS
        return values(pq.ParquetFile(path).read(["bytes"])["bytes"]) if path.is_file() else np.zeros(0, dtype=np.int32)

    def text(self, name: str) -> str:
        """A log of the run by its file's name; "" where it has none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _requests(self) -> Path:
        if not self.has_rows:
            raise TailraceError(f"{self.folder}: no requests were recorded ({self.meta.status}: {self.meta.reason})",
                                "look at its server.log")
        return self.folder / layout.REQUESTS


@dataclass(frozen=True)
class Found:
    """Runs below a folder, oldest first, and the folders of attempts that never got to their run.json."""

    runs: tuple[StoredRun, ...]
    unfinished: tuple[Path, ...]


def find_runs(results: Path) -> Found:
    """Every run below `results` (or one machine's folder, or one run's). Raises TailraceError for a newer schema."""
    if not results.is_dir():
        raise TailraceError(f"{results}: no such folder", "name a folder that `tailrace run` wrote")
    folders = layout.run_folders(results)
    finished = [folder for folder in folders if (folder / layout.RUN).is_file()]
    return Found(tuple(open_run(folder) for folder in finished),
                 tuple(folder for folder in folders if folder not in set(finished)))


def run_named(run: Path, results: Path) -> Path:
    """The folder of a run given as its folder, or as its id below `results` or one machine's folder. Raises UsageError
    where there is none."""
    if run.is_dir():
        return run
    found = next((folder for folder in layout.run_folders(results) if folder.name == run.name), None)
    if found is None:
        raise UsageError(f"{run}: no such run below {results}", "give a run's folder, or its id and --results")
    return found


def open_run(folder: Path) -> StoredRun:
    """The run in a folder. Raises TailraceError when it is unfinished, damaged or of a newer schema."""
    path = folder / layout.RUN
    if not path.is_file():
        raise TailraceError(f"{folder}: no finished run here", "name a run's folder, or measure it again")
    return StoredRun(folder, to_meta(read_json(path), path))


def read_machine(folder: Path) -> dict[str, Any]:
    """The facts of the machine whose runs lie in `folder`; {} where it was not written."""
    path = folder / layout.MACHINE
    return read_json(path) if path.is_file() else {}


def read_json(path: Path) -> dict[str, Any]:
    """The table of a JSON file. Raises TailraceError where there is none."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TailraceError(f"{path}: cannot be read: {error}", "the file is damaged: remove the folder") from None
    if not isinstance(table, dict):
        raise TailraceError(f"{path}: holds no table", "the file is damaged: remove the folder")
    return table
