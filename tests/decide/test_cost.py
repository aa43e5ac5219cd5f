"""A million good answers cost what the arithmetic says, and every figure names its price and date."""

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analyse.model import Analysis, Cell, GpuUse, Interval
from harness.decide.cost import per_million_usd, with_costs
from harness.decide.prices import PriceList, gpu_model, instance_for, newest_prices, parse_prices, read_prices
from harness.errors import TailraceError, UsageError

ROOT = Path(__file__).resolve().parents[2]
NONE = Interval(math.nan, math.nan, math.nan)


def cell(setup: str, goodput: float, verdict: str = "pass") -> Cell:
    return Cell(setup, "embed", "steady", 1.0, 250.0, False, (), {}, Interval(goodput, goodput, goodput), NONE, 0.0,
                verdict, "", (), {}, {}, 2.5, 500.0, 1.0, None, good_ms=100.0, server_cpus=3)  # type: ignore[arg-type]


def analysis(*cells: Cell, cpus: int = 4) -> Analysis:
    return Analysis("p", "", "", {"cpus": cpus, "gpus": []}, cells, (), {}, {}, "")


@pytest.fixture
def prices() -> PriceList:
    return newest_prices(ROOT)


@given(st.floats(0.01, 100), st.floats(0.01, 1e5))
def test_an_hour_of_good_answers_costs_the_hourly_price(hourly: float, good: float) -> None:
    assert per_million_usd(hourly, good) * good * 3600 / 1e6 == pytest.approx(hourly)


def test_a_price_given_is_the_price_used(prices: PriceList) -> None:
    done = with_costs(analysis(cell("flask", 100.0), cell("zmq", 200.0)), prices, {"flask": 0.36})
    flask, zmq = (each.cost for each in done.cells)
    assert flask is not None
    assert zmq is not None
    assert flask.per_million_good_usd == pytest.approx(1.0)
    assert flask.instance == "as given"
    assert zmq.hourly_usd == pytest.approx(0.1785)
    assert zmq.instance.startswith("c7i.xlarge")
    assert zmq.price_date == "2026-11-30"
    later = with_costs(analysis(cell("zmq", 200.0)), prices, today=date(2027, 3, 1)).cells[0].cost
    assert later is not None
    assert later.price_date == "2026-11-30; 91 days old: check it again"
    assert "91 days old" in " ".join(later.assumptions)
    assert any("not verified" in each for each in zmq.assumptions)


def test_no_good_answer_has_no_finite_cost_and_an_invalid_cell_none(prices: PriceList) -> None:
    done = with_costs(analysis(cell("dead", 0.0), cell("lost", 100.0, "invalid")), prices)
    assert done.cells[0].cost is not None
    assert math.isinf(done.cells[0].cost.per_million_good_usd)
    assert done.cells[1].cost is None


@pytest.mark.parametrize(("cpus", "name"), [(2, "c7i.large"), (4, "c7i.xlarge"), (5, "c7i.xlarge"),
                                            (8, "c7i.2xlarge"), (64, "c7i.4xlarge")])
def test_the_default_instance_is_the_nearest_cheapest(prices: PriceList, cpus: int, name: str) -> None:
    assert instance_for(prices, cpus).name == name


def test_what_ran_on_a_gpu_costs_an_instance_with_that_gpu_or_nothing_is_said(prices: PriceList) -> None:
    ran = replace(cell("zmq (gpu)", 1000.0), device="gpu")
    h100 = replace(analysis(ran, cell("zmq", 100.0), cpus=16), machine={"cpus": 16, "gpus": ["NVIDIA H100 80GB HBM3"]})
    on_gpu, on_cpu = (each.cost for each in with_costs(h100, prices).cells)
    assert on_gpu is not None
    assert on_gpu.instance.startswith("p5.4xlarge")
    assert on_gpu.per_million_good_usd == pytest.approx(6.88 / 3.6)
    assert on_cpu is not None
    assert "c7i" in on_cpu.instance, "what ran on the CPU needs no GPU"
    other = replace(h100, machine={"cpus": 16, "gpus": ["NVIDIA B300"]})
    assert with_costs(other, prices).cells[0].cost is None
    [given, _] = with_costs(other, prices, {"zmq (gpu)": 3.6}).cells
    assert given.cost is not None
    assert given.cost.per_million_good_usd == pytest.approx(1.0)


