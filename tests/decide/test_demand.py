"""Demands are the curves their words say, and what is no demand gets one sentence."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog.discover import Catalog
from harness.decide.demand import Demand, curve, demand_names, find_demand
from harness.errors import TailraceError, UsageError

CATALOG = Catalog(Path(__file__).resolve().parents[2])


def made(**table: object) -> Demand:
    return Demand.model_validate({"name": "d", "title": "t", **table})


@given(st.sampled_from(["constant", "diurnal", "weekly", "bursty"]), st.floats(0.1, 1e5), st.floats(1, 20),
       st.floats(0, 23.9), st.floats(0.01, 2), st.floats(0, 40), st.floats(0.1, 10))
def test_the_mean_is_the_mean_asked_for(shape: str, mean: float, peak: float, hour: float, weekend: float,
                                        bursts: float, times: float) -> None:
    demand = made(shape=shape, mean=mean, peak_over_mean=peak, peak_hour=hour, weekend=weekend, bursts_a_day=bursts,
                  times=times)
    seen = curve(demand, Path())
    assert seen.mean == pytest.approx(mean * times)
    assert seen.rate.min() >= 0
    assert seen.peak >= seen.mean * (1 - 1e-9)


def test_a_day_is_highest_at_its_hour_and_a_weekend_is_low() -> None:
    day = curve(made(shape="diurnal", mean=100, peak_over_mean=1.5, peak_hour=9), Path()).rate
    assert len(day) == 1440
    assert abs(int(np.argmax(day)) - 9 * 60) <= 1
    assert day.max() == pytest.approx(150, rel=0.001)
    week = curve(made(shape="weekly", mean=100, weekend=0.25), Path()).rate
    assert week[-1440:].mean() == pytest.approx(0.25 * week[:1440].mean())


def test_requests_per_minute_and_arrivals_say_the_same(tmp_path: Path) -> None:
    counts = np.array([60, 0, 120, 30])
    (tmp_path / "c.csv").write_text("minute,requests\n" + "".join(f"{i},{n}\n" for i, n in enumerate(counts)))
    times = np.concatenate([i * 60 + np.linspace(0, 59, n) for i, n in enumerate(counts) if n])
    (tmp_path / "t.txt").write_text("\n".join(str(each) for each in times))
    expected = counts / 60
    assert curve(made(shape="csv", file="c.csv"), tmp_path).rate == pytest.approx(expected)
    assert curve(made(shape="trace", file="t.txt"), tmp_path).rate == pytest.approx(expected)
    assert find_demand(CATALOG, str(tmp_path / "c.csv")).rate == pytest.approx(expected)


def test_a_number_is_a_constant_rate_and_a_name_a_file() -> None:
    assert find_demand(CATALOG, "250/s").mean == pytest.approx(250)
    for name in demand_names(CATALOG):
        assert find_demand(CATALOG, name).mean > 0


@pytest.mark.parametrize(("asked", "why"), [("ofice-week", "did you mean 'office-week'"), ("-3", "above zero"),
                                            ("nowhere.csv", "cannot be read"), ("nowhere.toml", "no such file")])
def test_what_is_no_demand_gets_one_sentence(asked: str, why: str) -> None:
    with pytest.raises((UsageError, TailraceError), match=why):
        find_demand(CATALOG, asked)


@pytest.mark.parametrize(("text", "why"), [("n\n1\nx\n", "line 3"), ("0\n0\n", "not all 0"),
                                           ("1\n-4\n", "not negative"), ("", "0 figures"), ("1\nnan\n", "line 2")])
def test_a_bad_table_names_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(TailraceError, match=why):
        find_demand(CATALOG, str(tmp_path / "c.csv"))


@pytest.mark.parametrize("table", [{"shape": "constant"}, {"shape": "csv"}, {"shape": "trace", "file": "a", "mean": 1},
                                   {"shape": "diurnal", "mean": 1, "file": "a"}])
def test_a_shape_has_what_it_needs(table: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="demand of shape"):
        made(**table)
