"""The files of a report: all there, harmless, and true to their analysis. A kernel is started for each."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from junitparser import JUnitXml

from harness.analyse.model import Analysis
from harness.errors import TailraceError
from harness.report.notebook import execute
from harness.report.options import Options
from harness.report.write import FILES, report

pytestmark = pytest.mark.live

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png onerror=alert(1)>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_race: Callable[[Path, Any], None], race: Any,
         simulated: Any) -> tuple[Path, Analysis]:
    """A report of three workloads and four setups, one of them failed with a hostile reason."""
    results, out = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("out") / "report"
    for workload, rate, ms in (("embed", 240, 5), ("fraud", 900, 0.9), ("ocr", 60, 20)):
        write_race(results, race(workload, rate, 20 * ms, {
            "flask": simulated(ms * 1.8), "fastapi": simulated(ms * 1.7, break_s=1.0), "zmq": simulated(ms, batch=8),
            "redis": simulated(ms, status="failed", reason=f"{HOSTILE} see {results}/server.log")}))
    return out, report(Options(str(results), title=HOSTILE, question=HOSTILE), out)


def test_all_files_are_there_and_nothing_else(made: tuple[Path, Analysis]) -> None:
    assert sorted(path.name for path in made[0].iterdir()) == sorted(FILES)


def test_every_figure_is_in_the_page_and_stands_alone(made: tuple[Path, Analysis]) -> None:
    notebook = json.loads((made[0] / "notebook.ipynb").read_text(encoding="utf-8"))
    figures = [output["data"]["image/svg+xml"] for cell in notebook["cells"] if cell["cell_type"] == "code"
               for output in cell["outputs"] if "image/svg+xml" in output.get("data", {})]
    assert len(figures) == 6 * 3  # six stories of three workloads each
    page = (made[0] / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(figures)
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "".join(root.itertext()).strip()


def test_no_folder_of_this_machine_is_told(made: tuple[Path, Analysis]) -> None:
    places = (str(Path.cwd()), sys.prefix, str(made[0].parent), "/tmp/")
    for name in FILES:
        text = (made[0] / name).read_text(encoding="utf-8")
        assert not [place for place in places if place in text], name


def test_the_notebook_has_no_error_and_no_stray_output(made: tuple[Path, Analysis]) -> None:
    notebook = json.loads((made[0] / "notebook.ipynb").read_text(encoding="utf-8"))
    kinds = {output["output_type"] for cell in notebook["cells"] for output in cell.get("outputs", ())}
    assert kinds == {"display_data"}


def test_the_summary_is_strict_json_with_the_same_figures(made: tuple[Path, Analysis]) -> None:
    out, analysis = made

    def refuse(word: str) -> None:
        raise AssertionError(word)

    said = json.loads((out / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert said["schema"] == 1
    assert [cell["quantiles_ms"]["0.5"]["value"] for cell in said["cells"]] == \
        [cell.quantiles_ms[0.5].value for cell in analysis.cells]
    broken = next(cell for cell in said["cells"] if cell["setup"] == "fastapi")
    assert broken["quantiles_ms"]["0.99"]["value"] is None


def test_junit_reads_back_with_every_verdict(made: tuple[Path, Analysis]) -> None:
    out, analysis = made
    suites = JUnitXml.fromfile(str(out / "junit.xml"))
    kinds = {(case.classname, case.name): [type(result).__name__ for result in case.result]
             for suite in suites for case in suite}
    for cell in analysis.cells:
        expected = {"pass": [], "fail": ["Failure"], "inconclusive": ["Skipped"], "invalid": ["Error"]}[cell.verdict]
        assert kinds[f"{cell.workload} · {cell.scenario}", cell.setup] == expected
    assert kinds["failed", "redis × ocr"] == ["Error"]
    passed = [case.system_out for suite in suites for case in suite if not case.result]
    assert all(text.startswith("pass: ") for text in passed)


def test_markdown_shows_hostile_text_as_text(made: tuple[Path, Analysis]) -> None:
    text = (made[0] / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<(?!/?details|/?summary)", text)
    assert "✗ fail" in text


def test_no_records_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TailraceError, match="no finished run"):
        report(Options(str(tmp_path / "empty")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failing_cell_is_one_sentence_and_leaves_no_kernel(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("# %%\nimport os\nprint(os.getpid())\n\n# %%\nopen('pid', 'w').write(str(os.getpid()))\n1 / 0\n")
    with pytest.raises(TailraceError, match="ZeroDivisionError"):
        execute(source, {}, tmp_path)
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
