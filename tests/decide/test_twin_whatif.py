"""What-ifs: phrases become changes, changes become other twins."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog.setup import read_setup
from harness.decide.twin import Played, Service, Structure, Twin, ceiling
from harness.decide.twin_knobs import check_start
from harness.decide.twin_read import structure_of
from harness.decide.twin_whatif import BALANCINGS, changed, parse_balancing, parse_change
from harness.errors import UsageError

pytestmark = pytest.mark.simulated

ROOT = Path(__file__).resolve().parents[2]
SERVICE = Service(np.array([0.0, 0.01]), np.ones(2), np.ones((2, 1)), np.zeros(1))


@pytest.mark.parametrize(("phrase", "change"), [
    ("batch wait 5 to 1 ms", ("wait_ms", 1.0, 5.0)),
    ("Batch wait to 0.5 ms", ("wait_ms", 0.5, math.nan)),
    ("max batch 8 to 32", ("max_batch", 32.0, 8.0)),
    ("3 to 12 workers", ("workers", 12.0, 3.0)),
    ("workers 3 to 12", ("workers", 12.0, 3.0)),
    ("12 workers", ("workers", 12.0, math.nan)),
    ("1 to 40 machines", ("machines", 40.0, 1.0)),
    ("queue 1024 to 64", ("queue", 64.0, 1024.0)),
    ("400 to 900 req/s", ("rate", 900.0, 400.0)),
    ("half the demand", ("demand", 0.5, math.nan)),
    ("3 times the demand", ("demand", 3.0, math.nan)),
    ("demand +50 %", ("demand", 1.5, math.nan)),
    ("load -25%", ("demand", 0.75, math.nan)),
])
def test_phrases(phrase: str, change: tuple[str, float, float]) -> None:
    seen = parse_change(phrase)
    assert (seen.subject, seen.to) == change[:2]
    assert seen.was == change[2] or (math.isnan(seen.was) and math.isnan(change[2]))


def test_a_moment_is_kept() -> None:
    seen = parse_change("twice the demand at lunch")
    assert (seen.subject, seen.to, seen.when) == ("demand", 2.0, "lunch")


@pytest.mark.parametrize("phrase", ["", "make it faster", "workers 3 to 0", "max batch 8 to 2.5", "demand -100 %",
                                    "1.2.3 workers", "0 req/s"])
def test_what_is_not_understood_says_what_is(phrase: str) -> None:
    with pytest.raises(UsageError, match="3 to 12 workers"):
        parse_change(phrase)


@given(st.text(max_size=40))
def test_any_text_is_a_change_or_a_sentence(text: str) -> None:
    try:
        assert parse_change(text).to >= 0
    except UsageError as error:
        assert "what if" in str(error)


FACTS = {"twin": {"wait": "max_delay_ms"}, "mlops": {}}
KNOWN = {"workers": 3, "max_batch": 8, "max_delay_ms": 5, "queue": 1024}


def checked(phrases: list[str], facts: Mapping[str, object] = FACTS) -> None:
    check_start("torchserve", [parse_change(phrase) for phrase in phrases], facts, KNOWN, "cpu", 412.0)


@pytest.mark.parametrize("phrases", [
    ["batch wait 5 to 1 ms"], ["batch wait to 1 ms"], ["3 to 2 workers", "2 to 1 workers"], ["1 to 4 machines"],
    ["400 to 900 req/s", "900 to 1000 req/s"]])
def test_a_change_may_start_from_what_is_recorded_or_was_changed_before(phrases: list[str]) -> None:
    checked(phrases)


@pytest.mark.parametrize(("phrases", "said"), [
    (["batch wait 2 to 1 ms"], "max_delay_ms is 5"), (["3 to 2 workers", "3 to 1 workers"], "workers is 2"),
    (["2 to 4 machines"], "machines is 1"), (["100 to 900 req/s"], "rate is 412")])
def test_a_change_that_starts_elsewhere_is_refused(phrases: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked(phrases)


def test_a_wait_that_is_learned_or_not_there_cannot_be_asked_about() -> None:
    with pytest.raises(UsageError, match="learns"):
        checked(["batch wait to 1 ms"], {"twin": {"wait": "max_delay_ms", "adaptive": True}})
    with pytest.raises(UsageError, match="no knob max_wait_ms"):
        checked(["batch wait to 1 ms"], {})


def test_what_setups_say_of_their_batches_is_read() -> None:
    """Every setup that batches has the knob that its wait is called by, or learns it; ours, by name, are held to what
    their engines do."""
    said = {}
    for path in sorted((ROOT / "setups").glob("*/setup.toml")):
        made = read_setup(path.parent)
        facts = made.model_dump(mode="json")
        knobs = {**made.knobs, "workers": 3}
        if "max_batch" in knobs:
            assert made.twin.adaptive or made.twin.wait in knobs, path
            said[made.name] = structure_of(knobs, facts, 3)
    assert said["triton"].wait_s == float(read_setup(ROOT / "setups/triton").knobs["max_delay_ms"]) / 1e3
    assert said["torchserve"].wait_s == said["litserve"].wait_s == said["mlserver"].wait_s == 0.005
    assert said["zmq-batching"].wait_s == said["redis-batching"].wait_s == said["bentoml"].wait_s == 0.0
    assert {name for name, structure in said.items() if structure.balancer != "shared"} == {"bentoml", "ray-serve"}


@pytest.mark.parametrize(("name", "balancer", "choices"), [
    ("round_robin", "round_robin", 2), ("random", "random", 2), ("least_of_2", "least", 2), ("least", "least", 0)])
def test_a_fleets_balancer_is_the_one_named(name: str, balancer: str, choices: int) -> None:
    many, _, said = changed(Twin(Structure(), SERVICE), 1.0, parse_change("1 to 4 machines"), 1, parse_balancing(name))
    assert (many.structure.balancer, many.structure.choices) == (balancer, choices)
    assert BALANCINGS[name].words in said


def test_an_unknown_or_too_slow_balancer_is_refused() -> None:
    with pytest.raises(UsageError, match="round_robin"):
        parse_balancing("best")
    with pytest.raises(UsageError, match="every replica"):
        changed(Twin(Structure(), SERVICE), 1.0, parse_change("1 to 4000 machines"), 1, parse_balancing("least"))


def test_what_got_no_answer_is_beyond_every_limit() -> None:
    two, none = np.array([1.0, np.inf]), np.zeros(2, dtype=np.int64)
    played = Played(two, two, two, none, none, 0.5, 0)
    assert played.beyond(math.inf) == 0.5
    assert played.beyond(0.5) == 1.0


def test_workers_beyond_the_machine_are_more_machines() -> None:
    twin = Twin(Structure(workers=3), SERVICE)
    more, rate, said = changed(twin, 100.0, parse_change("3 to 12 workers"), 3)
    assert (more.structure.replicas, more.structure.workers, more.structure.balancer) == (4, 3, "least")
    assert ceiling(more) == pytest.approx(4 * ceiling(twin))
    assert rate == 100.0
    assert "4 machines" in said


def test_machines_have_as_many_workers_as_the_measured_one_ran() -> None:
    """Its cores have room for a third, which nobody ran."""
    more, _, said = changed(Twin(Structure(workers=2), SERVICE), 100.0, parse_change("2 to 12 workers"), 3)
    assert (more.structure.replicas, more.structure.workers) == (6, 2)
    assert said.startswith("6 machines like the measured one, 2 workers each")


def test_machines_are_counted_once() -> None:
    kept = Twin(Structure(replicas=3, balancer="connections", per_machine=3), SERVICE)
    for start in (kept, Twin(Structure(workers=3), SERVICE)):
        four, _, _ = changed(start, 100.0, parse_change("1 to 4 machines"), 3)
        eight, _, said = changed(four, 100.0, parse_change("4 to 8 machines"), 3)
        assert ceiling(eight) == pytest.approx(8 * ceiling(start))
        assert said.startswith("8 machines like the measured one, 3 workers each")
        with pytest.raises(UsageError, match="workers before the machines"):
            changed(four, 100.0, parse_change("2 workers"), 3)


def test_fewer_workers_stay_on_the_machine() -> None:
    kept = Twin(Structure(replicas=3, balancer="connections", per_machine=3), SERVICE)
    fewer, _, said = changed(kept, 100.0, parse_change("2 workers"), 3)
    assert (fewer.structure.replicas, fewer.structure.per_machine, said) == (2, 2, "")


def test_a_fleet_of_replicas_keeps_neighbours_on_their_machine() -> None:
    kept = Twin(Structure(replicas=3, balancer="connections", per_machine=3), SERVICE)
    many, _, _ = changed(kept, 100.0, parse_change("1 to 4000 machines"), 3)
    assert (many.structure.replicas, many.structure.per_machine, many.structure.balancer) == (12_000, 3, "least")
