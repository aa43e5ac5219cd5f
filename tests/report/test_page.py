"""The page: one small offline file in which nothing foreign is more than text."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.record.read import find_runs
from harness.report import story
from harness.report.html import page
from harness.report.notebook import SOURCES
from harness.report.options import Options
from harness.report.rows import opened

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png onerror=alert(1)>$x_1$"
QUESTIONS = (story.headline, story.comparison, story.tails, story.over_time, story.time_spent, story.slowest,
             story.batch_sizes, story.service_time, story.more_load, story.trust, story.how_measured)


class Tags(HTMLParser):
    """Every element with its attributes, and the text of style elements."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_race: Callable[[Path, Any], None], race: Any,
         simulated: Any) -> str:
    """The page of three workloads, four setups and two loads, with hostile texts wherever a text can come from."""
    results = tmp_path_factory.mktemp("results")
    for workload, rate, ms in (("embed", 240, 5), ("fraud", 900, 0.9), ("ocr", 60, 20)):
        setups = {"<b>flask": simulated(ms * 1.8), "fastapi": simulated(ms * 1.7, break_s=1.0),
                  "zmq": simulated(ms, batch=8), "redis": simulated(ms, status="failed", reason=HOSTILE)}
        for load in (1.0, 2.0):
            write_race(results, race(workload, rate, 20 * ms, setups, load=load, repetitions=3))
    analysis, drawn = opened(Options(str(results)))
    analysis = replace(analysis, title=HOSTILE, question=HOSTILE, machine={HOSTILE: {HOSTILE: [HOSTILE]}},
                       skipped={"triton × embed": HOSTILE})
    runs = {run.meta.run_id: run for run in find_runs(results).runs}
    asked = story.Results(analysis, runs, drawn)
    outputs = [{"output_type": "display_data", "data": bundle} for ask in QUESTIONS for bundle in ask(asked).bundles]
    outputs.append({"output_type": "stream", "name": "stdout", "text": HOSTILE})
    cells = [{"cell_type": "markdown", "source": "## A `question`?"},
             {"cell_type": "code", "source": HOSTILE, "outputs": outputs}]
    return page({"cells": cells}, HOSTILE)


def test_it_is_small(made: str) -> None:
    assert len(made.encode()) < 1_000_000
    assert made.count("<svg") == 6 * 3 + 3


def test_too_few_answers_for_a_slowest_percent_are_a_sentence_and_no_empty_figure(
        tmp_path: Path, write_race: Callable[[Path, Any], None], race: Any, simulated: Any) -> None:
    for workload, rate in (("embed", 300), ("ocr", 12)):
        write_race(tmp_path, race(workload, rate, 100, {"flask": simulated(5), "zmq": simulated(4)}, repetitions=2))
    analysis, drawn = opened(Options(str(tmp_path)))
    shown = story.slowest(story.Results(analysis, {run.meta.run_id: run for run in find_runs(tmp_path).runs}, drawn))
    assert ["image/svg+xml" in bundle for bundle in shown.bundles] == [True, False, False]
    assert shown.bundles[-1]["text/plain"] == \
        "ocr · ocr-steady: ~ Too few answers of zmq and flask for a slowest percent."


def test_it_loads_and_runs_nothing(made: str) -> None:
    seen = Tags()
    seen.feed(made)
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form", "image"} & set(seen.names)
    for name, value in seen.attributes:
        assert not name.startswith("on"), (name, value)
        assert name not in ("src", "action", "data", "srcset", "xlink:href"), (name, value)
        assert name != "href" or value.startswith("#"), value
        assert not re.search(r"url\((?!#)", value), value
    style = "".join(re.findall(r"<style[^>]*>(.*?)</style>", made, re.S))
    assert "@import" not in style
    assert "url(" not in style
    assert ("http-equiv", "Content-Security-Policy") in seen.attributes
    policy = next(value for name, value in seen.attributes if name == "content" and value.startswith("default-src"))
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy


def test_hostile_text_is_shown_as_it_is(made: str) -> None:
    assert made.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") >= 5
    assert "<b>flask" not in made
    assert "evil.example" in made


def test_no_address_but_the_hostile_one_is_in_it(made: str) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'<>&)]+", made))
    assert addresses <= {"http://evil.example/a.png"}


def test_the_notebook_narrates_and_computes_nothing() -> None:
    for path in SOURCES.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.BinOp, ast.AugAssign, ast.For)
        assert not [node for node in nodes if isinstance(node, forbidden)], path
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert not [text for text in texts if "/" in text or "\\" in text], path


def test_a_report_costs_nothing_until_it_is_made() -> None:
    code = ("import sys, harness.report.write\n"
            "sys.exit(any(m in sys.modules for m in ('matplotlib', 'nbclient', 'nbconvert', 'jupytext', 'IPython')))")
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
