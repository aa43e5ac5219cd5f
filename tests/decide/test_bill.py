"""A bill is price × replicas × hours; a replay of every request agrees; break-even loads are where costs cross."""

import math
import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analyse.model import Interval
from harness.cli.bill import by_the_hour
from harness.decide.bill import HOURS_PER_MONTH, Offer, bill, late_share
from harness.decide.bill_even import break_evens
from harness.decide.bill_measured import same_promise
from harness.decide.bill_question import parse_slo
from harness.decide.cost import per_million_usd
from harness.decide.demand import Curve, Demand, curve
from harness.decide.fleet import Fleet, Replicas, needed, parse_fleet, plan
from harness.decide.fleet_replay import Service, capacity, replay
from harness.decide.prices import Instance, age_words, instance_for, instance_named, newest_prices, read_prices
from harness.decide.prices_skypilot import ARM, SHARED, as_toml, read_skypilot
from harness.errors import TailraceError, UsageError

pytestmark = pytest.mark.simulated

ROOT = Path(__file__).resolve().parents[2]
BARE = Fleet(headroom=0, spare=0)


def offer(rate: float, hourly: float, name: str = "a", width: float = 0.0) -> Offer:
    return Offer(name, "w", Interval(rate, rate * (1 - width), rate * (1 + width)), hourly, "i", "p", "s")


def day(mean: float, **table: object) -> Curve:
    return curve(Demand.model_validate({"name": "d", "title": "t", "shape": "diurnal", "mean": mean, **table}), Path())


def test_a_constant_demand_costs_price_times_replicas_times_hours() -> None:
    constant = Curve("c", "", np.full(60, 95.0))
    made = bill(offer(10, 0.5), constant, Fleet(headroom=0.05, spare=1))
    assert made.hourly_replicas == (11.0,)
    assert made.monthly_usd.value == pytest.approx(11 * 0.5 * HOURS_PER_MONTH)
    assert made.per_million_good_usd.value == pytest.approx(per_million_usd(11 * 0.5, 95))
    assert made.idle_share == pytest.approx(1 - 95 / 110)
    assert made.broken_minutes == 0
    assert made.peak_per_million_usd == pytest.approx(per_million_usd(0.5, 10))
    assert made.peak_per_million_usd < made.per_million_good_usd.value


@given(st.floats(0.1, 4e5), st.floats(0.5, 1e4), st.floats(0, 0.9), st.integers(0, 5), st.integers(1, 4),
       st.integers(1, 8))  # fewer than MOST_REPLICAS carry it
