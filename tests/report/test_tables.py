"""The table: no naked number where there is no valid measurement, and `~` where nothing can be told."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.analyse.model import Analysis
from harness.analyse.summary import analyse
from harness.decide.cost import with_costs
from harness.decide.prices import newest_prices
from harness.report import tables

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script> \x1b[31m| [bold]x[/bold]"


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, write_race: Callable[[Path, Any], None], race: Any,
          simulated: Any) -> Analysis:
    folder = tmp_path_factory.mktemp("results")
    write_race(folder, race("embed", 240, 100, {
        "base": simulated(9.5), "same": simulated(9.5), "quick": simulated(3), "late": simulated(4, lag_ms=3.0),
        "dead": simulated(4, status="failed", reason=HOSTILE)}))
    analysis = analyse(folder)
    return replace(analysis, title=HOSTILE, skipped={"gpu-only × embed": "no GPU here"})


def printed(analysis: Analysis) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(tables.text(analysis))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_every_setup_has_a_line_with_its_verdict(raced: Analysis) -> None:
    table, = tables.tables(raced)
    assert {line.setup: line.verdict for line in table.lines} == {
        "base": "inconclusive", "same": "inconclusive", "quick": "pass", "late": "invalid", "dead": "failed",
        "gpu-only": "skipped"}


def test_without_a_valid_measurement_there_is_a_reason_and_no_figure(raced: Analysis) -> None:
    table, = tables.tables(raced)
    for line in table.lines:
        assert bool(line.figures) == (line.verdict in ("pass", "fail", "inconclusive"))
        assert line.why


def test_the_baseline_column(raced: Analysis) -> None:
    table, = tables.tables(raced)
    last = {line.setup: line.figures[-1] for line in table.lines if line.figures}
    assert last["base"] == "baseline"
    assert last["same"].startswith("~ (≥ ")
    assert last["quick"].startswith("0.")
    assert "×" in last["quick"]


def test_no_difference_says_which_would_have_been_seen(raced: Analysis) -> None:
    found = replace(raced.comparisons[0], told=False)
    assert [tables.ratio(replace(found, detectable=least)) for least in (1.5, math.inf, math.nan)] == [
        "~ (≥ 1.5×)", "~ (> 10.0×)", "~"]


def test_hostile_text_stays_text_everywhere(raced: Analysis) -> None:
    page = "".join(tables.html(table) for table in tables.tables(raced))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    shown = printed(raced)
    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown
    row = next(line for line in tables.markdown(raced).splitlines() if line.startswith("| dead"))
    assert "<script" not in row.replace("\\<", "")
    assert row.replace("\\|", "").count("|") == tables.markdown(raced).splitlines()[2].count("|")


def test_costs_name_their_instance_price_and_doubt(raced: Analysis) -> None:
    listed = with_costs(raced, newest_prices(ROOT), {"quick": 0.34})
    table, = tables.tables(listed)
    told = next(note for note in table.notes if note.startswith("$/million good: "))
    instance = next(cell.cost for cell in listed.cells if cell.setup == "base")
    assert instance
    assert f"${instance.hourly_usd:g}/h {instance.instance} on {instance.price_date}" in told
    assert ("(not verified)" in told) == (not instance.verified)
    assert "$0.34/h as given" in told
    assert "no spare replica" in told
    assert not any(note.startswith("$") for note in tables.tables(raced)[0].notes)


def test_units_stand_in_heads(raced: Analysis) -> None:
    table, = tables.tables(raced)
    assert {"p50 (ms)", "p99 (ms)", "p99.9 (ms)", "goodput (/s)"} <= set(table.head)
