"""The calibration measures what it says, on whatever machine the tests run on."""

import json
import os

import pytest

from harness.load.calibrate import calibrate
from harness.load.calibration import Calibration, OraclePoint, RatePoint, StallPoint


def rate(per_s: float, lag_p99_ms: float, best_ms: float) -> RatePoint:
    return RatePoint(per_s, 0.05, lag_p99_ms, 1.0, best_ms, 0.2, 1.0, 0)


def found(oracle_error: float, stall_error: float) -> Calibration:
    return Calibration(
        rates=(rate(500, 0.1, 0.1), rate(20_000, 0.2, 0.1), rate(28_000, 0.3, 0.15), rate(32_000, 9.0, 8.0)),
        oracle=(OraclePoint(500, 700, 40.0, 40.1, 0.0025, 50.0, 50.0 * (1 + oracle_error), oracle_error, 0.1),),
        stalls=(StallPoint("tailrace", 900.0, 900.0 * (1 + stall_error), stall_error),
                StallPoint("Locust FastHttpUser", 900.0, 4.0, -0.99)),
        target_late_p99_us=50.0, hiccup_ms=3.0, realtime=True, shared_cpu=False)


def test_verdicts() -> None:
    good = found(-0.009, 0.015)
    assert (good.rate_per_core, good.best_rate_per_core) == (20_000, 28_000)
    assert good.met == {"rate": True, "oracle": True, "stall": True}
    bad = found(-0.011, -0.021)
    assert bad.met == {"rate": True, "oracle": False, "stall": False}


def test_tables_and_json_agree() -> None:
    good = found(0.001, 0.001)
    for table in good.tables():
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
    assert [row[-1] for row in good.tables()[0].rows] == ["yes"] * 3
    read = json.loads(json.dumps(good.as_dict()))
    assert read["met"]["oracle"] is True
    assert read["rates"][1]["rate"] == 20_000


@pytest.mark.live
def test_a_quick_calibration() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    said: list[str] = []
    measured = calibrate(cpus[-1:], cpus[:1], quick=True, say=said.append)
    assert len(said) == 5
    assert measured.shared_cpu == (len(cpus) == 1)
    assert all(point.errors == 0 for point in measured.rates[:2])
    for point in measured.oracle:
        assert point.truth_p99_ms > 20, "one per cent of the truth must be more than noise"
    if len(cpus) > 1:  # loose: other tests share the machine
        assert abs(measured.oracle[0].p99_error) < 0.25
        assert abs(measured.stalls[0].error) < 0.1
    assert measured.stalls[0].truth_p99_ms > 900
    assert measured.stalls[1].p99_ms > 0
