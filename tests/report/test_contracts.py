"""What `tailrace check` found is kept as data, and stands beside the figures of what ran."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.summary import analyse
from harness.errors import TailraceError
from harness.record.conformance import (
    ANSWERS_KEPT,
    Conformance,
    Point,
    read_answers,
    read_conformance,
    write_conformance,
)
from harness.record.layout import run_folders
from harness.record.write import write_machine
from harness.report.markdown import markdown
from harness.report.upkeep import contract_html, contract_rows, limit_rows, upkeep_html, upkeep_rows

HASHES = {"setup": "setup", "workload": "workload", "lock": "lock"}


def found(name: str, *points: Point, **hashes: str) -> Conformance:
    return Conformance(name, "embed", "2026-11-23T12:00:00Z", {**HASHES, **hashes}, points)


def test_a_check_reads_back_and_is_replaced_by_the_next(tmp_path: Path) -> None:
    write_machine(tmp_path, "vm", {})
    write_conformance(tmp_path / "vm", found("flask", Point("ready", "failed", "no")), ())
    write_conformance(tmp_path / "vm", found("flask", Point("ready", "passed", "yes")), (b"a", b"b"))
    write_conformance(tmp_path / "vm", found("ann"), tuple(b"%d" % n for n in range(100)))
    assert [(each.setup, each.points) for each in read_conformance(tmp_path / "vm")] == [
        ("ann", ()), ("flask", (Point("ready", "passed", "yes"),))]
    answers = read_answers(tmp_path / "vm", "embed", lambda _: HASHES)
    assert answers["flask"] == [b"a", b"b"]
    assert len(answers["ann"]) == ANSWERS_KEPT
    for noun in HASHES:
        assert read_answers(tmp_path / "vm", "embed", lambda _, noun=noun: {**HASHES, noun: "changed"}) == {}
    assert set(read_answers(tmp_path / "vm", "embed", lambda name: HASHES if name == "ann" else {})) == {"ann"}
    assert run_folders(tmp_path) == []
    assert not [path for path in (tmp_path / "vm" / "conformance").iterdir() if path.name.startswith(".")]


def test_a_damaged_check_is_one_sentence(tmp_path: Path) -> None:
    write_conformance(tmp_path, found("flask"), ())
    (tmp_path / "conformance" / "flask-embed.json").write_text(json.dumps({"setup": "flask"}))
    with pytest.raises(TailraceError, match=r"flask-embed\.json: cannot be read"):
        read_conformance(tmp_path)


def test_limits_are_shown_escaped(tmp_path: Path, write_race: Callable[..., None], race: Any, simulated: Any) -> None:
    write_race(tmp_path, race("embed", 100, 60, {"flask": simulated(5), "fast": simulated(4)}))
    analysis = analyse(tmp_path)
    flask, fast = analysis.upkeep
    limits = {"no_queue": "requests <wait> in memory | on a list", "wire": "JSON"}
    shown = replace(analysis, upkeep=(replace(flask, limits=limits), fast))
    assert limit_rows(shown.upkeep)[1:] == [("flask", "no queue", limits["no_queue"]), ("flask", "wire", "JSON")]
    assert "What it cannot do" in upkeep_html(shown)
    assert "requests &lt;wait&gt; in memory" in upkeep_html(shown)
    assert "| flask | wire | JSON |" in markdown(shown)
    assert limit_rows(analysis.upkeep) == []
    assert "What it cannot do" not in upkeep_html(analysis)


def test_points_stand_beside_the_figures(tmp_path: Path, write_race: Callable[..., None], race: Any,
                                         simulated: Any) -> None:
    write_race(tmp_path, race("embed", 100, 60, {"flask": simulated(5), "fast | <b>": simulated(4)}, extra={
        "env_bytes": 5e7, "code_lines": 42, "processes": {"gunicorn": 4}, "engine_versions": {"flask": "3.1"}}))
    machine = next(path for path in tmp_path.iterdir() if path.is_dir())
    kept = [Point("ready", "passed", "1.0 s"), Point("same-answers", "skipped", "alone")]
    write_conformance(machine, found("flask", *kept, Point("overload", "failed", "all waited <script>")), ())
    write_conformance(machine, found("elsewhere", *kept), ())
    analysis = analyse(tmp_path)
    [contract] = analysis.contracts
    assert (contract.kept, contract.failed, contract.current) == (1, {"overload": "all waited <script>"}, True)
    assert contract_rows(analysis.contracts)[1] == (
        "flask", "embed", "1 of 2", "overload: all waited <script>", "2026-11-23")
    assert "<script>" not in contract_html(analysis)
    assert "&lt;b&gt;" in upkeep_html(analysis)
    assert upkeep_rows(analysis.upkeep)[1] == ("flask", "–", "1.5", "50.0", "42", "4: 4 gunicorn", "flask 3.1")
    text = markdown(analysis)
    assert "| flask † |" in text
    assert "† flask does not keep overload of the contract" in text
    write_conformance(machine, replace(found("flask"), knobs={"workers": 1}), ())
    assert analyse(tmp_path).contracts == analysis.contracts  # it was checked with other knobs than it ran with
    write_conformance(machine, found("flask", *kept, setup="changed"), ())
    assert not analyse(tmp_path).contracts[0].current
