"""What `tailrace predict` understands and says, from the published records."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.catalog.discover import find_catalog
from harness.catalog.scenario import Scenario, Stage
from harness.cli.predict import Asked, check_verifiable, code_of, predict, scheduled, verified_knobs
from harness.cli.predict_known import at_moment, known, under
from harness.decide.demand import Curve
from harness.decide.twin import Clients
from harness.decide.twin_predict import Prediction
from harness.decide.twin_whatif import parse_change
from harness.errors import Exit, TailraceError, UsageError
from harness.record.read import find_runs

pytestmark = pytest.mark.simulated

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
MACHINE = "amd-epyc-4c-24g-ccc911"
CATALOG = find_catalog()


def asked(**changes: object) -> Asked:
    given: dict[str, object] = {"setup": "zmq-batching", "workload": "embed", "what_if": [], "rate": None,
                                "demand": None, "slo": ["p(99)<100ms"], "verify": False, "clients": Clients()}
    return Asked(**{**given, **changes})  # type: ignore[arg-type]


def said_of(results: Path, capsys: pytest.CaptureFixture[str], **changes: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and the JSON of a prediction for the machine of the published records."""
    code = predict(asked(**{"machine": MACHINE, **changes}), results, as_json=True)
    return code, json.loads(capsys.readouterr().out)


Copied = Callable[..., Path]


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    """Makes a folder of the published runs of zmq-batching on embed, and as many of them again, later, with other
    knobs."""
    originals = [run for run in find_runs(PUBLISHED).runs if (run.meta.setup, run.meta.workload) == (
        "zmq-batching", "embed")]

    def make(again: int, **knobs: int) -> Path:
        (tmp_path / MACHINE).mkdir()
        shutil.copy(PUBLISHED / MACHINE / "machine.json", tmp_path / MACHINE)
        for i, run in enumerate((*originals, *originals[:again])):
            folder = tmp_path / MACHINE / (run.folder.name if i < len(originals) else f"30000101T00000{i}-{i}")
            shutil.copytree(run.folder, folder)
            if i >= len(originals):
                table = json.loads((folder / "run.json").read_text())
                table.update(run_id=folder.name, knobs={**table["knobs"], **knobs})
                (folder / "run.json").write_text(json.dumps(table))
        return tmp_path

    return make


def test_a_moment_of_a_demand_is_the_most_of_any_day() -> None:
    curve = Curve("c", "c", np.concatenate([np.arange(1440.0), 2 * np.arange(1440.0)]))
    assert at_moment(curve, "12:30") == at_moment(curve, "lunch") == 1500.0
    with pytest.raises(UsageError, match="no such time"):
        at_moment(curve, "tea")


