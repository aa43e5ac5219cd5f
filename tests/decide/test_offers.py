"""What a replica carries comes from searches under this promise, else from CPU time, and always says which."""

import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from harness.analyse.summary import selected
from harness.cli import bill as command
from harness.decide.bill import bill
from harness.decide.bill_measured import Asked, Opened, opened, told
from harness.decide.bill_offers import BUSY, check_names, cpu_bound, offered
from harness.decide.bill_question import Question
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet
from harness.decide.prices import newest_prices
from harness.errors import Exit, TailraceError, UsageError
from harness.record.capacity import Capacity, Rate, write_capacity

ROOT = Path(__file__).resolve().parents[2]
ASKED = Asked("fraud", {"p(99)": "<25ms"}, newest_prices(ROOT), date(2026, 11, 24),
              usual={"flask": {"workers": "cores"}})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The published fraud runs of flask and fastapi."""
    (machine,) = (ROOT / "results" / "published").iterdir()
    (tmp_path / machine.name).mkdir()
    for path in machine.iterdir():
        if path.name == "machine.json" or re.search(r"Z-(flask|fastapi)-fraud-", path.name):
            (tmp_path / machine.name / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture(scope="module")
def runs() -> tuple[Opened, ...]:
    """Those runs, read."""
    return opened(ROOT / "results" / "published", replace(ASKED, setups=("flask", "fastapi")))


def searched(results: Path, runs: Sequence[Opened], setup: str, rate: Rate, number: int,
             promise: str = "p(99) < 25ms", ceiling: float = math.nan) -> None:
    meta = next(each.run.meta for each in runs if each.run.meta.setup == setup)
    (machine,) = (path for path in results.iterdir() if path.is_dir())
    write_capacity(machine, Capacity(f"2027010{number}T000000.000Z-{setup}-fraud", setup, "fraud", promise, rate,
                                     ("r1", meta.run_id), "latency", "smooth", meta.machine_id, replica_cpus=3,
                                     knobs=meta.knobs, ceiling=ceiling))


def changed(runs: Sequence[Opened], setup: str, **meta: object) -> list[Opened]:
    """Copies of a setup's runs, a year newer, with other facts."""
    made = []
    for each in (one for one in runs if one.run.meta.setup == setup):
        told = replace(each.run.meta, run_id=f"2027{each.run.meta.run_id[4:]}", **meta)  # type: ignore[arg-type]
        made.append(replace(each, run=replace(each.run, meta=told), view=replace(each.view, meta=told)))
    return made


def test_cpu_time_bounds_what_is_carried_where_nothing_was_searched(results: Path, runs: Sequence[Opened]) -> None:
    found = offered(results, ASKED, runs)
    assert {each.setup for each in found.offers} == {"flask", "fastapi"}
    for each in found.offers:
        cell = found.cells[each.setup]
        assert each.source.startswith("ESTIMATED")
        assert each.rate.value == pytest.approx(BUSY * 3 * cell.throughput.value / cell.cpu_cores, rel=0.05)
        assert each.rate.low < each.rate.value < each.rate.high
        assert set(each.run_ids) >= {run.run_id for run in cell.runs}
        assert len(each.each_rate) == len(cell.runs)
        assert each.measured_on.startswith("Measured with 3 of the 4 CPUs")
        assert each.instance.startswith("c7i.xlarge")
    assert cpu_bound(3, 1.5, 100) == pytest.approx(BUSY * 200)


