"""Promises about failures and wrong answers: no pass that the rows and the judged answers do not bear."""

import math
from typing import Any

import numpy as np
import pytest

from harness.analyse.figures import RunFigures
from harness.analyse.model import PromiseVerdict
from harness.analyse.verdicts import judge_all
from harness.catalog.scenario import Scenario
from harness.record.schema import RunMeta

N, RATE = 3000, 500.0


@pytest.fixture
def judged(meta: RunMeta) -> Any:
    """The verdict on a promise to runs of these latencies in ms (inf: failed)."""
    def verdict(slo: dict[str, str], runs: list[np.ndarray], wrong: int = 0, asked: int = 200,
                which: int = 0) -> PromiseVerdict:
        return judge_all(promising(slo).promises, [figures_of(meta, slo, run, asked, wrong) for run in runs])[which]
    return verdict


def promising(slo: dict[str, str]) -> Scenario:
    return Scenario.model_validate({"name": "s", "title": "t", "question": "q", "seed": 1, "slo": slo, "stage": [
        {"arrivals": "poisson", "rate": RATE, "duration_s": N / RATE}]})


def figures_of(meta: RunMeta, slo: dict[str, str], latency_ms: np.ndarray, asked: int, wrong: int) -> RunFigures:
    rows, share = latency_ms.astype(np.float32), wrong / max(asked, 1)
    failed = float(np.isinf(rows).mean())
    good = (1 - failed) * (1 - share)
    return RunFigures(meta, promising(slo), (), rows, np.sort(rows), rows, RATE, RATE * good, RATE * good, 1 - good, {},
                      0, {}, 1.0, 1.0, failed_share=failed, judged=asked, wrong=wrong)


def quick(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).exponential(4.0, n)


def burst(seed: int, share: float, length: int) -> np.ndarray:
    """Such latencies with failures in bursts: in the mean, `share` of the requests fail."""
    latency_ms, rng = quick(seed), np.random.default_rng([seed, 7])
    for start in np.flatnonzero(rng.random(N // length) < share) * length:
        latency_ms[start:start + length] = math.inf
    return latency_ms


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("slo", [{"errors": "< 0.1%"}, {"goodput": "> 499/s"}])
def test_wrong_answers_are_never_passed(judged: Any, slo: dict[str, str], runs: int) -> None:
    """0.9 % of the judged answers are wrong, as may be of all."""
    same = [quick(seed, 12_000) for seed in range(runs)]
    assert judged(slo, same).verdict == "pass"
    few = judged(slo, same, wrong=2, asked=222)
    assert few.verdict != "pass"
    assert f"{2 * runs} of {222 * runs} judged answers were wrong" in few.reason or slo == {"goodput": "> 499/s"}
    assert judged(slo, same, wrong=9, asked=1000).verdict == "fail"


def test_a_pass_says_what_judging_a_sample_leaves_open(judged: Any) -> None:
    said = judged({"errors": "< 0.1%"}, [quick(1, 12_000)])
    assert (said.verdict, said.reason.split("; ")[-1]) == (
        "pass", "none of 200 judged answers was wrong, so up to 1.8% of all may be")


@pytest.mark.parametrize(("length", "share"), [(5, 0.002), (20, 0.01), (100, 0.05)])
def test_failures_in_bursts_are_worth_fewer_requests(judged: Any, length: int, share: float) -> None:
    """Twice as many fail as promised, in bursts of which some are seen."""
    passes = sum(judged({"errors": f"< {50 * share:g}%"},
                        [burst(10 * seed + run, share, length) for run in range(5)]).verdict == "pass"
                 for seed in range(30))
    assert passes <= 2


def test_bursts_that_never_showed_are_what_a_pass_assumes(judged: Any) -> None:
    said = judged({"errors": "< 0.1%"}, [quick(seed) for seed in range(5)])
    assert said.verdict == "pass"
    assert "no request of 15000 failed, which promises it while failures come in bursts of at most 4" in said.reason


def test_slow_answers_in_bursts_tell_of_those_of_failures(judged: Any) -> None:
    """Three requests in a thousand take longer than promised, twenty at a time."""
    slow = [quick(seed) for seed in range(5)]
    for run in slow:
        run[1000:1020] = 90.0
    said = judged({"p(50)": "< 60ms", "errors": "< 0.1%"}, slow, which=1)
    assert said.verdict == "inconclusive"
    assert "independent ones) failed, 3687 are needed" in said.reason


def test_many_failures_fail_in_a_queue_that_only_grows(judged: Any) -> None:
    grown = np.linspace(1, 5000, N)
    grown[N // 2:] = math.inf
    assert judged({"errors": "< 1%"}, [grown] * 5).verdict == "fail"
