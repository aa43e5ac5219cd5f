"""What a person sees while runs go on, on a terminal and elsewhere."""

import io
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.catalog.discover import Catalog
from harness.cli.ask import asked_plan
from harness.cli.live import LiveView
from harness.plan.attempt import Attempt
from harness.plan.expand import expand
from harness.record.schema import SCHEMA, RunMeta
from harness.run.cell import Progress

SEEN = Progress(2.0, 510, 500, 3, 4.2, 31.0, 248.5)
META = RunMeta(schema=SCHEMA, run_id="r", status="ok", reason="", setup="calm", workload="echo", scenario="brief",
               load=1.0, repetition=0, block=0, order=0, started_utc="", finished_utc="", machine_id="box", plan="p",
               baseline="", knobs={}, scenario_resolved={}, setup_facts={}, workload_facts={}, seeds={"attempt": 7},
               server_cpus=[0], load_cpus=[1], hashes={}, versions={}, git={})


@pytest.fixture(scope="module")
def attempts() -> list[Attempt]:
    catalog = Catalog(Path(__file__).parents[1] / "toys")
    return expand(asked_plan(catalog, ["calm"], ["echo"], "brief", [], {}, repetitions=3), catalog, 1)


def shown(view: LiveView, console: Console) -> str:
    with console.capture() as captured:
        console.print(view._panel())
    return captured.get()


def test_a_terminal_shows_what_runs_what_is_next_and_the_figures_so_far(attempts: list[Attempt]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=140)
    view = LiveView(console, 3, "three runs")
    view.started(attempts[0], attempts[1])
    view.progress(replace(SEEN, p50_ms=math.nan, p99_ms=math.nan, rate=math.nan, done=0))
    assert "0 answers, –/s, p50 – ms" in shown(view, console)
    view.progress(SEEN)
    first = shown(view, console)
    assert "three runs   0/3 runs" in first
    assert "▶" in first
    assert "248/s, p50 4.20 ms, p99 31.0 ms, 3 errors" in first
    assert "left" not in first
    view.since -= 10.0
    view.finished(attempts[0], META)
    view.begun = time.monotonic() + 0.5
    view.now, view.next = "the second", "the third"
    second = shown(view, console)
    assert "ok" in second
    assert "500 answers, 248/s" in second
    assert "next" in second
    assert "the third" in second
    assert "about 0:2" in second


def test_elsewhere_a_line_says_how_each_run_ended(attempts: list[Attempt]) -> None:
    console = Console(file=io.StringIO(), width=140, record=True)
    with LiveView(console, 2, "two runs") as view:
        view.started(attempts[0], attempts[1])
        view.progress(SEEN)
        view.finished(attempts[0], META)
        view.finished(attempts[1], replace(META, status="skipped", reason="no GPU here"))
    lines = console.export_text().splitlines()
    assert lines[0] == "two runs: 2 runs"
    assert lines[1].startswith("[1/2] ok      calm × echo × brief r1  500 answers, 248/s, p50 4.20 ms")
    assert lines[2].endswith("r2  no GPU here")
