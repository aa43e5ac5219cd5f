"""Advice follows from the answers, and the plan it writes can be run."""

import json
import shlex
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.toml import validate
from harness.cli import advise as command
from harness.decide.advise import Answers, advise, mode_of
from harness.decide.bill_question import parse_slo
from harness.decide.demand import find_demand
from harness.errors import TailraceError, UsageError
from harness.plan.expand import expand

CATALOG = Catalog(Path(__file__).resolve().parents[2])


def answers(**table: object) -> Answers:
    return validate(Answers, {"workload": "embed", "requests_per_day": 1e6, **table}, "test")


@pytest.mark.parametrize(("table", "mode"), [
    ({}, "interactive"), ({"waits": "system"}, "interactive"), ({"waits": "nobody"}, "streaming"),
    ({"waits": "nobody", "fresh_s": 86400}, "batch"), ({"offline": True}, "edge"),
    ({"waits": "user", "fresh_s": 86400}, "interactive"),
])
def test_the_mode_follows_from_who_waits_and_how_fresh(table: dict[str, object], mode: str) -> None:
    assert mode_of(answers(**table))[0] == mode


def test_more_traffic_makes_more_machinery_worth_measuring() -> None:
    setups = [CATALOG.setup(name) for name in CATALOG.setup_names()]
    few, many = (dict(advise(answers(requests_per_day=n), setups).setups) for n in (1e4, 1e8))
    assert {"flask", "fastapi"} <= set(few)
    assert set(few) < set(many)
    assert "redis-batching" in dict(advise(answers(requests_per_day=1e4, has=["redis"]), setups).setups)


@settings(max_examples=30)
@given(st.sampled_from(["user", "system", "nobody"]), st.floats(0.01, 1e6), st.booleans(), st.floats(1, 1e11),
       st.floats(1, 1000), st.floats(0.1, 1e5), st.sampled_from(["standard", "python"]),
       st.sampled_from(["embed", "fraud", "ocr"]))
def test_whatever_is_answered_the_plan_can_be_run_and_the_demand_read(
        tmp_path_factory: pytest.TempPathFactory, waits: str, fresh: float, offline: bool, per_day: float, peak: float,
        latency: float, custom: str, workload: str) -> None:
    given_ = answers(waits=waits, fresh_s=fresh, offline=offline, requests_per_day=per_day, peak_over_mean=peak,
                     latency_ms=latency, custom=custom, workload=workload)
    out = tmp_path_factory.getbasetemp() / "advice"
    made = advise(given_, [CATALOG.setup(name) for name in ("flask", "fastapi", "zmq-batching", "ray-serve")])
    command._write(given_, made, command._steps(given_, made, out), out)
    attempts = expand(CATALOG.plan(str(out / "plan.toml")), CATALOG, 3)
    assert len(attempts) == 10 * len(made.setups)
    assert find_demand(CATALOG, str(out / "demand.toml")).mean == pytest.approx(per_day / 86400, rel=1e-4)


def test_the_steps_search_every_candidates_capacity_before_they_decide_on_it(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The promise searched for is the one decided on, clause by clause, so that no candidate is an estimate."""
    (tmp_path / "a.toml").write_text('workload = "embed"\nrequests_per_day = 4e7\nlatency_ms = 80\n')
    command.advise(tmp_path / "a.toml", tmp_path / "out", as_json=True)
    told = json.loads(capsys.readouterr().out)
    steps = [shlex.split(step) for step in told["next"]]
    assert [step[1] for step in steps] == ["run", *["capacity"] * len(told["setups"]), "decide"]
    assert [step[2] for step in steps[1:-1]] == list(told["setups"])
    promises = {tuple(step[place + 1] for place, word in enumerate(step) if word == "--slo") for step in steps[1:]}
    assert promises == {("p(99)<80ms", "errors<0.1%")}
    assert set(parse_slo(promises.pop())) == {"p(99)", "errors"}
    assert steps[-1][steps[-1].index("--demand") + 1] == str(tmp_path / "out" / "demand.toml")
    for step in told["next"]:
        assert f"# {step}\n" in (tmp_path / "out" / "plan.toml").read_text()


def test_where_no_setup_is_made_for_small_machines_that_is_said() -> None:
    setups = [CATALOG.setup(name) for name in ("flask", "zmq-batching")]
    made = advise(answers(offline=True), setups)
    assert any("No setup here is made for small machines" in reason for reason in made.reasons)
    small = setups[0].model_copy(update={"tier": "edge"})
    assert len(advise(answers(offline=True), [small]).reasons) == 1


def test_answers_come_from_a_file_and_mistakes_get_one_sentence(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('workload = "fraud"\nwaits = "user"\nrequests_per_day = 5e6\nhas = ["redis"]\n')
    command.advise(tmp_path / "a.toml", tmp_path / "out", as_json=False)
    said = capsys.readouterr().out
    for word in ("Interactive:", "Batch:", "Streaming:", "Edge:", "flask: the least machinery", "tailrace run",
                 "tailrace decide --workload fraud"):
        assert word in said
    (tmp_path / "b.toml").write_text('workload = "fraud"\nwaits = "cat"\nrequests_per_day = 5\n')
    with pytest.raises(TailraceError, match="waits"):
        command.advise(tmp_path / "b.toml", tmp_path / "out", as_json=False)
    with pytest.raises(UsageError, match="nobody is there to ask"):
        command.advise(None, tmp_path / "out", as_json=False)
    assert find_catalog().root == CATALOG.root


def test_a_wrong_word_is_asked_for_again_at_once() -> None:
    app, got = typer.Typer(), []
    app.command()(lambda: got.append(command.asked(CATALOG)))
    lines = ["embd", "embed", "exotic", "python", "cat", "system", "soon", "-1", "2.5", "perhaps", "n", "1e6", "0.5",
             "4", "150", "redis, gpu"]
    said = CliRunner().invoke(app, input="\n".join(lines) + "\n").output
    assert got == [answers(waits="system", fresh_s=2.5, peak_over_mean=4.0, latency_ms=150.0, has=("redis", "gpu"))]
    assert said.count("Which model") == 2
    assert said.count("Who waits") == 2
    assert "did you mean 'embed'" in said


def test_what_settles_a_batch_job_is_price_over_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('workload = "fraud"\nwaits = "nobody"\nfresh_s = 86400\nrequests_per_day = 5e6\n')
    command.advise(tmp_path / "a.toml", tmp_path / "out", as_json=True)
    steps = json.loads(capsys.readouterr().out)["next"]
    assert "price ÷ throughput" in steps[1]
    assert not any("tailrace decide" in step for step in steps)