def test_a_search_under_this_promise_counts_and_one_under_another_does_not(results: Path,
                                                                           runs: Sequence[Opened]) -> None:
    searched(results, runs, "flask", Rate(2000, 1900, 2100), 1)
    searched(results, runs, "fastapi", Rate(9999, 9000, 11000), 1, "p(99)<99ms")
    found = {each.setup: each for each in offered(results, ASKED, runs).offers}
    assert found["flask"].rate.value == 2000
    assert found["flask"].verdict == "pass"
    assert "r1" in found["flask"].run_ids
    assert found["flask"].seconds_each > 0
    assert found["fastapi"].source.startswith("ESTIMATED")
    for number, rate in ((2, 2100.0), (3, 2205.0)):
        searched(results, runs, "flask", Rate(rate, rate * 0.9, math.inf), number)
    thrice = next(each for each in offered(results, ASKED, runs).offers if each.setup == "flask")
    assert thrice.rate.value == pytest.approx(2100)
    assert list(thrice.each_rate.values()) == [2000, 2100, 2205]


def test_peak_arithmetic_divides_by_what_was_answered_flat_out_and_says_so(results: Path,
                                                                           runs: Sequence[Opened]) -> None:
    for number, ceiling in enumerate((2500.0, math.nan, 3600.0)):
        searched(results, runs, "flask", Rate(2000, 1900, 2100), number, ceiling=ceiling)
    searched(results, runs, "fastapi", Rate(4000, 3900, 4100), 1)
    asked = replace(ASKED, prices={"flask": 0.36, "fastapi": 0.36})
    demand = Curve("d", "", np.full(60, 100.0))
    bills = {each.setup: bill(each, demand, Fleet()) for each in offered(results, asked, runs).offers}
    assert bills["flask"].peak_per_million_usd == pytest.approx(0.36 / 3600 / 3000 * 1e6), "of 2500 and 3600: 3000"
    assert bills["flask"].peak_words == "3000/s, measured, flat out"
    assert bills["fastapi"].peak_per_million_usd == pytest.approx(0.36 / 3600 / 4000 * 1e6)
    assert bills["fastapi"].peak_words.startswith("4000/s, its capacity within the promise")
    unsearched = offered(results, replace(asked, slo={"p(99)": "<26ms"}), runs).offers[0]
    estimated = bill(replace(unsearched, speed=2.0), demand, Fleet())
    assert estimated.peak_words == f"{2 * estimated.offer.rate.value / BUSY:.4g}/s, estimated from CPU time, flat out"


def test_other_knobs_are_no_repetitions_the_newest_count_and_are_named(results: Path, runs: Sequence[Opened]) -> None:
    (knobs,) = {json.dumps(each.run.meta.knobs) for each in runs if each.run.meta.setup == "flask"}
    tuned = changed(runs, "flask", knobs={**json.loads(knobs), "workers": 1})
    found = {each.setup: each for each in offered(results, ASKED, [*runs, *tuned]).offers}
    plain = {each.setup: each for each in offered(results, ASKED, runs).offers}
    assert len(found["flask"].each_rate) == len(plain["flask"].each_rate)
    assert set(found["flask"].run_ids) <= {each.run.meta.run_id for each in tuned}
    assert f" with workers=1 ({len(tuned)} older records with other knobs left out)" in found["flask"].source
    assert "with" not in plain["flask"].source.partition(":")[0]
    searched(results, runs, "flask", Rate(2000, 1900, 2100), 1)
    older = {each.setup: each for each in offered(results, ASKED, [*runs, *tuned]).offers}["flask"]
    assert older.source.startswith("ESTIMATED"), "the search is of other knobs than the newest runs"


def test_two_machines_are_refused_in_one_sentence(results: Path, runs: Sequence[Opened]) -> None:
    with pytest.raises(TailraceError, match=r"of 2 machines .*--results"):
        offered(results, ASKED, [*runs, *changed(runs, "flask", machine_id="another")])


