"""Whether a run on disk is still what was measured."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.record import layout
from harness.record.read import StoredRun, open_run, read_json
from harness.record.requests import GPU_SCHEMA, SCHEMA, SCHEMA_1
from harness.record.seal import digest
from harness.record.write import file_sum

UNSEALED = 3  # the last schema whose run.json holds no sum of itself


def verify(run: StoredRun | Path) -> list[str]:
    """One sentence per problem; empty when every file is as it was written, the columns are the schema's and every
    seq of the schedule appears exactly once. Raises TailraceError when there is no finished run to look at."""
    if isinstance(run, Path):
        run = open_run(run)
    problems = changed_files(run)
    if not run.has_rows:
        return problems
    try:
        return problems + _rows(run)
    except (pa.ArrowException, OSError) as error:
        return [*problems, f"{layout.REQUESTS}: cannot be read: {error}"]


def changed_files(run: StoredRun) -> list[str]:
    """One sentence per file that is missing, was added or differs from what was written, run.json among them if it
    holds a sum of itself."""
    found = {path.name for path in run.folder.iterdir()} - {layout.RUN}
    problems = [f"{name}: is missing" for name in sorted(set(run.meta.files) - found)]
    problems += [f"{name}: was added after the run" for name in sorted(found - set(run.meta.files))]
    for name in sorted(found & set(run.meta.files)):
        if file_sum(run.folder / name) != run.meta.files[name]:
            problems.append(f"{name}: its content differs from what was written")
    table = read_json(run.folder / layout.RUN)
    if table["schema"] > UNSEALED and table.get("digest") != digest(table):
        problems.append(f"{layout.RUN}: its content differs from what was written")
    return problems


def _rows(run: StoredRun) -> list[str]:
    schema = pq.read_schema(run.folder / layout.REQUESTS)
    if not any(schema.equals(known) for known in (SCHEMA, GPU_SCHEMA, SCHEMA_1)):
        return [f"{layout.REQUESTS}: its columns differ from the schema"]
    problems = []
    told = run.meta.facts.get("rows")
    if told is not None and told != run.row_count:
        problems.append(f"{layout.REQUESTS}: {run.row_count} rows where {told} were measured")
    seq = run.columns("seq")["seq"]
    if not np.array_equal(seq, np.arange(len(seq))):
        problems.append(f"{layout.REQUESTS}: not every seq from 0 to {len(seq) - 1} appears exactly once")
    return problems
