"""A plan as attempts: order, seeds, knobs and what is left to do."""

from pathlib import Path

import pytest

from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan, Race
from harness.decide.twin_predict import LEAST_ANSWERS
from harness.errors import TailraceError
from harness.plan.attempt import Attempt
from harness.plan.expand import expand, key, missing

ROOT = Path(__file__).resolve().parents[2]
SETUPS = ("fastapi", "flask")


def plan(**changes: object) -> Plan:
    race = Race(workload="fraud", setups=SETUPS, scenario="fraud-steady", loads=(1.0, 2.0))
    return Plan.model_validate({"name": "p", "title": "t", "question": "q", "repetitions": 4, "race": (race,),
                                **changes})


def test_every_cell_once_in_every_block() -> None:
    attempts = expand(plan(), Catalog(ROOT), 3)
    assert [a.order for a in attempts] == list(range(16))
    for block in range(4):
        cells = {(a.setup.name, a.load) for a in attempts if a.block == block}
        assert cells == {(s, load) for s in SETUPS for load in (1.0, 2.0)}


def test_blocks_come_as_mirrored_pairs() -> None:
    attempts = expand(plan(), Catalog(ROOT), 3)
    blocks = [[(a.setup.name, a.load) for a in attempts if a.block == b] for b in range(4)]
    assert blocks[1] == blocks[0][::-1]
    assert blocks[3] == blocks[2][::-1]


def test_setups_share_the_seed_and_repetitions_do_not() -> None:
    attempts = expand(plan(), Catalog(ROOT), 3)
    seeds: dict[tuple[float, int], set[int]] = {}
    for a in attempts:
        seeds.setdefault((a.load, a.repetition), set()).add(a.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_rates_are_resolved_for_cores_and_load() -> None:
    rates = {a.load: a.scenario.stage[0].rate for a in expand(plan(), Catalog(ROOT), 3)}
    assert rates[2.0] == 2 * rates[1.0]
    assert rates[1.0] == 3 * Catalog(ROOT).scenario("fraud-steady").stage[0].rate_per_core


def test_a_race_may_last_longer_than_its_plan() -> None:
    race = {"workload": "fraud", "setups": ["flask"], "scenario": "fraud-steady", "loads": [1.0]}
    attempts = expand(plan(duration_s=3.0, repetitions=1, race=[race, {**race, "loads": [2.0], "duration_s": 7.0}]),
                      Catalog(ROOT), 3)
    assert {a.load: a.scenario.duration_s for a in attempts} == {1.0: 3.0, 2.0: 7.0}


def test_the_twins_loads_take_an_hour_on_two_cores_and_can_be_held_out() -> None:
    starting_s, cores = 4.0, 1
    attempts = expand(Catalog(ROOT).plan("twin"), Catalog(ROOT), cores)
    assert sum(a.scenario.duration_s + a.scenario.warmup_s + starting_s for a in attempts) <= 62 * 60
    held_out = [a for a in attempts if a.load < 5]
    assert len(held_out) == 4 * 3 * 4 * 2
    for a in held_out:
        assert (a.scenario.stage[0].rate or 0) * a.scenario.duration_s > 1.2 * LEAST_ANSWERS


def same(_attempt: Attempt) -> dict[str, str]:
    return {"setup": "1"}


def test_resume_leaves_only_what_is_missing() -> None:
    attempts = expand(plan(), Catalog(ROOT), 3)
    done = {key(a, same(a)) for a in attempts[:5]}
    assert missing(attempts, done, same) == attempts[5:]
    longer = expand(plan(repetitions=5), Catalog(ROOT), 3)
    assert {a.repetition for a in missing(longer, {key(a, same(a)) for a in attempts}, same)} == {4}


def test_another_knob_or_other_code_is_another_measurement() -> None:
    race = Race(workload="fraud", setups=SETUPS, scenario="fraud-steady", knobs={"flask": {"workers": 2}})
    changed = expand(plan(race=(race,)), Catalog(ROOT), 3)
    plain = expand(plan(race=(race.model_copy(update={"knobs": {}}),)), Catalog(ROOT), 3)
    done = {key(a, same(a)) for a in plain}
    assert {a.setup.name for a in missing(changed, done, same)} == {"flask"}
    assert {a.setup.name for a in missing(plain, done, lambda a: {"setup": "2" if a.setup.name == "fastapi" else "1"})
            } == {"fastapi"}


@pytest.mark.parametrize(("knobs", "expected"), [
    ({"flask": {"wokers": 2}}, "setup flask has no knob 'wokers'; did you mean 'workers'?"),
    ({"flsk": {"workers": 2}}, "'flsk', which does not race there; did you mean 'flask'?"),
])
def test_unknown_knobs_are_refused(knobs: dict[str, dict[str, int]], expected: str) -> None:
    race = Race(workload="fraud", setups=SETUPS, scenario="fraud-steady", knobs=knobs)
    with pytest.raises(TailraceError) as caught:
        expand(plan(race=(race,)), Catalog(ROOT), 3)
    assert expected in str(caught.value)


@pytest.mark.parametrize(("url", "expected"), [
    ("http://me:word@127.0.0.1/x", "a name or a password, which records would keep; use the knob auth"),
    ("https://a.example/api?code=x1", "'code' in its query, which records would keep; put that part of"),
    ("https://a.example/api?v=2&X-Amz-Signature=x1", "'X-Amz-Signature' in its query"),
    ("https://a.example/api@2?v=2&mode=fast", ""),
])
def test_a_secret_in_a_url_is_refused_before_anything_records_it(url: str, expected: str) -> None:
    for setup, knob in (("remote", url), ("gateway", f"url={url} protocol=json")):
        race = Race(workload="fraud", setups=(setup,), scenario="fraud-steady",
                    knobs={setup: {"url" if setup == "remote" else "engine_knobs": knob}})
        if expected:
            with pytest.raises(TailraceError) as caught:
                expand(plan(race=(race,), baseline=None), Catalog(ROOT), 3)
            assert expected in str(caught.value)
        else:
            assert expand(plan(race=(race,), baseline=None), Catalog(ROOT), 3)


def test_the_ladder_holds_every_setup_and_stays_within_its_time() -> None:
    catalog = Catalog(ROOT)
    attempts = expand(catalog.plan("ladder"), catalog, 3)
    cells = {(a.setup.name, a.workload.name) for a in attempts}
    raced = set(catalog.workload_names()) - {"vision"}  # at 85 ms a core it is for a GPU
    assert cells == {(s, w) for s in catalog.setup_names() for w in raced}
    load_s = sum(a.scenario.duration_s + a.scenario.warmup_s for a in attempts)
    assert load_s < 10 * 60  # the rest of the 25 minutes is for starting and stopping servers
    assert len(attempts) == 5 * len(cells)
