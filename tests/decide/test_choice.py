"""A choice names a setup only when that is told, calls equals equal, and says what to measure where it cannot tell."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analyse.model import Interval, Verdict
from harness.catalog.discover import Catalog
from harness.decide.bill import ESTIMATED, SEARCHED, Latency, Offer, bill
from harness.decide.bill_offers import Offered
from harness.decide.choice import Wish, at_one_load, choose
from harness.decide.choice_evidence import critical, log_mean, more_repetitions, ratio_ever
from harness.decide.choice_facts import check_known, has, parse_musts, parse_weights, score, unmet
from harness.decide.choice_grid import front, held, scaled, stability
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet
from harness.errors import UsageError

pytestmark = pytest.mark.simulated

DEMAND, FLEET = Curve("d", "", np.full(60, 20_000.0)), Fleet(spare=0, headroom=0)
WISH = Wish({"p(99)": "< 100ms"}, {}, {})


def offer(name: str, rates: Sequence[float], p99: float = 50.0, hourly: float = 0.2, **facts: bool | str) -> Offer:
    return Offer(name, "w", log_mean(rates), hourly, "i", "p", "s", each_rate=dict(enumerate(rates)), verdict="pass",
                 p99_ms=Interval(p99, p99, p99), p99_at=10, seconds_each=3.0, facts=facts)


def rates(mean: float, spread: float, n: int, seed: int) -> list[float]:
    return list(mean * np.exp(spread * np.random.default_rng(seed).standard_normal(n)))


def test_a_clear_winner_is_named_and_an_equal_is_not() -> None:
    fast, same, slow = (offer(name, rates(mean, 0.01, 12, seed)) for name, mean, seed in
                        (("fast", 120, 1), ("same", 121, 2), ("slow", 100, 3)))
    one = choose([slow, fast], {}, DEMAND, FLEET, WISH)
    assert (one.kind, one.named) == ("one", ("fast",))
    tie = choose([slow, same, fast], {}, DEMAND, FLEET, WISH)
    assert tie.kind == "tie"
    assert set(tie.named) == {"fast", "same"}
    assert "no difference worth having" in tie.sentence
    assert {pair.other: pair.verdict for pair in tie.pairs}["slow"] == "dearer"


def test_noise_is_no_decision_and_says_how_much_more() -> None:
    made = choose([offer("a", rates(100, 0.2, 5, 1)), offer("b", rates(104, 0.2, 5, 2))], {}, DEMAND, FLEET, WISH)
    assert made.kind == "open"
    more = made.pairs[0].more
    assert more > 1
    assert made.more_minutes == pytest.approx(2 * more * 3.0 / 60)
    assert f"{more} more repetitions" in made.sentence


def test_a_promise_not_yet_told_is_no_decision() -> None:
    unsure = replace(offer("a", rates(200, 0.01, 9, 1)), verdict="inconclusive")
    made = choose([unsure, offer("b", rates(100, 0.01, 9, 2))], {}, DEMAND, FLEET, WISH)
    assert (made.kind, made.named) == ("open", ("a",))


def test_searches_that_gave_intervals_are_compared_by_them() -> None:
    def searched(name: str, rate: float, width: float) -> Offer:
        return Offer(name, "w", Interval(rate, rate * (1 - width), rate * (1 + width)), 0.2, "i", "p", "s",
                     verdict="pass")
    far = choose([searched("a", 100, 0.02), searched("b", 130, 0.02)], {}, DEMAND, FLEET, WISH)
    assert (far.kind, far.named) == ("one", ("b",))
    near = [replace(searched(name, rate, 0.2), searches=number, seconds_each=90.0) for name, rate, number in
            (("a", 100, 1), ("b", 110, 2))]
    unsure = choose(near, {}, DEMAND, FLEET, WISH)
    assert unsure.kind == "open"
    assert unsure.more_minutes == pytest.approx((4 + 3) * 1.5)
    assert "another --seed, until each has 5 searches, about 10.5 minutes" in unsure.sentence
    endless = Offer("c", "w", Interval(100, 98, math.inf), 0.2, "i", "p", "s", verdict="pass")
    assert choose([endless, searched("b", 300, 0.02)], {}, DEMAND, FLEET, WISH).named == ("b",)


def test_a_small_demand_makes_all_the_same() -> None:
    little = Curve("d", "", np.full(60, 1.0))
    made = choose([offer("a", rates(100, 0.05, 6, 1)), offer("b", rates(200, 0.05, 6, 2))], {}, little, FLEET,
                  replace(WISH, weights={"latency": 1.0}))
    assert made.kind == "tie"


def test_musts_leave_out_and_weights_order_equals() -> None:
    plain = offer("plain", [100.0] * 6, p99=80, hot_swap="restart: all of it", gpu=False)
    swap = offer("swap", [100.0] * 6, p99=40, hot_swap="replica by replica", gpu=False, moving_parts="3")
    assert choose([plain, swap], {}, DEMAND, FLEET, replace(WISH, musts={"hot_swap": True})).named == ("swap",)
    assert choose([plain, swap], {}, DEMAND, FLEET, replace(WISH, weights={"latency": 1})).named == ("swap", "plain")
    assert choose([plain, swap], {}, DEMAND, FLEET,
                  replace(WISH, weights={"moving_parts": 1})).named == ("plain", "swap")
    none = choose([plain], {"x": "fail"}, DEMAND, FLEET, replace(WISH, musts={"tracing": True}))
    assert none.kind == "none"
    assert "it does not tell" in none.without["plain"]


def test_facts_in_words_are_yes_unless_they_begin_with_no() -> None:
    facts: dict[str, bool | str] = {"a": "none built in", "b": "Prometheus", "c": False, "d": "restart: slow", "e": ""}
    assert [has(facts, name) for name in "abcdef"] == [False, True, False, False, None, None]
    assert unmet(offer("x", [1.0, 1.1], gpu=True), {"gpu": False}).startswith("gpu must be no")
    assert score(offer("x", [1.0, 1.1], p99=25, b="yes"), {"latency": 3, "b": 1}, 100) == pytest.approx(0.8125)


YES = {
    "batching": "bentoml litserve mlserver ray-serve redis-batching torchserve triton triton-container zmq-batching",
    "hot_swap": "mlserver ray-serve redis-batching replicas triton triton-container zmq-batching",
    "metrics": "bentoml gateway mlserver ray-serve redis-batching replicas torchserve triton triton-container "
               "zmq-batching",
    "tracing": "bentoml gateway mlserver remote replicas triton triton-container",
    "canary": "replicas",
    "versions": "bentoml mlserver ray-serve replicas torchserve triton triton-container",
    "retries": "gateway redis-batching zmq-batching",
}
UNSAID = {
    "batching": "gateway remote", "hot_swap": "gateway remote", "versions": "gateway remote",
    "canary": "bentoml fastapi flask granian litserve mlserver ray-serve redis-batching torchserve triton "
              "triton-container zmq-batching",
}


@pytest.mark.parametrize("fact", YES)
def test_what_the_setups_tell_of_themselves_is_read_as_it_is_meant(fact: str) -> None:
    catalog = Catalog(Path(__file__).resolve().parents[2])
    told = {name: has(setup.mlops, fact) for name in catalog.setup_names()
            if fact in (setup := catalog.setup(name)).mlops}
    assert " ".join(name for name, said in told.items() if said) == YES[fact]
    assert " ".join(name for name, said in told.items() if said is None) == UNSAID.get(fact, "")


@pytest.mark.parametrize(("told", "meant"), [
    ("restart of workers one by one; the app server keeps the requests", True), ("restart; a new bento", False),
    ("restart", False), ("off by default; within the same budget", False), ("OpenTelemetry built in, off", False),
    ("by name (model API, off here)", False), ("one; a second is a second deployment", False), ("the engine's", None),
    ("one process; several behind a balancer", True), ("in the proxy in front, or in BentoCloud", None),
    ("no", False), ("notes by mail", True),
])
def test_words_of_older_records_are_read_alike(told: str, meant: bool | None) -> None:
    assert has({"x": told}, "x") == meant


def test_a_must_that_no_setup_tells_of_gets_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"--must hot_swop: .* did you mean 'hot_swap'"):
        check_known("--must", ["gpu", "hot_swop"], ["gpu", "hot_swap"])


@given(st.integers(3, 200), st.floats(1e-4, 0.2))
def test_the_critical_value_is_where_the_likelihood_ratio_is_one_over_the_error(n: int, error: float) -> None:
    t = critical(n, error)
    if math.isinf(t):
        return
    weight, u = 1 + 4.0 * n, t * t / (n - 1)
    ratio = weight**-0.5 * ((1 + u) / (1 + u / weight)) ** (n / 2)
    assert ratio == pytest.approx(1 / error, rel=1e-6)


def test_an_interval_covers_at_every_look_at_once() -> None:
    """5 % of 400 sequences may ever be missed in up to 40 looks; a t-interval at each look misses some 20 %."""
    rng, missed = np.random.default_rng(7), 0
    for _ in range(400):
        logs = rng.standard_normal(40) * 0.05
        missed += any(not ratio_ever(logs[:n], 0.05).low <= 1 <= ratio_ever(logs[:n], 0.05).high for n in range(3, 41))
    assert missed / 400 <= 0.05


def test_more_repetitions_than_asked_for_settle_it() -> None:
    logs = np.random.default_rng(5).standard_normal(200) * 0.05 + 0.1
    more = more_repetitions(logs[:5], 0.05, 0.05)
    assert ratio_ever(logs[: 5 + 2 * more], 0.05).low > 1
    assert more_repetitions(logs[:1], 0.05, 0.05) == 2


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    offers = [offer("cheap", [100.0] * 4, p99=90), offer("fast", [50.0] * 4, p99=30), offer("bad", [40.0] * 4, p99=60)]
    bills = [bill(each, DEMAND, FLEET) for each in offers]
    assert [each.offer.setup for each in front(bills)] == ["cheap", "fast"]


def latency(place: str, rate: float, p99: float, verdict: Verdict = "pass") -> Latency:
    return Latency(place, rate, Interval(p99, p99, p99), verdict)


def test_p99_is_compared_at_the_highest_load_that_all_kept() -> None:
    a, b = (offer(name, [100.0] * 4) for name in "ab")
    a = replace(a, latencies=(latency("low", 100, 20), latency("high", 200, 60)))
    b = replace(b, latencies=(latency("low", 100, 30),))
    broke = replace(b, latencies=(*b.latencies, latency("high", 200, 900, "fail")))
    unseen = offer("c", [100.0] * 4)
    for group in ([a, b], [a, broke], [a, b, unseen]):
        made = {each.setup: each for each in at_one_load(group)}
        assert [(made[name].p99_ms.value, made[name].p99_at, made[name].p99_place) for name in "ab"] == [
            (20, 100, "low"), (30, 100, "low")]
        assert "c" not in made or math.isnan(made["c"].p99_ms.value)
    apart = at_one_load([replace(a, latencies=a.latencies[1:]), b])
    assert all(math.isnan(each.p99_ms.value) for each in apart)
    alone = choose([a], {}, DEMAND, FLEET, WISH).bills[0].offer
    assert alone.p99_ms.value == 60


def test_a_choice_between_estimates_says_so_and_one_of_searches_does_not() -> None:
    for source, said in ((ESTIMATED, True), (SEARCHED, False)):
        made = choose([replace(offer(name, rates(mean, 0.01, 12, seed)), source=source) for name, mean, seed in
                       (("a", 120, 1), ("b", 100, 2))], {}, DEMAND, FLEET, WISH)
        assert made.kind == "one"
        assert ("between estimates: a and b were not searched" in made.sentence) == said


def test_a_grid_tells_what_would_change_the_choice() -> None:
    offers = (offer("a", rates(120, 0.01, 12, 1)), offer("b", rates(100, 0.01, 12, 2)))
    choice = choose(offers, {}, DEMAND, FLEET, WISH)
    cases = stability(choice, lambda slo: Offered(offers if slo["p(99)"] != "< 50ms" else offers[1:], {}, {}), DEMAND,
                      FLEET, WISH)
    assert len(cases) == 27
    kept = [case for case in cases if case.kind == "one" and case.named == ("a",)]
    assert {case.price for case in kept} == {0.7, 1.0}
    assert {case.promise for case in kept} == {1.0, 2.0}
    assert held(cases, choice) == pytest.approx(12 / 27)
    assert scaled({"p(99)": "< 100ms", "errors": "< 1%"}, 0.5) == {"p(99)": "< 50ms", "errors": "< 1%"}


def test_a_grid_asks_a_twin_where_a_searched_capacity_was_not_searched_for() -> None:
    """Half the promise leaves a, the favourite, two fifths of what it carries and b all: b is chosen there."""
    offers = tuple(replace(offer(name, rates(mean, 0.01, 12, seed)), source=SEARCHED) for name, mean, seed in
                   (("a", 120, 1), ("b", 100, 2)))
    choice = choose(offers, {}, DEMAND, FLEET, WISH)

    def grid(halved: float | None) -> dict[float, set[tuple[str, ...]]]:
        made = stability(choice, lambda slo: Offered(offers if slo == WISH.slo else (), {}, {}), DEMAND, FLEET, WISH,
                         lambda name, slo: (halved if name == "a" else 1.0) if slo["p(99)"] == "< 50ms" else 1.0)
        assert [case.predicted for case in made] == [case.known and case.promise != 1 for case in made]
        return {promise: {case.named for case in made if case.known and (case.promise, case.price) == (promise, 1)}
                for promise in (0.5, 1.0, 2.0)}

    assert grid(0.4) == {0.5: {("b",)}, 1.0: {("a",)}, 2.0: {("a",)}}
    assert grid(0.0) == {0.5: {("b",)}, 1.0: {("a",)}, 2.0: {("a",)}}
    assert grid(None) == {0.5: set(), 1.0: {("a",)}, 2.0: {("a",)}}


@pytest.mark.parametrize("text", ["gpu", "gpu=maybe"])
def test_what_is_no_must_gets_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="--must"):
        parse_musts(text)


@pytest.mark.parametrize("text", ["latency", "latency=much", "latency=0", "latency=nan"])
def test_what_is_no_weight_gets_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="--weights"):
        parse_weights(text)
