"""The decision notebook's cells show a table or a figure each, whatever was found; the notebook runs as a whole."""

import json
import re
import runpy
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest

from harness.analyse.model import Interval
from harness.decide.bill import Offer
from harness.decide.bill_even import break_evens
from harness.decide.bill_offers import Offered
from harness.decide.bill_question import Question
from harness.decide.choice import Choice, Wish, choose
from harness.decide.choice_answer import Wishes
from harness.decide.choice_grid import stability
from harness.decide.demand import Curve, Demand, curve
from harness.decide.fleet import Fleet
from harness.report import decision_charts as charts
from harness.report import decision_story as story
from harness.report.canvas import inks
from harness.report.decision_story import ENVIRONMENT, FILES, report
from harness.report.html import rendered

ROOT = Path(__file__).resolve().parents[2]
DEMAND = curve(Demand(name="d", title="a <day>", shape="diurnal", mean=400), Path())
FLEET, WISH = Fleet(policy="reactive"), Wish({"p(99)": "< 100ms"}, {}, {})


def offer(name: str, rate: float, p99: float) -> Offer:
    return Offer(name, "w", Interval(rate, rate * 0.95, rate * 1.05), 0.2, "i", "p", "s", verdict="pass",
                 p99_ms=Interval(p99, p99 * 0.9, p99 * 1.2), p99_at=50,
                 each_rate={n: rate * (1 + 0.01 * (n % 3)) for n in range(8)})


@pytest.fixture(scope="module")
def choice() -> Choice:
    return choose([offer("slow<b>", 60, 30), offer("fast", 100, 50)], {"x": "fail"}, DEMAND, FLEET, WISH)


def test_every_figure_stands_alone_and_says_what_to_conclude(choice: Choice) -> None:
    offers = tuple(each.offer for each in choice.bills)
    ink = inks([each.setup for each in offers])
    cases = stability(choice, lambda _: Offered(offers, {}, {}), DEMAND, FLEET, WISH)
    drawn = [charts.pareto(choice.bills, ink), charts.hourly(DEMAND, choice.bills, ink),
             charts.over_load(DEMAND, choice.bills, break_evens(list(offers), DEMAND, FLEET), ink),
             charts.grid(cases, choice, ink)]
    for chart in drawn:
        assert chart.svg.startswith("<svg")
        assert "<b>" not in chart.svg
        assert chart.caption.endswith(".")
        assert len(chart.svg) < 60_000
    assert "fast and slow<b> are beaten by none" in drawn[0].caption
    assert f"{choice.bills[0].offer.setup} keeps" in drawn[1].caption
    assert "fast" in drawn[3].caption
    told = charts.grid([replace(case, predicted=case.promise != 1) for case in cases], choice, ink)
    assert told.svg.count("predicted") == 18
    assert "18 of them predicted by a twin" in told.caption
    assert "predicted" not in drawn[3].svg


def test_a_week_is_drawn_small(choice: Choice) -> None:
    week = curve(Demand(name="d", title="", shape="weekly", mean=400), Path())
    assert len(charts.hourly(Curve("w", "", week.rate), choice.bills, inks(["fast", "slow<b>"])).svg) < 60_000


def asks(monkeypatch: pytest.MonkeyPatch, **changes: object) -> story.Decision:
    """A question of the published fraud runs, as the notebook's kernel is told it."""
    question = Question("fraud", ["p(50)<25ms"], "office-week", ["flask", "fastapi"], "", Path(), ["flask=0.02/h"], [],
                        [], [], None)
    table = {**asdict(question), "results": str(ROOT / "results" / "published"), **changes}
    wishes = {"must": "", "weights": "", "worth": 0.05, "error": 0.05}
    monkeypatch.setenv(ENVIRONMENT, json.dumps({"question": table, "wishes": wishes, "today": "2026-11-24",
                                                "folder": "docs/decisions"}))
    return story.open_decision()


def test_a_notebook_without_candidates_says_why_and_runs_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asks(monkeypatch, slo=["p(99)<0.1ms"])
    runpy.run_path(str(ROOT / "notebooks" / "decision.py"))
    assert told.answer.choice.kind == "none"
    assert "None: no setup keeps the promise" in story.headline(told).bundles[0]["text/html"]
    shown = story.candidates(told).bundles[0]["text/html"]
    for name in ("flask", "fastapi"):
        assert re.search(rf"<li>{name}: fail at", shown)
    for cell in (story.front, story.replicas, story.break_even):
        assert "No setup is a candidate" in cell(told).bundles[0]["text/plain"]
    assert "No record: there is nothing to record yet" in story.record(told).bundles[0]["text/plain"]


def test_the_notebook_ends_with_the_record_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = story.record(asks(monkeypatch)).bundles
    assert shown["text/plain"].startswith("---\nstatus:")
    page = shown["text/html"]
    assert page.startswith("<p>docs/decisions/0001-serve-fraud-with-flask.md</p>")
    for part in ("<h3>Serve fraud with flask</h3>", "<h4>Considered Options</h4>", "<h5>Confirmation</h5>",
                 "tailrace decide --recheck docs/decisions/0001-serve-fraud-with-flask.md"):
        assert part in page
    assert "<a" not in page
    assert len(re.findall(r"<li>\d{8}T\S+-flask-fraud-\S+</li>", page)) >= 3


def test_what_a_record_quotes_is_shown_as_text() -> None:
    page = rendered("---\nstatus: x\n---\n\n# <b>one</b>\n\n<script>alert(1)</script>\n\n[go](javascript:alert(2)) "
                    "![x](http://evil.example/a.png)\n\n```toml\nx = \"<img src=x>\"\n```\n")
    assert not re.search(r"<(script|b|img|a)\b", page)
    assert "javascript:" not in page
    assert "evil.example" not in page
    assert "&lt;script&gt;" in page
    assert "<h3>&lt;b&gt;one&lt;/b&gt;</h3>" in page


@pytest.mark.live
def test_the_notebook_goes_from_the_question_to_what_was_assumed(tmp_path: Path) -> None:
    """Live for its kernel: it starts a process and takes ten seconds."""
    question = Question("embed", ["p(99)<100ms"], "office-week", ["flask", "zmq-batching"], "policy=reactive",
                        ROOT / "results" / "published", ["flask=0.05/h"], [], [], [], None)
    report(question, Wishes("", "latency=1", 0.05, 0.05), date(2026, 11, 24), tmp_path)
    notebook, page = (tmp_path / name for name in FILES)
    outputs = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])]
    assert sum("image/svg+xml" in output["data"] for output in outputs) == 4
    text = page.read_text()
    assert "flask: $" in text
    assert "<h4>Decision Outcome</h4>" in text
    for folder in (str(ROOT), str(tmp_path), str(Path.home()) + "/"):
        assert folder not in text