def test_a_price_is_the_setups_whatever_its_arm_is_called_and_the_cpus_where_it_ran_on_both(prices: PriceList) -> None:
    on_gpu = replace(cell("zmq (gpu) precision=half", 1000.0), device="gpu")

    def hourly(cells: list[Cell], given: dict[str, float]) -> list[float | None]:
        made = with_costs(analysis(*cells), prices, given).cells
        return [each.cost.hourly_usd if each.cost else None for each in made]

    assert hourly([on_gpu], {"zmq": 5.0}) == [5.0]
    assert hourly([on_gpu, cell("zmq", 9.0), cell("zmq workers=2", 9.0)], {"zmq": 5.0}) == [None, 5.0, 5.0]
    assert hourly([on_gpu, cell("zmq", 9.0)], {"zmq": 5.0, "zmq (gpu)": 7.0}) == [7.0, 5.0]


@pytest.mark.parametrize(("name", "model"), [
    ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA A10G", "A10G"), ("NVIDIA A100 40 GB", "A100"), ("NVIDIA L40S", "L40S"),
    ("1 x T4", "T4"), ("NVIDIA H200", "H200"), ("NVIDIA GH200 480GB", "GH200"), ("some accelerator", ""),
])
def test_models_of_gpus_are_read_from_their_names(name: str, model: str) -> None:
    assert gpu_model(name) == model


def test_energy_costs_what_a_kwh_costs(prices: PriceList) -> None:
    use = GpuUse(0.5, 3000.0, 360.0, 0.36, 0.1, "counter")
    ran = replace(cell("zmq (gpu)", 1000.0), device="gpu", gpu=use)
    assert prices.electricity is not None
    for told, price in ((None, prices.electricity.usd_per_kwh), (0.3, 0.3), (0.0, 0.0)):
        found = with_costs(analysis(ran), prices, {"zmq (gpu)": 1.0}, told).cells[0].gpu
        assert found is not None
        assert (found.usd_per_kwh, found.usd_per_million_good) == (price, pytest.approx(0.1 * price))


def test_a_machine_with_a_gpu_costs_a_gpu_instance(prices: PriceList) -> None:
    assert instance_for(prices, 4, gpu=True).gpu
    plain = replace_instances(prices)
    with pytest.raises(TailraceError, match="with a GPU"):
        instance_for(plain, 4, gpu=True)


def replace_instances(prices: PriceList) -> PriceList:
    return prices.model_copy(update={"instance": tuple(each for each in prices.instance if each.gpu is None)})


def test_the_machines_own_figure_is_used_and_else_the_servers(prices: PriceList) -> None:
    eight = with_costs(analysis(cell("flask", 100.0), cpus=8), prices).cells[0].cost
    silent = with_costs(replace(analysis(cell("flask", 100.0)), machine={}), prices).cells[0].cost
    assert eight is not None
    assert silent is not None
    assert eight.instance.startswith("c7i.2xlarge")
    assert silent.instance.startswith("c7i.xlarge")


def test_prices_are_read_as_written() -> None:
    assert parse_prices(["flask=0.34/h", "zmq-batching=$1.2", "fastapi=2"], ["flask", "zmq-batching", "fastapi"]) == {
        "flask": 0.34, "zmq-batching": 1.2, "fastapi": 2.0}


@pytest.mark.parametrize(("text", "why"), [
    ("flask", "not understood"), ("flask=cheap", "not understood"), ("flask=-1", "not understood"),
    ("flask=0.3/month", "not understood"), ("flask=nan", "not understood"), ("flask=0/h", "above zero"),
    ("flsk=1/h", "did you mean 'flask'"),
])
def test_what_is_no_price_gets_one_sentence(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_prices([text], ["flask", "fastapi"])
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_every_list_in_the_tree_can_be_read_and_names_its_sources() -> None:
    for path in sorted(ROOT.glob("prices/*.toml")):
        for instance in read_prices(path).instance:
            assert instance.source
            assert instance.checked <= read_prices(path).date


def test_a_tree_without_prices_takes_the_checkouts_own(tmp_path: Path) -> None:
    assert newest_prices(tmp_path) == newest_prices(ROOT)
