"""Flags become a plan; what cannot be understood gets one sentence."""

from pathlib import Path

import pytest

from harness.catalog.discover import Catalog
from harness.cli.ask import asked_plan, named_plan, names, parse_knobs, with_locustfile
from harness.errors import UsageError
from harness.plan.expand import expand

CATALOG = Catalog(Path(__file__).resolve().parents[2])
LOCUSTFILE = Path(__file__).with_name("locust") / "search.py"


def test_names_and_knobs() -> None:
    assert names(["a,b", " c "]) == ["a", "b", "c"]
    assert names(None) == []
    assert parse_knobs(["flask.workers=2", "flask.keep=true", "z.wait=1.5", "z.mode=fast"]) == {
        "flask": {"workers": 2, "keep": True}, "z": {"wait": 1.5, "mode": "fast"}}


@pytest.mark.parametrize("bad", ["workers=2", "flask.workers", "flask.=2", ".workers=2", ""])
def test_bad_knobs_say_what_to_write(bad: str) -> None:
    with pytest.raises(UsageError, match=r"SETUP\.KNOB=VALUE"):
        parse_knobs([bad])


def test_a_named_plan_is_narrowed_and_changed() -> None:
    plan = named_plan(CATALOG, "race", ["flask"], ["embed"], repetitions=2, duration_s=None)
    assert [(race.workload, race.setups) for race in plan.race] == [("embed", ("flask",))]
    assert plan.repetitions == 2


def test_a_plan_without_the_asked_setup_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'flask'"):
        named_plan(CATALOG, "race", ["flsk"], [])
    with pytest.raises(UsageError, match="did you mean 'embed'"):
        named_plan(CATALOG, "race", [], ["embd"])


def test_flags_alone_make_a_plan() -> None:
    plan = asked_plan(CATALOG, ["flask"], ["embed"], None, [1.0, 2.0], {}, repetitions=3, baseline=None)
    assert (plan.race[0].scenario, plan.race[0].loads, plan.repetitions) == ("embed-steady", (1.0, 2.0), 3)
    with pytest.raises(UsageError, match="nothing to run"):
        asked_plan(CATALOG, [], [], None, [], {})
    with pytest.raises(UsageError, match="unknown setup 'flsk'"):
        asked_plan(CATALOG, ["flsk"], ["embed"], None, [], {})


def test_another_question_is_another_plan() -> None:
    one, same, other = (asked_plan(CATALOG, ["flask"], ["embed"], None, loads, {}) for loads in ([1.0], [1.0], [2.0]))
    assert one.name == same.name != other.name


def test_a_users_locustfile_replaces_the_arrivals_and_keeps_the_promise() -> None:
    plan = asked_plan(CATALOG, ["flask"], ["embed"], None, [], {})
    changed = with_locustfile(expand(plan, CATALOG, 3), LOCUSTFILE, 4, 3.0)
    assert {(a.scenario.closed, a.scenario.stage[0].users, a.scenario.warmup_s) for a in changed} == {(True, 4, 0.0)}
    assert changed[0].scenario.slo == CATALOG.scenario("embed-steady").slo
    with pytest.raises(UsageError, match="no such locustfile"):
        with_locustfile([], LOCUSTFILE.with_name("none.py"), 4, 3.0)