def test_enough_replicas_are_left_when_one_or_a_zone_fails(rate: float, each: float, headroom: float, spare: int,
                                                           zones: int, step: int) -> None:
    fleet = Fleet(headroom=headroom, spare=spare, zones=zones, step=step)
    (count,) = needed(np.array([rate]), each, fleet)
    left = count - max(spare, count // zones if zones > 1 else 0)
    assert left * each * (1 - headroom) >= rate * (1 - 1e-6)
    assert count % step == 0
    assert count % zones == 0


def test_policies_ask_early_late_or_for_the_worst() -> None:
    rates = np.full(240, 10.0)
    rates[100] = 40.0
    fixed, schedule = (plan(rates, 10, BARE.model_copy(update={"policy": name})) for name in ("fixed", "schedule"))
    assert set(fixed.paid) == {4}
    assert list(np.unique(np.flatnonzero(schedule.serving == 4) // 60)) == [1]
    assert np.flatnonzero(schedule.paid == 4)[0] == 59
    reactive = plan(rates, 10, Fleet(policy="reactive", headroom=0, spare=0, cold_start_s=120, cooldown_min=5))
    most = reactive.paid.max()
    assert list(np.flatnonzero(reactive.paid == most)) == [101, 102, 103, 104, 105]
    assert list(np.flatnonzero(reactive.serving == most)) == [103, 104, 105]


def test_a_backlog_is_late_until_it_is_worked_off() -> None:
    rates = np.array([10.0, 30.0, 10.0, 10.0, 10.0])
    late = late_share(rates, Replicas(np.full(5, 2), np.full(5, 2)), 10.0)
    assert late == pytest.approx([0, 1, 1, 0, 0])  # 600 too many, then 600 a minute are worked off


@pytest.mark.parametrize(("shape", "extra"), [("constant", {}), ("diurnal", {}), ("diurnal", {"peak_over_mean": 1.2}),
                                              ("diurnal", {"peak_hour": 3}), ("bursty", {"peak_over_mean": 4})])
def test_a_replay_of_every_request_costs_what_the_bill_says(shape: str, extra: dict[str, float]) -> None:
    rng = np.random.default_rng(3)
    service = Service(2, rng.lognormal(math.log(0.2), 0.3, 5000))
    rate = capacity(service, 1.0, 0.95, seed=1, requests=50_000)
    demand = curve(Demand(name="d", title="", shape=shape, mean=8, **extra), Path())  # type: ignore[arg-type]
    demand = Curve("d", "", demand.rate[:1440])
    fleet = Fleet(policy="reactive", headroom=0.3, cold_start_s=45)
    seen = replay(demand.rate, rate, 0.2, fleet, service, 1.0, 0.95, seed=2)
    said = bill(offer(rate, 0.2), demand, fleet)
    assert seen.usd / seen.hours * HOURS_PER_MONTH == pytest.approx(said.monthly_usd.value, rel=0.05)
    million = per_million_usd(seen.usd / seen.hours, seen.good / seen.hours / 3600)
    assert million == pytest.approx(said.per_million_good_usd.value, rel=0.05)


def test_the_simulated_capacity_is_erlangs_where_that_is_known() -> None:
    """M/M/1: the p95 sojourn is −ln(0.05)/(µ − λ), so λ = µ − ln(20)/limit."""
    service = Service(1, np.random.default_rng(8).standard_exponential(200_000) * 0.01)
    assert capacity(service, 0.1, 0.95, seed=4) == pytest.approx(100 - math.log(20) / 0.1, rel=0.03)


def test_a_break_even_is_where_the_dearer_machine_begins_to_pay() -> None:
    small, large = offer(100, 0.1, "small", 0.05), offer(1000, 0.5, "large", 0.05)
    (even,) = break_evens([small, large], day(100.0), BARE)
    assert (even.cheaper, even.dearer, even.below) == ("large", "small", "neither")
    assert even.load.low <= even.load.value <= even.load.high
    assert 200 < even.load.value < 500
    (always,) = break_evens([offer(100, 0.1, "cheap"), offer(100, 0.2, "dear")], day(100.0), BARE)
    assert (always.cheaper, always.load.value) == ("cheap", 0.0)
    assert break_evens([offer(100, 0.1, "one"), offer(100, 0.1, "two")], day(100.0), BARE) == ()


def test_a_faster_machine_is_an_assumption_that_is_printed() -> None:
    fast = bill(Offer("a", "w", Interval(10, 10, 10), 1.0, "i", "p", "s", speed=2.0), day(100.0), BARE)
    slow = bill(offer(20, 1.0), day(100.0), BARE)
    assert fast.monthly_usd == slow.monthly_usd
    assert any("ASSUMED, not measured" in line for line in fast.assumptions)


def test_prices_age_and_are_found_by_name() -> None:
    prices = newest_prices(ROOT)
    instance = instance_named(prices, "g6.xlarge")
    assert "not verified" in age_words(instance, instance.checked)
    assert "days old" not in age_words(instance, date.fromordinal(instance.checked.toordinal() + 90))
    assert "91 days old" in age_words(instance, date.fromordinal(instance.checked.toordinal() + 91))
    with pytest.raises(UsageError, match=r"did you mean 'g6\.xlarge'"):
        instance_named(prices, "g6.xlrge")
    assert len(prices.instance) >= 20
    assert {each.cloud for each in prices.instance} == {"aws", "gcp", "azure"}


@pytest.mark.parametrize("each", newest_prices(ROOT).instance, ids=lambda each: each.name)
def test_a_listed_price_names_the_file_and_commit_it_was_read_in(each: Instance) -> None:
    assert re.search(rf"catalogs/v\d+/{each.cloud}/vms\.csv at commit [0-9a-f]{{7}}\b", each.source)
    parts = [float(part) for part in re.findall(r"\b\d+\.\d+\b", each.source)]
    assert not parts or sum(parts) == pytest.approx(each.hourly_usd)
    assert bool(parts) == (each.cloud == "gcp" and each.gpu is not None), "Google's accelerators are priced apart"


def test_skypilots_catalogue_becomes_a_price_list(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text("InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,"
                    "Price,SpotPrice\nm.a,4.0,16.0,,,,r1,r1-a,0.30,0.1\nm.a,4.0,16.0,,,,r1,r1-b,0.25,0.1\n"
                    "m.g,8.0,32.0,L4,1.0,{},r1,r1-a,0.9,\nm.b,4.0,16.0,,,,r2,r2-a,0.2,0.1\n,,,T4,1.0,,r1,r1-a,0.3,0.1\n")
    read, skipped = read_skypilot(path, "aws", "r1", date(2026, 1, 2))
    assert skipped == ()
    assert [(each.name, each.hourly_usd, each.gpu) for each in read.instance] == [
        ("m.a", 0.25, None), ("m.g", 0.9, "1 x L4")]
    (tmp_path / "back.toml").write_text(as_toml(read))
    assert read_prices(tmp_path / "back.toml").instance == read.instance
    for region, only, why in (("r9", (), "no priced instance"), ("r1", ("m.z",), r"no priced m\.z")):
        with pytest.raises(TailraceError, match=why):
            read_skypilot(path, "aws", region, date(2026, 1, 2), only)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TailraceError, match="column 'InstanceType' is missing"):
        read_skypilot(path, "aws", "r1", date(2026, 1, 2))


def test_an_imported_list_knows_arm_and_shared_cores_and_leaves_out_what_is_no_instance(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    arm, shared = ("t4g.xlarge", "a1.xlarge", "m7gd.large", "im4gn.large"), ("t3.large", "t4g.xlarge")
    rows = [f"{name},4.0,16.0,,,r1,0.0{number}," for number, name in
            enumerate((*arm, "t3.large", "c7i.xlarge", "g4dn.xlarge", "u-6tb1.metal"), start=1)]
    path.write_text("InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,Region,Price,Arch\n" + "\n".join(
        [*rows, "told.large,4,16,,,r1,0.01,arm64", "x.micro,0.25,1.0,,,r1,0.01,"]) + "\n")
    read, skipped = read_skypilot(path, "aws", "r1", date(2026, 1, 2))
    assert {each.name for each in read.instance if each.architecture == "arm64"} == {*arm, "told.large"}
    assert {each.name for each in read.instance if each.shared_cores} == set(shared)
    assert instance_for(read, 4).name == "c7i.xlarge"
    assert len(skipped) == 1
    assert "line 11" in skipped[0]
    (tmp_path / "back.toml").write_text(as_toml(read))
    assert read_prices(tmp_path / "back.toml").instance == read.instance


@pytest.mark.parametrize(("name", "arm", "shared"), [
    ("t2a-standard-4", True, False), ("e2-medium", False, True), ("e2-standard-4", False, False),
    ("Standard_D4ps_v5", True, False), ("Standard_D4s_v5", False, False), ("Standard_B2ms", False, True),
    ("Standard_E16-4pds_v6", True, False), ("Standard_NP10s", False, False), ("p6e-gb200.36xlarge", True, False),
    ("m7i-flex.large", False, False), ("p4d.24xlarge", False, False), ("gr6.4xlarge", False, False),
])
def test_names_tell_arm_and_shared_cores(name: str, arm: bool, shared: bool) -> None:
    assert (bool(ARM.match(name)), bool(SHARED.match(name))) == (arm, shared)


def test_replicas_are_told_hour_by_hour() -> None:
    assert by_the_hour([2.0] * 48) == ["replicas at every hour: 2"]
    work, rest = [2.0, 3.26] * 12, [1.0] * 24
    assert by_the_hour(work) == [f"replicas by the hour: {' '.join(['2', '3.3'] * 12)}"]
    assert by_the_hour(work * 3) == [f"replicas by the hour of every day: {' '.join(['2', '3.3'] * 12)}"]
    assert by_the_hour(work * 2 + rest + work + rest * 2) == [
        f"replicas by the hour, days 1–2, 4: {' '.join(['2', '3.3'] * 12)}",
        f"replicas by the hour, days 3, 5–6: {' '.join(['1'] * 24)}"]
    assert by_the_hour(rest + [2.0] * 3)[1] == "replicas by the hour, day 2: 2 2 2"
    unlike = by_the_hour([float(hour // 24) for hour in range(20 * 24)])
    assert len(unlike) == 15
    assert unlike[-1].startswith("… and 6 more unlike days")


def test_a_week_keeps_its_weekend_apart() -> None:
    """The published shape: five workdays alike, and a weekend at three tenths of their rate."""
    week = curve(Demand(name="d", title="", shape="weekly", mean=300, weekend=0.3), Path())
    lines = by_the_hour(bill(offer(20, 0.1), week, Fleet(policy="schedule")).hourly_replicas)
    figures = [[float(each) for each in line.rpartition(": ")[2].split()] for line in lines]
    assert [line.partition(": ")[0] for line in lines] == [
        "replicas by the hour, days 1–5", "replicas by the hour, days 6–7"]
    assert [len(each) for each in figures] == [24, 24]
    assert max(figures[1]) == pytest.approx(0.3 * max(figures[0]), abs=2)


@pytest.mark.parametrize(("text", "why"), [("policy", "not understood"), ("polcy=fixed", "did you mean 'policy'"),
                                           ("policy=never", "policy"), ("spare=-1", "spare")])
def test_what_is_no_fleet_gets_one_sentence(text: str, why: str) -> None:
    with pytest.raises(TailraceError, match=why):
        parse_fleet(text)


def test_a_promise_is_the_same_however_it_is_written() -> None:
    slo = parse_slo(["p(99)<100ms,errors < 1%"])
    assert slo == {"p(99)": "<100ms", "errors": "< 1%"}
    assert same_promise("errors<1% and p(99) < 100ms", slo)
    assert not same_promise("p(99) < 100ms", slo)
    for wrong in ("p(99)=100ms", "fast", "p(99)<100%"):
        with pytest.raises(UsageError):
            parse_slo([wrong])
