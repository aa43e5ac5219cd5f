"""What a run computes on: named, refused, and part of what a measurement is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog.device import arm, device_of, parted, why_not_on
from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan, Race
from harness.catalog.toml import validate
from harness.cli.ask import asked_plan, named_plan
from harness.errors import TailraceError, UsageError
from harness.plan.expand import expand, key, missing

ROOT = Path(__file__).resolve().parents[2]
RACE = Race(workload="fraud", setups=("fastapi", "flask"), scenario="fraud-steady")


def plan(**changes: object) -> Plan:
    return validate(Plan, {"name": "p", "title": "t", "question": "q", "repetitions": 2, "race": (RACE,), **changes},
                    "plan p")


@given(name=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), device=st.sampled_from(["cpu", "gpu"]))
def test_an_arm_is_the_setup_and_its_device(name: str, device: str) -> None:
    assert parted(arm(name, device)) == (name, device)
    assert (arm(name, device) == name) == (device == "cpu")


def test_an_unknown_device_is_one_sentence() -> None:
    assert device_of("gpu") == "gpu"
    with pytest.raises(UsageError) as caught:
        device_of("tpu")
    assert str(caught.value) == "--device tpu: not understood; write --device cpu or --device gpu"
    with pytest.raises(TailraceError, match="plan p: 'device' is 'tpu'"):
        plan(device="tpu")


def test_who_cannot_use_a_device_says_so() -> None:
    both = ("cpu", "gpu")
    assert why_not_on("gpu", "embed", both, "flask", both) == ""
    assert why_not_on("cpu", "fraud", ("cpu",), "flask", ("cpu",)) == ""
    assert why_not_on("gpu", "embed", both, "mlserver", ("cpu",)).startswith("mlserver does not serve on the GPU")
    assert why_not_on("gpu", "fraud", ("cpu",), "flask", both).startswith("fraud gains nothing from the GPU")


def test_the_device_of_a_plan_reaches_every_attempt_and_a_race_may_have_its_own() -> None:
    catalog = Catalog(ROOT)
    assert {a.device for a in expand(plan(), catalog, 3)} == {"cpu"}
    assert {a.device for a in expand(plan(device="gpu"), catalog, 3)} == {"gpu"}
    both = expand(plan(race=(RACE, RACE.model_copy(update={"device": "gpu"}))), catalog, 3)
    assert {(a.setup.name, a.device) for a in both if a.block == 0} == {
        (setup, device) for setup in RACE.setups for device in ("cpu", "gpu")}
    assert len({a.seed for a in both if a.block == 0}) == 1, "both devices meet the same schedule"


def test_what_ran_on_the_cpu_is_not_there_on_the_gpu() -> None:
    catalog = Catalog(ROOT)
    cpu, gpu = (expand(plan(device=device), catalog, 3) for device in ("cpu", "gpu"))
    done = {key(a, {}) for a in cpu}
    assert missing(cpu, done, lambda _: {}) == []
    assert missing(gpu, done, lambda _: {}) == gpu


def test_flags_change_the_device_of_a_named_plan_and_not_the_name_of_an_asked_one() -> None:
    catalog = Catalog(ROOT)
    assert {a.device for a in expand(named_plan(catalog, "race", ["flask"], [], device="gpu"), catalog, 3)} == {"gpu"}
    names = {asked_plan(catalog, ["flask"], ["fraud"], None, [], {}, device=device).name
             for device in (None, "cpu", "gpu")}
    assert len(names) == 1, "so that one report shows both"
