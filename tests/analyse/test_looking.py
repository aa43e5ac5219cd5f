"""Promises as certificates: looked at while rows come in, and again on reading."""

import math
from typing import Any

import numpy as np
import pytest

from harness.analyse.certificate import certify
from harness.analyse.looking import begin, certainly_broken, certificates, decided, look, standing, together, why_not
from harness.catalog.scenario import Scenario

STAGE = {"arrivals": "poisson", "rate": 500.0, "duration_s": 60.0}
MS = 1e6


def scenario(stage: dict[str, Any] | None = None, **slo: str) -> Scenario:
    names = {"p99": "p(99)"}
    return Scenario.model_validate({"name": "s", "title": "t", "question": "q", "seed": 1, "stage": [stage or STAGE],
                                    "slo": {names.get(name, name): bound for name, bound in slo.items()}})


def run(n: int = 20_000, mean_ms: float = 4.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.exponential(mean_ms * MS, n), np.cumsum(rng.exponential(2 * MS, n)).astype(np.int64)


def test_looking_at_rows_as_they_come_in_ends_where_reading_them_does() -> None:
    latency, due = run()
    done, looking = due + latency, begin(scenario(p99="< 30ms"))
    for now in range(0, int(due[-1] + 1e9), int(0.5e9)):
        there = int(np.searchsorted(due, now, side="right"))
        looking = look(looking, np.where(done <= now, latency, np.nan)[:there], due[:there], now)
    assert looking.requests == len(latency)
    [said] = certificates(looking).values()
    read = certify(latency, due, 0.99, 30 * MS)
    assert (said.verdict, said.log_e_pass) == ("pass", pytest.approx(read.log_e_pass))
    assert decided(looking) == "p(99) < 30ms: pass"


def test_no_promise_stands_before_all_do() -> None:
    latency, due = run(3000)
    both = scenario(p99="< 60ms", errors="< 0.01%")
    looking = look(begin(both), latency, due, int(due[-1]))
    verdicts = {text: said.verdict for text, said in certificates(looking).items()}
    assert verdicts == {"p(99) < 60ms": "pass", "errors < 0.01%": "inconclusive"}
    assert decided(looking) == ""
    assert "errors < 0.01%: about " in standing(looking)


def test_an_error_rate_waits_for_every_request_to_end() -> None:
    latency, due = run(3000)
    latency[100] = np.nan
    looking = look(begin(scenario(p99="< 60ms", errors="< 5%")), latency, due, int(due[-1]))
    assert looking.requests == 100
    alone = look(begin(scenario(p99="< 60ms")), latency, due, int(due[-1]))
    assert alone.requests > 2000, "one that is out for longer than the limit has broken it already"


def test_failures_are_judged_where_no_latency_is_promised() -> None:
    latency, due = run(8000)
    good = look(begin(scenario(errors="< 2%")), latency, due, int(due[-1]))
    assert decided(good) == "errors < 2%: pass"
    latency[np.random.default_rng(1).random(8000) < 0.06] = math.inf
    assert decided(look(begin(scenario(errors="< 2%")), latency, due, int(due[-1]))) == "errors < 2%: fail"
    few = look(begin(scenario(errors="< 2%")), latency[:100], due[:100], int(due[100]))
    assert certificates(few) == {}


@pytest.mark.parametrize(("least", "verdict"), [("> 400/s", "pass"), ("> 480/s", "fail")])
def test_a_goodput_is_a_share_of_what_is_offered(least: str, verdict: str) -> None:
    """Exponential latencies of 4 ms in the mean: 1 − e^(−10/4) = 91.8 % within 10 ms, 459 of 500 a second."""
    latency, due = run()
    looking = look(begin(scenario(p99="< 10ms", goodput=least)), latency, due, int(due[-1]))
    assert certificates(looking)[f"goodput {least}"].verdict == verdict


def test_only_a_promise_that_asks_for_it_aborts() -> None:
    latency, due = run(4000)
    assert not certainly_broken(look(begin(scenario(p99="< 1ms")), latency, due, int(due[-1])))
    aborting = look(begin(scenario(p99="< 1ms abortOnFail")), latency, due, int(due[-1]))
    assert certainly_broken(aborting) == "p(99) < 1ms: fail"
    later = begin(scenario(p99="< 1ms abortOnFail after 20s"))
    assert not certainly_broken(look(later, latency, due, int(19e9)))
    assert certainly_broken(look(later, latency, due, int(20e9)))
    kept = look(begin(scenario(p99="< 90ms abortOnFail")), latency, due, int(due[-1]))
    assert not certainly_broken(kept)


@pytest.mark.parametrize(("stage", "slo", "said"), [
    ({"arrivals": "closed", "users": 4, "duration_s": 5.0}, {"p99": "< 9ms"}, "closed loop"),
    ({**STAGE, "rate_end": 900.0}, {"p99": "< 9ms"}, "changes"),
    (STAGE, {}, "promises nothing"),
    (STAGE, {"p99": "< baseline * 1.1"}, "promises nothing"),
    (STAGE, {"goodput": "> 500/s"}, "offers only 500/s"),
    (STAGE, {"p99": "< 9ms and < baseline * 1.1"}, ""),
])
def test_what_has_no_certificate_says_why(stage: dict[str, Any], slo: dict[str, str], said: str) -> None:
    why = why_not(scenario(stage, **slo))
    assert said in why
    assert bool(said) == bool(why)


def test_runs_together_know_more_than_each_and_must_agree() -> None:
    limit = 24 * MS
    several = [certify(*run(300, seed=seed), 0.99, limit) for seed in range(4)]
    assert {one.verdict for one in several} == {"inconclusive"}
    verdict, why, more_s = together(several)
    assert (verdict, more_s) == ("pass", 0.0)
    assert "4 runs together, 95% confidence" in why
    broken = certify(*run(4000, mean_ms=20, seed=9), 0.99, limit)
    kept = certify(*run(20_000, mean_ms=2, seed=9), 0.99, limit)
    assert (broken.verdict, kept.verdict) == ("fail", "pass")
    verdict, why, more_s = together([broken, kept])
    assert (verdict, more_s) == ("inconclusive", math.inf)
    assert "some runs keep it and some break it" in why
