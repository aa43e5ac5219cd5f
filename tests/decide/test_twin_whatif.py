"""What-ifs: phrases become changes, changes become other twins."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decide.twin import Service, Structure, Twin, ceiling
from harness.decide.twin_whatif import changed, parse_change
from harness.errors import UsageError

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


def test_workers_beyond_the_machine_are_more_machines() -> None:
    twin = Twin(Structure(workers=3), SERVICE)
    more, rate, said = changed(twin, 100.0, parse_change("3 to 12 workers"), 3)
    assert (more.structure.replicas, more.structure.workers, more.structure.balancer) == (4, 3, "least")
    assert ceiling(more) == pytest.approx(4 * ceiling(twin))
    assert rate == 100.0
    assert "4 machines" in said


def test_fewer_workers_stay_on_the_machine() -> None:
    kept = Twin(Structure(replicas=3, balancer="connections", per_machine=3), SERVICE)
    fewer, _, said = changed(kept, 100.0, parse_change("2 workers"), 3)
    assert (fewer.structure.replicas, fewer.structure.per_machine, said) == (2, 2, "")


def test_a_fleet_of_replicas_keeps_neighbours_on_their_machine() -> None:
    kept = Twin(Structure(replicas=3, balancer="connections", per_machine=3), SERVICE)
    many, _, _ = changed(kept, 100.0, parse_change("1 to 4000 machines"), 3)
    assert (many.structure.replicas, many.structure.per_machine, many.structure.balancer) == (12_000, 3, "least")
