"""Every figure of a decision record leads to a run that `tailrace verify` accepts, and its triggers fire."""

import json
import re
import shlex
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analyse.model import Interval
from harness.cli import decide as command
from harness.decide.bill import Offer
from harness.decide.bill_question import Question
from harness.decide.choice_answer import Wishes
from harness.decide.choice_recheck import Decided, evidence, front_matter, read_decided, recheck, triggers_of
from harness.errors import Exit, TailraceError
from harness.record.verify import verify
from harness.report.decision_record import next_path

ROOT = Path(__file__).resolve().parents[2]
WISHES = Wishes("", "latency=1", 0.05, 0.05)
LABEL = re.compile(r"\\\[(E\d+)\\\]")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published fraud runs of two setups, in a results folder of their own."""
    folder = tmp_path_factory.mktemp("results")
    (machine,) = (ROOT / "results" / "published").iterdir()
    (folder / machine.name).mkdir()
    for path in machine.iterdir():
        if path.name == "machine.json" or re.search(r"Z-(flask|fastapi)-fraud-", path.name):
            (folder / machine.name / path.name).symlink_to(path)
    return folder


def question(results: Path, **changes: object) -> Question:
    table = {"workload": "fraud", "slo": ["p(50)<25ms"], "demand": "office-week", "setups": [], "fleet": "",
             "results": results, "prices": ["flask=0.02/h"], "instances": [], "speeds": [], "carries": [],
             "price_list": None}
    return Question(**{**table, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("my project") / "docs" / "decisions"
    assert command.decide(question(results), WISHES, out, None, as_json=True) == Exit.OK
    return out / "0001-serve-fraud-with-flask.md"


def body(text: str) -> list[str]:
    """Lines of prose: without front matter, fenced code, headings and the list of evidence itself."""
    text = text.split("---\n", 2)[2].split("### Evidence", maxsplit=1)[0]
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_sentence_with_a_figure_leads_to_runs_that_verify_accepts(written: Path, results: Path) -> None:
    text = written.read_text()
    blocks = re.findall(r"\* \*\*(E\d+)\*\* .*\n((?:  \* .*\n?)+)", text.split("### Evidence")[1])
    known = {label: re.findall(r"\[([^\]]+)\]\(", lines) for label, lines in blocks}
    said = [line for line in body(text) if re.search(r"\d", line)]
    assert len(said) > 15
    for line in said:
        labels = LABEL.findall(line)
        assert labels, line
        assert all(known[label] for label in labels)
    for run in {run for runs in known.values() for run in runs}:
        (folder,) = results.glob(f"*/{run}")
        assert verify(folder) == []


def test_a_record_has_the_parts_of_madr(written: Path) -> None:
    headings = re.findall(r"^(#+ .*)$", written.read_text(), flags=re.M)
    for part in ("# Serve fraud with flask", "## Context and Problem Statement", "## Decision Drivers",
                 "## Considered Options", "## Decision Outcome", "### Consequences", "### Confirmation",
                 "## Pros and Cons of the Options", "### fastapi", "## More Information"):
        assert part in headings
    assert shlex.split(re.findall(r"```bash\n(.*)\n```", written.read_text())[0])[2:4] == ["--recheck", str(written)]
    links = re.findall(r"\]\(([^)]+)\)", written.read_text().split("### Evidence")[1])
    assert all((written.parent / unquote(link) / "run.json").is_file() for link in links)


def test_the_command_of_the_confirmation_is_quiet_now_and_fires_later(written: Path, results: Path) -> None:
    assert command.again(written, results, "", [], as_json=True) == Exit.OK
    assert command.again(written, results, "2000", [], as_json=True) == Exit.BROKEN_PROMISE
    assert command.again(written, results, "", ["flask=0.03/h"], as_json=True) == Exit.BROKEN_PROMISE


def test_each_trigger_fires_for_its_own_reason(written: Path, results: Path, tmp_path: Path) -> None:
    decided = read_decided(written)
    lock = ROOT / "setups" / "flask" / "requirements.txt"
    measured = date.fromisoformat(decided.measured)

    def fired(folder: Path = results, lock: Path = lock, day: date = measured, demand: float = 1.0,
              price: float = decided.hourly_usd) -> list[str]:
        return [each.code for each in recheck(decided, folder, lock, day, demand, price) if each.fired]

    assert fired() == []
    assert fired(demand=decided.demand_above * 1.01) == ["demand"]
    assert fired(price=decided.hourly_usd * 1.4) == fired(price=decided.hourly_usd * 0.6) == ["price"]
    assert fired(day=measured + timedelta(days=91)) == ["age"]
    assert fired(folder=tmp_path) == ["evidence"]
    newer = tmp_path / "lock.txt"
    newer.write_text(re.sub(r"(?m)^flask==\S+", "flask==99.0", lock.read_text()))
    assert fired(lock=newer) == ["engine"]


def test_runs_that_are_slower_fire_the_p99(written: Path, results: Path) -> None:
    decided = read_decided(written)
    first = sorted(run for run in decided.runs if "-flask-" in run)[:1]
    assert decided.p99_place.startswith("fraud-steady x1 ")
    for place, codes in ((decided.p99_place, ["p99"]), ("", ["p99"]), ("another", [])):
        strict = replace(decided, runs=first, p99_above_ms=0.01, p99_place=place)
        fired = [each.code for each in recheck(strict, results, Path("none"), date.fromisoformat(decided.measured), 1.0,
                                               decided.hourly_usd) if each.fired]
        assert fired == codes


def test_the_age_is_that_of_the_setup_measured_longest_ago(written: Path, results: Path) -> None:
    runs, _ = evidence(results, read_decided(written).runs)
    aged = [replace(run, meta=replace(run.meta, finished_utc=f"20{20 + (run.meta.repetition > 0)}-01-02T00:00:00Z"))
            if run.meta.arm == "fastapi" else run for run in runs]
    offer = Offer("flask", "fraud", Interval(1, 1, 1), 0.1, "", "", "")
    assert triggers_of({}, offer, aged, 1.0).measured == "2021-01-02"


def test_a_setup_on_a_gpu_makes_a_plain_file_name(tmp_path: Path) -> None:
    (tmp_path / "0003-x.md").write_text("")
    assert next_path(tmp_path, "embed", "zmq-batching (gpu)").name == "0004-serve-embed-with-zmq-batching-gpu.md"


def test_nothing_is_recorded_before_it_is_decided_or_without_evidence(results: Path, tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="nothing to record yet") as error:
        command.decide(question(results, prices=["flask=0.12/h"], demand="40000"), WISHES, tmp_path / "out", None,
                       as_json=True)
    assert error.value.code == Exit.INCONCLUSIVE
    with pytest.raises(TailraceError, match="no run stands behind"):
        command.decide(question(tmp_path, prices=[], carries=["flask=100"], setups=["flask"]), WISHES,
                       tmp_path / "out", None, as_json=True)
    assert not (tmp_path / "out").exists()


def test_an_answer_is_told_with_its_exit_code_though_nothing_can_be_written(
        results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = question(results, slo=["p(99)<0.1ms"])
    for as_json in (True, False):
        with pytest.raises(TailraceError) as error:
            command.decide(nobody, WISHES, tmp_path / "out", None, as_json=as_json)
        assert error.value.code == Exit.BROKEN_PROMISE
        told = capsys.readouterr().out
        assert "None: no setup keeps the promise" in told
        assert not as_json or json.loads(told)["record"] is None
    (tmp_path / "file").write_text("")
    with pytest.raises(TailraceError, match="cannot be written") as error:
        command.decide(question(results), WISHES, tmp_path / "file" / "out", None, as_json=False)
    assert error.value.code == Exit.BAD_CONFIGURATION
    told = capsys.readouterr().out
    assert "flask: $" in told
    for part in ("$/million at peak", "broken min/month", "At peak: price ÷ throughput", "estimated from CPU time"):
        assert part in told


@settings(max_examples=40)
@given(st.text(), st.floats(0.01, 1e6), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, text: str, number: float,
                                 versions: dict[str, str]) -> None:
    decided = Decided({"demand": text}, "s", "w", number, number, 0.3, number, versions, "2026-01-01", 90, [text])
    path = tmp_path_factory.getbasetemp() / "record.md"
    path.write_text(f"---\n{front_matter(decided)}\n---\n", encoding="utf-8")
    assert read_decided(path) == decided


@pytest.mark.parametrize("text", ["", "tailrace: {", 'tailrace: {"schema": 9}', 'tailrace: {"schema": 1}',
                                  "tailrace: 3"])
def test_what_is_no_record_gets_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.md").write_text(text)
    with pytest.raises(TailraceError):
        read_decided(tmp_path / "r.md")
    assert evidence(tmp_path, ["x"]) == ([], [f"run x is not below {tmp_path}"])
