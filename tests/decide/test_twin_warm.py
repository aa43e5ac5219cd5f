"""How much longer a server takes at lighter loads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decide.twin_warm import ALIKE, SLOWEST, Warmth, eased, more

TIMES = st.floats(1e-5, 1e-1)


def test_between_two_loads_it_is_interpolated_and_beyond_the_ends_the_nearest_holds() -> None:
    warm = Warmth(served=((100.0, 2.0), (400.0, 1.0)))
    assert [warm.factors(rate)[0] for rate in (1.0, 100.0, 200.0, 400.0, 9e9)] == pytest.approx(
        [2.0, 2.0, 1.5, 1.0, 1.0])


def test_a_step_stays_a_step() -> None:
    """A power of the load through these would say 0.71 ms where 1.0 and 0.5 were seen."""
    table = eased([100.0, 200.0, 400.0, 800.0], [1e-3, 1e-3, 5e-4, 5e-4])
    assert [times for _, times in table] == pytest.approx([2.0, 2.0, 1.0, 1.0])
    assert Warmth(table).factors(800.0)[0] == 1.0


def test_what_grows_with_load_is_no_warmth() -> None:
    assert all(times == pytest.approx(1.0) for _, times in eased([10.0, 100.0], [1e-3, 2e-3]))


def test_runs_of_one_load_are_one_and_a_single_load_tells_nothing() -> None:
    assert len(eased([100.0, 103.0, 400.0], [3e-3, 1e-3, 1e-3])) == 2
    assert Warmth(eased([100.0, 120.0], [3e-3, 1e-3])).factors(1.0) == ALIKE.factors(1.0)


def test_what_an_item_costs_more_is_in_seconds_so_that_it_may_be_nothing_at_the_heaviest_load() -> None:
    warm = Warmth(dearer_s=more([100.0, 400.0, 1_600.0], [7e-4, 3e-4, 0.0]))
    assert [warm.more_s(rate) for rate in (50.0, 200.0, 1_600.0)] == pytest.approx([7e-4, 5e-4, 0.0])


@given(st.lists(st.tuples(st.floats(1.0, 1e4), TIMES), min_size=2, max_size=12))
def test_times_only_fall_and_by_no_more_than_a_power(seen: list[tuple[float, float]]) -> None:
    rates, times = zip(*seen, strict=True)
    table = np.array(eased(rates, times))
    assert table[-1, 1] == 1.0
    assert np.all(np.diff(table[:, 1]) <= 1e-9)
    assert np.all(table[:, 1] <= (table[-1, 0] / table[:, 0]) ** SLOWEST * (1 + 1e-9))
