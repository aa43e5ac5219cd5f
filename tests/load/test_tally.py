"""Quantiles so far: near those of all latencies, whoever counted them."""

import json
import math
import random

import pytest

from harness.load.tally import Tally, merged, quantile_ms


def test_quantiles_of_several_tallies_are_those_of_all_latencies() -> None:
    seeded = random.Random(3)
    latencies_ns = [round(seeded.lognormvariate(16, 1)) for _ in range(4000)]
    tallies = [Tally() for _ in range(3)]
    for i, latency_ns in enumerate(latencies_ns):
        tallies[i % 3].add(latency_ns)
    counts = merged(tally.told for tally in tallies)
    for share in (0.5, 0.99):
        exact_ns = sorted(latencies_ns)[math.ceil(share * len(latencies_ns)) - 1]
        assert quantile_ms(counts, share) == pytest.approx(exact_ns / 1e6, rel=0.026)


def test_one_may_stand_for_many_and_none_has_no_quantile() -> None:
    tally = Tally()
    tally.add(1_000_000, 98)
    tally.add(500_000_000, 2)
    assert quantile_ms(merged([tally.told]), 0.98) == pytest.approx(1.0, rel=0.026)
    assert quantile_ms(merged([tally.told]), 0.99) == pytest.approx(500.0, rel=0.026)
    assert math.isnan(quantile_ms(merged([[], Tally().told]), 0.5))


def test_what_is_told_fits_a_pipe_at_once() -> None:
    """From 10 µs to a minute, every bucket full: less than PIPE_BUF less the rest of the line."""
    tally = Tally()
    for tenth in range(700):
        tally.add(round(1e4 * 10 ** (tenth / 100)), 1000)
    assert len(json.dumps(tally.told, separators=(",", ":"))) < 3900