def test_it_tells_what_would_be_and_where_it_abstains(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(PUBLISHED, capsys, what_if=["5 times the demand", "1 to 5 machines"])
    now, overloaded, fleet = (each["prediction"] for each in said["predictions"])
    assert 20 < now["p99_ms"] < 120
    assert "without end" in overloaded["abstains"]
    assert fleet["p99_ms"] < now["p99_ms"]
    assert "5 machines" in said["predictions"][2]["assumed"]
    assert said["fitted"]["runs"]
    assert (fleet["abstains"], fleet["error"]) == ("", now["error"])
    assert not said["fitted"]["here"]
    assert code == Exit.OK


def test_of_another_machine_it_tells_only_where_that_one_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(PUBLISHED, capsys, machine=None)
    now = said["predictions"][0]["prediction"]
    assert code == Exit.INCONCLUSIVE
    assert f"--machine {MACHINE}" in now["abstains"]
    assert now["error"] is None
    assert 20 < now["p99_ms"] < 120
    with pytest.raises(UsageError, match=f"--machine elsewhere: .* there are of {MACHINE}"):
        said_of(PUBLISHED, capsys, machine="elsewhere")


@pytest.mark.parametrize(("changes", "said"), [
    ({"what_if": ["max batch 32 to 16"]}, "max_batch would be 16, and was 32"),
    ({"what_if": ["max batch 32 to 16", "demand +5 %"]}, "max_batch would be 16, and was 32"),
    ({"clients": Clients(retries=2)}, "retry or hedge"), ({"clients": Clients(hedge_s=0.1)}, "retry or hedge"),
    ({"clients": Clients(deadline_s=0.05)}, "deadline would be 0.05"), ({"scenario": "embed-lunch"}, "as crowded")])
def test_what_no_run_shows_has_figures_and_no_error(changes: dict[str, object], said: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = said_of(PUBLISHED, capsys, **changes)
    last = answer["predictions"][-1]["prediction"]
    assert (code, last["error"]) == (Exit.INCONCLUSIVE, None)
    assert said in last["abstains"]
    assert last["p50_ms"] > 0


def test_runs_with_another_knob_are_held_out_for_it(copied: Copied, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches never fill either size, so that the runs of one are as good as the other's."""
    results = copied(2, max_batch=16)
    code, said = said_of(results, capsys, what_if=["max batch 32 to 24"])
    now, then = (each["prediction"] for each in said["predictions"])
    assert (code, then["abstains"], now["basis"]) == (Exit.OK, "", "")
    assert then["basis"].endswith("run with another max_batch")
    assert then["error"] >= now["error"]
    code, said = said_of(results, capsys, what_if=["max batch 32 to 8"])
    assert code == Exit.INCONCLUSIVE
    assert "was 16 to 32" in said["predictions"][1]["prediction"]["abstains"]


def test_a_run_or_two_of_other_knobs_do_not_replace_what_is_fitted(copied: Copied) -> None:
    found = known(copied(2, max_batch=16), CATALOG, "zmq-batching", "embed", MACHINE)
    assert found.newest.meta.knobs["max_batch"] == 32
    assert [run.meta.knobs["max_batch"] for group in found.others for run in group] == [16, 16]


def test_of_enough_runs_the_newest_knobs_are_fitted(copied: Copied) -> None:
    found = known(copied(5, max_batch=16), CATALOG, "zmq-batching", "embed", MACHINE)
    assert found.newest.meta.knobs["max_batch"] == 16


def test_a_measurement_that_is_believed_answers_where_the_twin_abstains() -> None:
    silent = [{"prediction": Prediction(1.0, 1.0, 1.0, 1.0, 1.0, 0.1, float("nan"), "no run shows it")}]
    assert code_of(silent, None) == code_of(silent, {"refused": "the generator"}) == Exit.INCONCLUSIVE
    assert code_of(silent, {"refused": ""}) == Exit.OK


def test_without_runs_there_is_nothing_to_fit(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="to fit a twin to"):
        predict(asked(), tmp_path, as_json=True)


def test_a_phrase_that_starts_from_another_value_is_refused() -> None:
    with pytest.raises(UsageError, match="max_batch is 32 in the runs of zmq-batching, not 8"):
        predict(asked(what_if=["max batch 8 to 16"]), PUBLISHED, as_json=True)
    with pytest.raises(UsageError, match="learns how long"):
        predict(asked(what_if=["batch wait 2 to 1 ms"]), PUBLISHED, as_json=True)


@pytest.mark.parametrize("changes", [{"what_if": ["twice the demand at lunch"]},
                                     {"what_if": ["twice the demand at lunch"], "demand": "shop", "rate": 5.0}])
def test_a_moment_without_its_demand_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="a moment of a demand"):
        predict(asked(**changes), PUBLISHED, as_json=True)


def test_what_a_verification_would_not_measure_is_refused() -> None:
    like = next(run for run in find_runs(PUBLISHED).runs if run.meta.setup == "zmq-batching").meta
    for changes, said in (({"clients": Clients(retries=1)}, "--retries"),
                          ({"clients": Clients(hedge_s=0.1)}, "--hedge-s"),
                          ({"clients": Clients(deadline_s=1.0)}, "--deadline-s"),
                          ({"scenario": "spike"}, "--scenario")):
        with pytest.raises(UsageError, match=said):
            check_verifiable(asked(**changes), [], like, like.machine_id)
    with pytest.raises(UsageError, match="this machine is here"):
        check_verifiable(asked(), [], like, "here")
    check_verifiable(asked(), [], like, like.machine_id)


def test_a_verification_changes_the_knobs_asked_for_alone() -> None:
    like = next(run for run in find_runs(PUBLISHED).runs if run.meta.setup == "zmq-batching").meta
    like = replace(like, knobs={**like.knobs, "max_batch": 4, "queue": 99})
    assert verified_knobs(like, [parse_change("workers 3 to 2")]) == {**like.knobs, "workers": 2}


def test_recorded_clients_keep_their_deadline() -> None:
    recorded = Clients(timeout_s=5.0, deadline_s=0.5)
    assert under(Clients(retries=2), recorded) == Clients(timeout_s=5.0, deadline_s=0.5, retries=2)
    assert under(Clients(deadline_s=0.1), recorded).deadline_s == 0.1


def test_a_scenarios_bursts_are_played_at_the_rate_asked_for() -> None:
    stage = Stage(arrivals="burst", rate=50.0, burst=25, duration_s=20.0)
    scenario = Scenario(name="b", title="b", question="b", seed=1, warmup_s=2.0, stage=(stage,))
    due_s, settling = scheduled(scenario)(100.0, 0, 0)
    told = due_s[round(settling * len(due_s)):]
    assert len(told) == pytest.approx(2000, rel=0.15)
    assert told[0] >= 0
    assert np.mean(np.diff(told) == 0) > 0.8


def test_one_machine_cannot_verify_a_fleet() -> None:
    with pytest.raises(UsageError, match="one machine"):
        predict(asked(what_if=["1 to 40 machines"], verify=True), PUBLISHED, as_json=True)
