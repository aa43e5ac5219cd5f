"""run.json of older schemas becomes today's; of newer ones it is refused."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.errors import TailraceError
from harness.record.schema import SCHEMA, RunMeta

Migration = Callable[[dict[str, Any]], dict[str, Any]]

# From a schema to the next one; `schema` itself is raised by `migrated`. Schema 2 added columns to requests.parquet
# (record/requests.py fills them in) and nothing to run.json; schema 3 added `device`, which was the CPU before, and
# columns that only runs on a GPU have; schema 4 added `digest`, without which a change of run.json goes unseen.
MIGRATIONS: Mapping[int, Migration] = {
    1: dict, 2: lambda table: {"device": "cpu", **table}, 3: lambda table: {"digest": "", **table}}


def migrated(table: dict[str, Any], where: Path, migrations: Mapping[int, Migration] = MIGRATIONS,
             target: int = SCHEMA) -> dict[str, Any]:
    """`table` at schema `target`. Raises TailraceError when it is newer than this program or has no way here."""
    schema = table.get("schema")
    if not isinstance(schema, int):
        raise TailraceError(f"{where}: no schema number, so it is no run of tailrace", "remove the folder")
    if schema > target:
        raise TailraceError(f"{where}: written with schema {schema}, newer than this program's {target}",
                            "update tailrace to read it")
    for step in range(schema, target):
        if step not in migrations:
            raise TailraceError(f"{where}: schema {step} can no longer be read", "read it with an older tailrace")
        table = {**migrations[step](table), "schema": step + 1}
    return table


def to_meta(table: dict[str, Any], where: Path) -> RunMeta:
    """run.json's table as a RunMeta. Raises TailraceError when a field is missing, unknown or out of range."""
    table = migrated(table, where)
    differ = sorted({field.name for field in fields(RunMeta)} ^ set(table))
    if differ:
        raise TailraceError(f"{where}: field '{differ[0]}' is missing or unknown",
                            "the file was changed by hand: remove the folder")
    if table["status"] not in ("ok", "void", "failed", "skipped"):
        raise TailraceError(f"{where}: unknown status {table['status']!r}", "remove the folder")
    return RunMeta(**table)
