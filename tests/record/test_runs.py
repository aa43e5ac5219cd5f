"""A run's folder: finished by one rename, read lazily, refused when newer, told when damaged."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import Exit, TailraceError
from harness.record.layout import run_name
from harness.record.migrate import migrated
from harness.record.read import StoredRun, find_runs, open_run, read_machine
from harness.record.schema import SCHEMA, RunMeta
from harness.record.verify import verify
from harness.record.write import Probe, RunWriter

MakeRows = Callable[..., dict[str, np.ndarray[Any, Any]]]


def test_names_sort_by_time_and_say_what_ran() -> None:
    when = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
    name = run_name(when, setup="zmq-batching", workload="embed", scenario="lunch", load=0.5, repetition=2)
    assert name == "20260304T050607.089Z-zmq-batching-embed-lunch@0.5-r2"
    assert "@" not in run_name(when, setup="a", workload="b", scenario="c", load=1.0, repetition=0)
    assert "Z-flask_gpu-embed-" in run_name(when, setup="flask (gpu)", workload="embed", scenario="c", load=1.0,
                                            repetition=0)


def test_a_finished_run_is_found_and_read(written: StoredRun) -> None:
    results = written.folder.parents[1]
    found = find_runs(results)
    assert [run.meta for run in found.runs] == [written.meta]
    assert found.unfinished == ()
    assert find_runs(results / "box").runs == find_runs(written.folder).runs == found.runs
    assert found.runs[0].row_count == 1000
    assert found.runs[0].columns("due_ns").keys() == {"due_ns"}
    assert found.runs[0].text("server.log") == "hello\n"
    assert read_machine(results / "box")["cpus"] == 4
    assert set(written.meta.files) == {"requests.parquet", "probes.parquet", "server.log"}
    assert verify(written) == []


def test_probes_come_back(tmp_path: Path, meta: RunMeta) -> None:
    with RunWriter(tmp_path / "box", setup="a", workload="b", scenario="c") as writer:
        writer.write_probes([Probe(-5, "server", 12, "python", "cpu_s", 0.25), Probe(7, "host", 0, "", "steal_s", 0.0)])
        run = writer.finish(replace(meta, run_id=writer.run_id))
    probes = run.probes()
    assert probes["t_ns"].tolist() == [-5, 7]
    assert probes["metric"].tolist() == ["cpu_s", "steal_s"]
    assert probes["value"].dtype == np.float64


def test_an_attempt_that_was_killed_is_listed_apart(written: StoredRun) -> None:
    with RunWriter(written.folder.parent, setup="toy", workload="echo", scenario="calm") as writer:
        writer.server_log.write_text("started\n")
    found = find_runs(written.folder.parents[1])
    assert len(found.runs) == 1
    assert found.unfinished == (writer.folder,)
    with pytest.raises(TailraceError, match="no finished run"):
        open_run(writer.folder)


def test_two_attempts_in_one_millisecond_get_two_folders(tmp_path: Path) -> None:
    folders = set()
    for _ in range(20):
        with RunWriter(tmp_path, setup="a", workload="b", scenario="c") as writer:
            folders.add(writer.folder)
    assert len(folders) == 20


def test_a_newer_schema_is_one_sentence(written: StoredRun) -> None:
    path = written.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": SCHEMA + 1}))
    with pytest.raises(TailraceError, match=f"schema {SCHEMA + 1}, newer than") as caught:
        find_runs(written.folder.parents[1])
    assert caught.value.code == Exit.BAD_CONFIGURATION


def test_older_schemas_are_led_forward_step_by_step(tmp_path: Path) -> None:
    steps = {1: lambda table: {**table, "two": True}, 2: lambda table: {**table, "three": table["two"]}}
    table = migrated({"schema": 1}, tmp_path, steps, target=3)
    assert table == {"schema": 3, "two": True, "three": True}
    with pytest.raises(TailraceError, match="schema 0 can no longer be read"):
        migrated({"schema": 0}, tmp_path, steps, target=3)


def test_a_run_of_schema_2_was_on_the_cpu(written: StoredRun) -> None:
    path = written.folder / "run.json"
    table = json.loads(path.read_text())
    del table["device"], table["digest"]
    path.write_text(json.dumps({**table, "schema": 2}))
    assert open_run(written.folder).meta.device == "cpu"
    assert open_run(written.folder).meta.arm == "toy"
    assert replace(written.meta, device="gpu").arm == "toy (gpu)"


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 1}', '{"schema": "1"}'])
def test_a_damaged_run_json_is_one_sentence(written: StoredRun, damage: str) -> None:
    (written.folder / "run.json").write_text(damage)
    with pytest.raises(TailraceError, match=r"run\.json"):
        find_runs(written.folder)


def test_verify_names_every_change(written: StoredRun) -> None:
    (written.folder / "server.log").write_text("other\n")
    (written.folder / "probes.parquet").unlink()
    (written.folder / "notes.txt").write_text("mine")
    assert [problem.split(":")[0] for problem in verify(written)] == ["probes.parquet", "notes.txt", "server.log"]


@pytest.mark.parametrize("change", [
    {"scenario_resolved": {"slo": {"p(99)": "< 9s"}}}, {"facts": {"rows": 1000, "x": 1}}, {"digest": ""},
    {"digest": "0" * 64},
])
def test_verify_sees_a_changed_run_json(written: StoredRun, change: dict[str, Any]) -> None:
    path = written.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert verify(written.folder) == ["run.json: its content differs from what was written"]
    assert open_run(written.folder).meta != written.meta


def test_how_run_json_is_laid_out_changes_nothing(written: StoredRun) -> None:
    path = written.folder / "run.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert verify(written.folder) == []


def test_a_sum_of_run_json_survives_text_and_figures_of_every_kind(tmp_path: Path, meta: RunMeta) -> None:
    facts = {"ü": "é\u2028", "nan": math.nan, "inf": [math.inf], "tiny": 5e-324, "big": 1 << 80,
             "tuple": (1, 2.0), "n": 1.0}
    with RunWriter(tmp_path, setup="a", workload="b", scenario="c") as writer:
        run = writer.finish(replace(meta, run_id=writer.run_id, facts=facts))
    assert verify(run.folder) == []


def test_a_run_of_schema_3_holds_no_sum_of_itself(written: StoredRun) -> None:
    path = written.folder / "run.json"
    table = json.loads(path.read_text())
    del table["digest"]
    path.write_text(json.dumps({**table, "schema": 3}))
    assert open_run(written.folder).meta.digest == ""
    assert verify(written.folder) == []


def test_verify_counts_rows_and_seqs(tmp_path: Path, queue_rows: MakeRows, meta: RunMeta) -> None:
    rows = queue_rows(100)
    rows["seq"][40] = 41
    with RunWriter(tmp_path, setup="a", workload="b", scenario="c") as writer:
        writer.write_requests(rows)
        run = writer.finish(replace(meta, run_id=writer.run_id, facts={"rows": 101}))
    problems = verify(run)
    assert any("100 rows where 101" in problem for problem in problems)
    assert any("exactly once" in problem for problem in problems)


def test_verify_survives_a_truncated_file(written: StoredRun) -> None:
    path = written.folder / "requests.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert any("cannot be read" in problem for problem in verify(written))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow over 16 KiB in this process, which fails like a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing(tmp_path: Path, queue_rows: MakeRows) -> None:
    with pytest.raises(TailraceError, match="was not recorded"), \
            RunWriter(tmp_path / "box", setup="a", workload="b", scenario="c") as writer:
        writer.write_requests(queue_rows(20_000))
    assert list((tmp_path / "box").iterdir()) == []


_FULL_DISK = """
import sys
from pathlib import Path
from harness.errors import TailraceError
from harness.record.write import RunWriter
try:
    with RunWriter(Path(sys.argv[1]) / "box", setup="a", workload="b", scenario="c") as writer:
        writer.server_log.write_bytes(bytes(1 << 20))
except TailraceError as error:
    print(error)
print(sorted(path.name for path in Path(sys.argv[1], "box").iterdir()))
"""


def test_another_disk_that_is_full_is_named(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match=r"^/scratch/payloads: the disk is full"), \
            RunWriter(tmp_path, setup="toy", workload="echo", scenario="calm"):
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/payloads")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny disk needs root")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=256k tmpfs "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, _FULL_DISK], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], check=False, timeout=60)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no private mounts here")
    assert "the disk is full" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("[]")
