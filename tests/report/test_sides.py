"""The comparison of two results folders: tables, words and figures that agree, and a notebook that runs."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.errors import TailraceError, UsageError
from harness.record.seal import digest
from harness.report import sides, sides_story
from harness.report.options import Options

Write = Callable[[Path, Any], None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, write_race: Write, simulated: Any,
            race: Any) -> tuple[Path, Path]:
    """Two machines' results: the second serves four times as fast, under the same load, and lacks one setup."""
    made = []
    for name, speed, more in (("slow", 1.0, ("flask",)), ("fast", 4.0, ())):
        folder = tmp_path_factory.mktemp(name)
        setups = {each: simulated(8.0 / speed, batch=4) for each in ("zmq-batching", *more)}
        write_race(folder, race("embed", 120.0, 100.0, setups, repetitions=3))
        _called(folder, name)
        made.append(folder)
    return made[0], made[1]


def _called(folder: Path, name: str) -> None:
    """The folder's machine under another name."""
    [machine] = [path.parent for path in folder.glob("*/machine.json")]
    facts = json.loads((machine / "machine.json").read_text())
    (machine / "machine.json").write_text(json.dumps({**facts, "id": name, "cpu": f"A {name} CPU"}))
    for path in machine.glob("*/run.json"):
        table = {**json.loads(path.read_text()), "machine_id": name}
        path.write_text(json.dumps({**table, "digest": digest(table)}))
    machine.rename(machine.with_name(name))


@pytest.fixture(scope="module")
def told(folders: tuple[Path, Path]) -> sides_story.Devices:
    slow, fast = folders
    return sides_story.devices(Options(str(fast)), [slow])


def test_the_faster_machine_is_seen_as_faster(told: sides_story.Devices) -> None:
    assert told.across.title == "A fast CPU, 4 CPUs against A slow CPU, 4 CPUs"
    [each] = told.across.met
    assert each.setup == "zmq-batching"
    assert each.same_load
    assert each.ratios["p99"].told
    assert each.ratios["p99"].ratio.value == pytest.approx(0.25, abs=0.1)
    [table] = sides.tables(told.across)
    assert [row[:2] for row in table.rows] == [("zmq-batching", "A slow CPU, 4 CPUs"),
                                               ("zmq-batching", "A fast CPU, 4 CPUs")]
    assert {len(row) for row in table.rows} == {len(sides.HEAD)}
    [sentence] = sides.sentences(told.across)
    assert "the p99" in sentence
    assert "A fast CPU" in sentence
    assert told.across.missing == ("flask on embed was not measured on A fast CPU, 4 CPUs: it was not raced there.",)


def test_every_form_says_the_same(told: sides_story.Devices) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(sides.text(told.across))
    printed, marked = console.export_text(), sides.markdown(told.across).replace("\\", "")
    for row in sides.tables(told.across)[0].rows:
        for figure in row[3:8]:
            assert figure in printed
            assert figure in marked
            assert figure.replace(" %", "\u00a0%") in sides.html(sides.tables(told.across)[0]).replace(" %", "\u00a0%")
    assert json.loads(json.dumps(sides_story.summary(told)))["sentences"] == list(sides.sentences(told.across))


def test_figures_are_drawn(told: sides_story.Devices) -> None:
    for chart in (sides.frontier(told.across, "embed"), sides.time_spent(told.across, "embed")):
        assert chart.svg.startswith("<svg")
        assert "zmq-batching" in chart.svg
        assert chart.caption


def test_one_machine_alone_stands_against_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    slow, _ = folders
    with pytest.raises(UsageError, match="one machine and one device"):
        sides_story.devices(Options(str(slow)), [slow])
    with pytest.raises(TailraceError, match="no machine's results here"):
        sides_story.devices(Options(str(slow)), [tmp_path])


@pytest.mark.live
def test_the_notebook_runs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    slow, fast = folders
    sides_story.report(Options(str(fast)), [slow], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(sides_story.FILES)
    page = (tmp_path / "devices.html").read_text()
    assert "A fast CPU, 4 CPUs against A slow CPU, 4 CPUs" in page
    assert page.count("<figure>") == 2
    assert "no energy was measured" in page
    assert str(fast) not in page
