"""A run on a GPU: arms of their own, energy as physics has it, time split into copies and kernels, who disturbed it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.analyse.checks import checks_of
from harness.analyse.explain import explained
from harness.analyse.explain_parts import GPU_PARTS, PARTS, flights, parts_ms, whole
from harness.analyse.figures import time_spent
from harness.analyse.frames import RunView
from harness.analyse.gpu_figures import (
    joules_each,
    kwh_per_million,
    mean_over_time,
    power_of_counter,
    use_of,
)
from harness.analyse.gpu_figures import seen as looked_at
from harness.record.write import Probe
from tests.analyse.nvml import WINDOW_S, Columns, Queue, looks, on_gpu


def table(probes: Sequence[Probe]) -> dict[str, NDArray[Any]]:
    """As a record gives them back."""
    columns = list(zip(*probes, strict=True))
    kinds = {"t_ns": np.int64, "pid": np.int32, "value": np.float64}
    return {name: np.array(values, dtype=kinds.get(name, object))
            for name, values in zip(Probe._fields, columns, strict=True)}


@given(power=st.floats(1, 1000), gaps=st.lists(st.floats(0.05, 2.0), min_size=2, max_size=30),
       start=st.floats(0, 1e9), fall=st.integers(0, 40))
def test_a_counter_tells_mean_power_also_when_it_falls(power: float, gaps: list[float], start: float,
                                                      fall: int) -> None:
    t = np.concatenate([[0.0], np.cumsum(gaps)])
    energy = start + power * t
    assert power_of_counter(t, energy) == pytest.approx(power, rel=1e-4)
    if 1 <= fall < len(t) - 1:
        energy[fall:] -= energy[fall] - 1e-3 * power  # the driver was loaded anew between two looks
        if start > 1:
            assert power_of_counter(t, energy) == pytest.approx(power, rel=1e-3)


def test_a_32_bit_counter_may_wrap() -> None:
    t = np.arange(0, 10, 0.25)
    mj = (2**32 - 400_000 + 250_000 * t).astype(np.uint64) % 2**32
    assert power_of_counter(t, mj.astype(float) / 1e3) == pytest.approx(250, rel=1e-6)


@pytest.mark.parametrize(("times", "energy"), [([], []), ([1.0], [5.0]), ([1.0, 2.0, 3.0], [7.0, 7.0, 7.0])])
def test_a_counter_that_tells_nothing_is_none(times: list[float], energy: list[float]) -> None:
    assert math.isnan(power_of_counter(np.array(times), np.array(energy)))


def test_power_is_integrated_over_time_not_over_readings() -> None:
    """100 W for a second, read often, then 300 W for a second, read at its ends: 200 W, not what most readings say."""
    t = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.0 + 1e-9, 2.0])
    watts = np.array([100.0] * 5 + [300.0] * 2)
    assert mean_over_time(t, watts) == pytest.approx(200.0, rel=1e-6)
    ramp = np.linspace(0, 4, 17)
    assert mean_over_time(ramp, 50 * ramp) == pytest.approx(100.0)  # ∫ 50 t dt over 4 s = 400 J
    assert mean_over_time(np.array([3.0]), np.array([70.0])) == 70.0
    assert math.isnan(mean_over_time(np.array([]), np.array([])))


def test_energy_of_an_answer() -> None:
    """700 W at 2000 answers a second: 0.35 J each, 350 kJ a million, 0.0972 kWh."""
    assert joules_each(700, 2000) == pytest.approx(0.35)
    assert kwh_per_million(700, 2000) == pytest.approx(0.35e6 / 3.6e6)
    assert math.isinf(joules_each(700, 0))
    assert math.isnan(joules_each(math.nan, 100))


@pytest.mark.parametrize(("counter", "source"), [(True, "counter"), (False, "power")])
def test_what_the_probes_saw(counter: bool, source: str) -> None:
    found = looked_at(table(looks(counter=counter)), 0.0, WINDOW_S)
    assert found is not None
    assert (found.busy, found.memory_mb) == (pytest.approx(0.6), pytest.approx(3200.0))
    assert found.power_w == pytest.approx(300.0)
    assert found.energy_from == source


def test_only_the_window_counts() -> None:
    idle = [Probe(int(t * 1e9), "gpu", 0, "", "gpu_power_w", 60.0) for t in np.arange(-5, -1, 0.25)]
    found = looked_at(table([*idle, *looks(counter=False)]), 0.0, WINDOW_S)
    assert found is not None
    assert found.power_w == pytest.approx(300.0)
    assert looked_at(table([Probe(0, "server", 7, "w", "cpu_s", 1.0)]), 0, 1) is None
    assert looked_at({}, 0, 1) is None


def test_a_gpu_that_was_lost_leaves_no_figure_and_no_exception() -> None:
    found = looked_at(table([Probe(10**9, "gpu", 0, "GPU is lost", "gpu_lost", 1.0)]), 0.0, WINDOW_S)
    assert found is not None
    assert math.isnan(found.power_w)
    assert math.isnan(found.busy)
    assert found.energy_from == ""
    use = use_of([(found, 100.0, 100.0)])
    assert use is not None
    assert math.isnan(use.kwh_per_million_good)


@pytest.mark.parametrize(("said", "expected"), [
    ({}, {"gpu_throttled": "ok", "gpu_shared": "ok", "gpu_seen": "ok"}),
    ({"reasons": 0x1}, {"gpu_throttled": "ok"}),     # idle is no slowdown
    ({"reasons": 0x40}, {"gpu_throttled": "invalid"}),
    ({"reasons": 0x04}, {"gpu_throttled": "note"}),
    ({"strangers": 1.0}, {"gpu_shared": "warning"}),
    ({"until_s": 6.0}, {"gpu_seen": "note"}),
])
def test_who_disturbed_the_gpu(seen: Callable[..., RunView], queue: Queue, said: dict[str, Any],
                               expected: dict[str, str]) -> None:
    run = replace(seen(on_gpu(queue(1)), device="gpu"), probes=table(looks(**said)))
    found = {check.code: check.severity for check in checks_of(run)}
    assert expected.items() <= found.items()
    assert all(check.hint for check in checks_of(run) if check.severity != "ok")


def test_a_few_hot_looks_are_a_warning(seen: Callable[..., RunView], queue: Queue) -> None:
    probes = [each._replace(value=64.0) if each.metric == "gpu_clock_reasons" and 5e9 < each.t_ns < 7e9 else each
              for each in looks()]
    run = replace(seen(on_gpu(queue(1)), device="gpu"), probes=table(probes))
    [check] = [each for each in checks_of(run) if each.code == "gpu_throttled"]
    assert check.severity == "warning"
    assert "heat" in check.message
    assert check.figures["slowed_share"] == pytest.approx(7 / 81)


def test_a_run_on_the_cpu_is_not_asked_about_a_gpu(seen: Callable[..., RunView], queue: Queue) -> None:
    codes = [check.code for check in checks_of(seen(queue(1)))]
    assert not [code for code in codes if code.startswith("gpu")]


def test_without_any_probe_the_gpu_checks_are_notes(seen: Callable[..., RunView], queue: Queue) -> None:
    found = {check.code: check.severity for check in checks_of(seen(queue(1), device="gpu"))}
    assert {found[code] for code in ("gpu_throttled", "gpu_shared", "gpu_seen")} == {"note"}


def test_the_models_time_is_split_and_still_sums(seen: Callable[..., RunView], queue: Queue) -> None:
    plain, told = seen(queue(1)), seen(on_gpu(queue(1)), device="gpu")
    before, n = time_spent(plain.rows)
    after, same = time_spent(told.rows)
    assert n == same
    assert set(after) == {*before, "copy", "kernel"}
    assert after["copy"] == pytest.approx(0.1 * before["model"], rel=0.01)
    assert after["kernel"] == pytest.approx(0.6 * before["model"], rel=0.01)
    assert after["model"] == pytest.approx(0.3 * before["model"], rel=0.02)
    assert sum(after.values()) == pytest.approx(sum(before.values()))


def test_copies_beside_kernels_take_no_more_than_the_model(seen: Callable[..., RunView], queue: Queue) -> None:
    before, _ = time_spent(seen(queue(1)).rows)
    after, _ = time_spent(seen(on_gpu(queue(1), copy=0.5, kernel=1.0), device="gpu").rows)
    assert after["model"] == pytest.approx(0.0, abs=1e-6)
    assert after["copy"] / after["kernel"] == pytest.approx(0.5, rel=0.01)
    assert sum(after.values()) == pytest.approx(sum(before.values()))


def full(columns: Columns) -> Columns:
    """With the columns that a generator writes and the simulated queue leaves out."""
    n = len(columns["seq"])
    absent = np.full(n, -(1 << 62))
    return {"connected_ns": absent, "written_ns": absent, "gc_us": np.full(n, -1, np.int32), **columns}


def test_parts_of_requests_sum_to_the_whole_with_a_gpu_too(queue: Queue) -> None:
    plain = flights(full(queue(1)), np.zeros(0))
    told = flights(full(on_gpu(queue(1))), np.zeros(0))
    assert tuple(parts_ms(plain)) == PARTS
    found = parts_ms(told)
    assert set(found) == {*PARTS, *GPU_PARTS}
    assert whole(told, found) == whole(plain, parts_ms(plain)) == 1
    assert np.allclose(found["model"] + found["copy"] + found["kernel"], parts_ms(plain)["model"], atol=0.01)


def test_what_explains_a_tail_does_not_depend_on_the_split(seen: Callable[..., RunView], queue: Queue) -> None:
    plain, told = full(queue(3)), full(on_gpu(queue(3)))
    one, other = (explained(seen(columns), columns, np.zeros(0), {}) for columns in (plain, told))
    assert set(other.usual_ms) == {*one.usual_ms, "copy", "kernel"}
    for cause in one.shares:
        assert other.shares.get(cause, 0.0) == pytest.approx(one.shares[cause], abs=0.05)