def test_each_setup_counts_on_the_machine_that_is_said(results: Path) -> None:
    (here,) = (path.name for path in results.iterdir())
    shutil.copytree(results / here, results / "another")
    for told_of in (results / "another").glob("*/run.json"):
        meta = json.loads(told_of.read_text("utf-8"))
        told_of.write_text(json.dumps({**meta, "machine_id": "another"}))

    def offers(**machines: str) -> dict[str, str]:
        asked = replace(ASKED, machines=machines)
        return {each.setup: each.measured_on for each in offered(results, asked, opened(results, asked)).offers}

    with pytest.raises(TailraceError, match=r"of 2 machines .*--machine SETUP="):
        offers()
    with pytest.raises(TailraceError, match=r"of 2 machines"):
        offers(flask="another")
    words = offers(flask="another", fastapi=here)
    assert words["flask"].startswith("Measured with 3 of the 4 CPUs of another;")
    assert words["fastapi"].startswith(f"Measured with 3 of the 4 CPUs of {here};")
    with pytest.raises(UsageError, match=r"--machine flask=elsewhere: .* holds no record of flask on fraud"):
        offers(flask="elsewhere", fastapi=here)


def test_probes_of_a_search_tell_of_a_setup_only_where_nothing_else_does(results: Path) -> None:
    runs = selected(results)
    first = next(run for run in runs if run.meta.setup == "flask")
    probe = replace(first, meta=replace(first.meta, plan="capacity", scenario="capacity-burst"))
    both, alone = told([*runs, probe]), told([probe])
    assert probe not in both
    assert len(both) == len(runs)
    assert alone == [probe]


def test_who_broke_the_promise_makes_no_offer_and_says_why(results: Path, runs: Sequence[Opened]) -> None:
    found = offered(results, replace(ASKED, slo={"p(99)": "<1ms"}), runs)
    assert found.offers == ()
    assert all(why.startswith("fail at") for why in found.without.values())
    assert len(found.without) == 2


def test_what_is_given_counts_before_what_was_measured(results: Path, runs: Sequence[Opened]) -> None:
    given = replace(ASKED, carries={"flask": 10.0}, prices={"flask": 0.5}, instances={"fastapi": "g6.xlarge"},
                    speeds={"fastapi": 2.0})
    flask, fastapi = sorted(offered(results, given, runs).offers, key=lambda each: -each.speed)[::-1]
    assert (flask.rate.value, flask.hourly_usd, flask.price_words) == (10.0, 0.5, "price as given")
    assert (fastapi.speed, fastapi.instance) == (2.0, "g6.xlarge (aws)")


def test_an_unknown_setup_or_workload_gets_one_sentence(results: Path, runs: Sequence[Opened], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'flask'"):
        offered(results, replace(ASKED, setups=["flsk"]), runs)
    with pytest.raises(TailraceError, match="nothing is recorded of workload 'none'"):
        offered(tmp_path, replace(ASKED, workload="none"), ())


@pytest.mark.parametrize("what", ["prices", "instances", "speeds", "carries", "machines"])
def test_money_said_of_a_setup_that_nobody_knows_gets_one_sentence(what: str) -> None:
    asked = replace(ASKED, usual={"flask": {}, "triton": {}}, **{what: {"flsk": 1.0}})
    with pytest.raises(UsageError, match=r"unknown setup 'flsk'.*did you mean 'flask'"):
        check_names(asked, ["fastapi"])
    check_names(replace(asked, **{what: {"triton": 1.0}}), ["flask"])


def test_the_bill_is_json_with_every_assumption(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = Question("fraud", ["p(99)<25ms"], "9000", [], "spare=2,zones=3", results, ["flask=0.3/h"], [], [], [],
                        None)
    assert command.bill(question, as_json=True) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert [each["offer"]["setup"] for each in told["bills"]] == ["fastapi", "flask"]
    for each in told["bills"]:
        assert each["per_million_good_usd"]["value"] > each["peak_per_million_usd"]
        assert any("not verified" in line or "price as given" in line for line in each["assumptions"])
        assert all(count % 3 == 0 for count in each["hourly_replicas"])
    assert command.bill(replace(question, slo=["p(99)<1ms"]), as_json=False) == Exit.INCONCLUSIVE
