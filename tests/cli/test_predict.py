"""What `tailrace predict` understands and says, from the published records."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.cli.predict import Asked, at_moment, predict
from harness.decide.demand import Curve
from harness.decide.twin import Clients
from harness.errors import Exit, TailraceError, UsageError

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def asked(**changes: object) -> Asked:
    given: dict[str, object] = {"setup": "zmq-batching", "workload": "embed", "what_if": [], "rate": None,
                                "demand": None, "slo": ["p(99)<100ms"], "verify": False, "clients": Clients()}
    return Asked(**{**given, **changes})  # type: ignore[arg-type]


def test_a_moment_of_a_demand_is_the_most_of_any_day() -> None:
    curve = Curve("c", "c", np.concatenate([np.arange(1440.0), 2 * np.arange(1440.0)]))
    assert at_moment(curve, "12:30") == at_moment(curve, "lunch") == 1500.0
    with pytest.raises(UsageError, match="no such time"):
        at_moment(curve, "tea")


def test_it_tells_what_would_be_and_where_it_abstains(capsys: pytest.CaptureFixture[str]) -> None:
    code = predict(asked(what_if=["5 times the demand", "1 to 40 machines"]), PUBLISHED, as_json=True)
    said = json.loads(capsys.readouterr().out)
    now, overloaded, fleet = (each["prediction"] for each in said["predictions"])
    assert 20 < now["p99_ms"] < 120
    assert "without end" in overloaded["abstains"]
    assert fleet["p99_ms"] < now["p99_ms"]
    assert "40 machines" in said["predictions"][2]["assumed"]
    assert len(said["fitted"]["runs"]) == 5
    assert code == (Exit.INCONCLUSIVE if fleet["abstains"] else Exit.OK)


def test_without_runs_there_is_nothing_to_fit(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="to fit a twin to"):
        predict(asked(), tmp_path, as_json=True)


def test_one_machine_cannot_verify_a_fleet() -> None:
    with pytest.raises(UsageError, match="one machine"):
        predict(asked(what_if=["1 to 40 machines"], verify=True), PUBLISHED, as_json=True)
