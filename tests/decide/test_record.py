"""Every figure of a decision record leads to a run that `tailrace verify` accepts, and its triggers fire."""

import json
import math
import re
import shlex
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.analyse.model import Interval
from harness.cli import decide as command
from harness.cli import look
from harness.cli.app import app
from harness.decide.bill import Offer
from harness.decide.bill_question import Question
from harness.decide.choice_answer import Wishes
from harness.decide.choice_recheck import Decided, Today, evidence, front_matter, read_decided, recheck, triggers_of
from harness.errors import Exit, TailraceError, UsageError
from harness.record.read import open_run, read_machine
from harness.record.verify import verify
from harness.report.decision_record import next_path
from tests.decide.published import linked

ROOT = Path(__file__).resolve().parents[2]
WISHES = Wishes("", "latency=1", 0.05, 0.05)
LABEL = re.compile(r"\\\[([EPDG]\d*)\\\]")
MEASURED = {"flask": "3.1.3", "gunicorn": "27.0.1"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published fraud runs of two setups, in a results folder of their own."""
    folder = tmp_path_factory.mktemp("results")
    linked(folder)
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


def evidence_of(text: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """By label: the run ids of the runs, and what the others say."""
    listed = text.split("### Evidence")[1]
    blocks = re.findall(r"\* \*\*(E\d+)\*\* .*\n((?:  \* .*\n?)+)", listed)
    others = {label: line for line in listed.splitlines() for label in re.findall(r"\*\*([PDG]\d*)\*\*", line)}
    return {label: re.findall(r"\[([^\]]+)\]\(", lines) for label, lines in blocks}, others


def test_every_sentence_with_a_figure_leads_to_what_it_rests_on(written: Path, results: Path) -> None:
    text = written.read_text()
    runs, others = evidence_of(text)
    said = [line for line in body(text) if re.search(r"\d", line)]
    assert len(said) > 15
    for line in said:
        assert LABEL.findall(line), line
        assert {*LABEL.findall(line)} <= {*runs, *others}
    for run in {run for each in runs.values() for run in each}:
        (folder,) = results.glob(f"*/{run}")
        assert verify(folder) == []


def test_a_label_stands_where_the_figure_is_and_no_run_where_it_is_not(written: Path, results: Path) -> None:
    text = written.read_text()
    runs, others = evidence_of(text)
    lines = {line: LABEL.findall(line) for line in body(text)}

    def labels(start: str) -> list[str]:
        (found,) = [found for line, found in lines.items() if line.startswith(start)]
        return found

    assert labels("Which setup should serve") == ["G", "D"]
    assert labels("* demand: the mean of office-week grows from 300 to above 450") == ["D"]
    assert labels("* Demand office-week") == ["D"]
    assert labels("* Replicas: ") == ["G"]
    assert labels("* price: an hour of flask") == labels("* \\$0.02 an hour") == ["P2"]
    assert labels("* \\$0.1785 an hour") == ["P1"]
    assert "price list 2026-11, checked 2026-" in others["P1"]
    assert "price as given" in others["P2"]
    assert labels("* Good, because it costs") == ["E2", "P2", "D", "G"]
    for line, found in lines.items():
        measured = {label for label in found if label.startswith("E")}
        if measured and "Computed from" not in line:  # then the figure stands in the run itself
            (label,), (had, of) = measured, re.findall(r"with (\d) of the (\d) CPUs", line)[0]
            for name in runs[label]:
                (folder,) = results.glob(f"*/{name}")
                assert len(open_run(folder).meta.server_cpus) == int(had)
                assert read_machine(folder.parent)["cpus"] == int(of)


def test_what_was_given_is_all_in_the_record_and_asks_the_same_again(results: Path, tmp_path: Path) -> None:
    out, prices = tmp_path / "my decisions", tmp_path / "prices.toml"
    (machine,) = results.iterdir()
    prices.write_text((ROOT / "prices" / "2026-11.toml").read_text())
    asked = question(results, slo=["p(50)<25ms", "errors<1%"], setups=["flask", "fastapi"], fleet="spare=2",
                     instances=["fastapi=c7i.xlarge"], speeds=["fastapi=1.5"], carries=["fastapi=400"],
                     price_list=prices, machines=[f"flask={machine.name}"])
    assert command.decide(asked, Wishes("gpu=no", "latency=2", 0.04, 0.03), out, None, as_json=True) == Exit.OK
    (first,) = out.iterdir()
    text = first.read_text()
    given = read_decided(first).question
    assert (given["setup"], given["worth"], given["error"]) == (["flask", "fastapi"], 0.04, 0.03)
    for line in ('setup = ["flask", "fastapi"]', "worth = 0.04", "error = 0.03", 'carries = ["fastapi=400"]',
                 f'machine = ["flask={machine.name}"]'):
        assert line in text.splitlines()
    assert "(as given). Computed from \\[G\\]." in text
    (again,) = re.findall(r"^(tailrace decide --workload .*)$", text, flags=re.M)
    done = CliRunner().invoke(app, [*shlex.split(again)[1:], "--json"])
    assert done.exit_code == Exit.OK
    second = next(path for path in out.iterdir() if path != first)
    assert second.name == first.name.replace("0001", "0002")
    assert second.read_text() == text.replace(first.name, second.name)


def test_where_nothing_is_written_the_way_to_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.decide(question(results), WISHES, None, None, as_json=False) == Exit.OK
    assert "Add --out docs/decisions to write it down, as docs/decisions/0001-serve-fraud-with-flask.md." in \
        " ".join(capsys.readouterr().out.split())
    assert command.decide(question(results, prices=["flask=0.12/h"], demand="40000"), WISHES, None, None,
                          as_json=False) == Exit.INCONCLUSIVE
    assert "--out" not in capsys.readouterr().out


def test_the_command_that_proves_a_run_knows_one_machines_folder(written: Path, results: Path) -> None:
    run = read_decided(written).runs[0]
    (machine,) = results.iterdir()
    for folder in (results, machine):
        assert look.verify(Path(run), folder, as_json=True) == Exit.OK
    with pytest.raises(UsageError, match="no such run below"):
        look.verify(Path(run), machine / "nowhere", as_json=True)


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
    measured = date.fromisoformat(decided.measured)

    def fired(folder: Path = results, day: date = measured, demand: float = 1.0, price: float = decided.hourly_usd,
              lost: str = "", **engines: str) -> list[str]:
        today = Today(day, demand, price, "as given", {**MEASURED, **engines}, lost)
        return [each.code for each in recheck(decided, folder, today) if each.fired]

    assert fired() == []
    assert fired(demand=decided.demand_above * 1.01) == ["demand"]
    assert fired(price=decided.hourly_usd * 1.4) == fired(price=decided.hourly_usd * 0.6) == ["price"]
    assert fired(day=measured + timedelta(days=91)) == ["age"]
    assert fired(folder=tmp_path) == ["evidence"]
    assert fired(flask="99.0") == fired(gunicorn="1.0") == fired(granian="2.0") == ["engine"]
    assert fired(price=math.nan) == ["price"]
    assert fired(lost="there is no such lock") == ["engine"]


def rechecked(capsys: pytest.CaptureFixture[str], path: Path, folder: Path, *prices: str) -> tuple[int, dict[str, str]]:
    """The exit code, and the words of the triggers that fired."""
    capsys.readouterr()
    code = command.again(path, folder, "", prices, as_json=True)
    return code, {each["code"]: each["words"] for each in json.loads(capsys.readouterr().out)["triggers"]
                  if each["fired"]}


def test_a_price_that_can_no_longer_be_told_is_not_quiet(results: Path, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text((ROOT / "prices" / "2026-11.toml").read_text())
    asked = question(results, prices=["fastapi=9/h"], instances=["flask=c7i.xlarge"], price_list=prices)
    assert command.decide(asked, WISHES, tmp_path / "out", None, as_json=True) == Exit.OK
    path = tmp_path / "out" / "0001-serve-fraud-with-flask.md"
    assert rechecked(capsys, path, results) == (Exit.OK, {})
    prices.write_text(re.sub(r'"c7i.xlarge"', '"c8i.xlarge"', prices.read_text()))
    code, fired = rechecked(capsys, path, results)
    assert (code, list(fired)) == (Exit.BROKEN_PROMISE, ["price"])
    assert "cannot be evaluated" in fired["price"]
    assert "no instance 'c7i.xlarge'" in fired["price"]
    assert rechecked(capsys, path, results, "flask=0.18/h") == (Exit.OK, {})
    code, fired = rechecked(capsys, path, tmp_path / "none")
    assert (code, list(fired)) == (Exit.BROKEN_PROMISE, ["price", "evidence"])
    with pytest.raises(UsageError, match="the record chose flask"):
        command.again(path, results, "", ["flsk=0.18/h"], as_json=True)


def test_runs_that_are_slower_fire_the_p99(written: Path, results: Path) -> None:
    decided = read_decided(written)
    first = sorted(run for run in decided.runs if "-flask-" in run)[:1]
    assert decided.p99_place.startswith("fraud-steady x1 ")
    for place, codes in ((decided.p99_place, ["p99"]), ("", ["p99"]), ("another", [])):
        strict = replace(decided, runs=first, p99_above_ms=0.01, p99_place=place)
        today = Today(date.fromisoformat(decided.measured), 1.0, decided.hourly_usd, "as given", MEASURED)
        assert [each.code for each in recheck(strict, results, today) if each.fired] == codes


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
    with pytest.raises(UsageError, match="is no folder"):
        command.decide(question(results), WISHES, tmp_path / "out" / "0001-x.md", None, as_json=True)
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
    decided = Decided({"demand": text}, "s", "w", number, number, 0.3, number, versions, "2026-01-01", 90, [text],
                      text, "3.11.7", {"workers": 3, "fast": True, "mode": text})
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
