"""What the twin's benchmark counts as targets met."""

import sys
from collections import Counter
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import twin

GRID = tuple(product(("a", "b", "c", "d"), ("embed", "fraud", "ocr"), (1.0, 2.0, 3.0, 4.0)))


def held(setup: str, workload: str, rate: float, error: float = 0.05, abstains: str = "") -> twin.Held:
    return twin.Held(setup, workload, rate, 10.0, 10.0 * (1 + error), 0.2, "shared", abstains, ["run"], 0.1)


FULL = [held(*cell) for cell in GRID]


def test_a_full_grid_told_well_meets_the_targets() -> None:
    assert twin.met(FULL, Counter())


def test_what_is_not_told_meets_nothing() -> None:
    assert not twin.met([held(*cell, abstains="too few runs") for cell in GRID], Counter())
    assert not twin.met([], Counter())
    half = [held(*cell, abstains="" if i < 24 else "too few runs") for i, cell in enumerate(GRID)]
    assert twin.met(half, Counter())
    assert not twin.met([*half[1:], held(*GRID[0], abstains="too few runs")], Counter())


def test_a_load_less_is_missed_unless_it_was_spoiled() -> None:
    assert not twin.met(FULL[1:], Counter())
    assert twin.met(FULL[1:], Counter({("a", "embed"): 1}))
    assert not twin.met(FULL[1:], Counter({("b", "embed"): 1}))
    assert not twin.met(FULL[2:], Counter({("a", "embed"): 2}))
    assert not twin.met([each for each in FULL if each.workload != "ocr"], Counter())


def test_errors_beyond_the_targets_are_missed() -> None:
    assert not twin.met([held(*cell, error=-0.11) for cell in GRID], Counter())
    assert not twin.met([held(*cell, error=0.3 if i % 8 == 0 else 0.01) for i, cell in enumerate(GRID)], Counter())


def test_the_table_tells_by_workload_what_was_told_and_which_way_it_errs() -> None:
    low = [held(*cell, error=-0.08, abstains="too few runs" if cell[:2] == ("a", "ocr") else "") for cell in GRID]
    said = twin.summary(low, Counter({("a", "ocr"): 1}))
    assert "| `ocr` | 16 | 12 | 8% | 8% | -8% | 20% |" in said
    assert "| all | 48 | 44 |" in said
    assert "4 setups, 3 workloads, 48 loads held out and 1 more spoiled (enough); 4 abstain (8%)" in said
