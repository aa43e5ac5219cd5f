"""How far off a changed twin is: found from runs with other knobs, and under other arrivals, of a simulated setup."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness.decide.twin import Clients, Floats, Service, Structure, Twin, play, poisson_s
from harness.decide.twin_evidence import DEADLINE, Others, evidence_of
from harness.decide.twin_predict import MOST_ERROR, WINDOWS_S, Fitted, company, learned, predicted
from harness.decide.twin_seen import Seen
from harness.decide.twin_whatif import Change, changed

pytestmark = pytest.mark.simulated

CLIENTS = Clients(timeout_s=30.0)
NOISE = np.random.default_rng(2).lognormal(0, 0.2, (2, 20_000))
NOISE /= NOISE.mean(axis=1, keepdims=True)
CURVE = np.concatenate([[0.0], 0.004 + 0.001 * np.arange(1, 9)])
WAITING = Twin(Structure(workers=2, max_batch=8, wait_s=0.02),
               Service(CURVE, np.ones(3), NOISE, np.full(50, 0.001)), CLIENTS)
SUBJECTS = {"max_wait_ms": "wait_ms", "max_batch": "max_batch", "workers": "workers", "queue": "queue"}
START = {"max_wait_ms": 20.0, "max_batch": 8.0, "workers": 2.0, "queue": 1024.0, DEADLINE: math.inf}
RATES = (60.0, 150.0, 300.0)


def run_of(twin: Twin, due_s: Floats, seed: int) -> Seen:
    n, seen = len(due_s), play(twin, due_s, seed + 50)
    rate = n / float(due_s[-1])
    return Seen(f"run-{rate:g}-{seed}", rate, due_s, seen.latency_s, np.ones(n, dtype=bool), seen.batch, seen.served_s,
                seen.served_s + seen.queue_s, asked=round(rate, -1))


def recorded(twin: Twin, rates: tuple[float, ...] = RATES) -> list[Seen]:
    return [run_of(twin, poisson_s(rate, 4_000, int(rate)), int(rate)) for rate in rates]


def waiting(wait_s: float) -> Twin:
    return replace(WAITING, structure=replace(WAITING.structure, wait_s=wait_s))


@cache
def fit() -> Fitted:
    return learned(recorded(WAITING), Structure(workers=2, max_batch=8, wait_s=0.02), CLIENTS)


def others(wait_ms: float, truly_s: float | None = None, rates: tuple[float, ...] = RATES) -> Others:
    """Runs whose knob says that wait, of a server that truly waits otherwise where told."""
    return Others({"max_wait_ms": wait_ms}, recorded(waiting(wait_ms / 1e3 if truly_s is None else truly_s), rates),
                  CLIENTS)


def test_runs_with_another_knob_tell_how_far_off_the_twin_is_there() -> None:
    found = evidence_of(fit(), START, {"max_wait_ms": 10.0}, [others(5.0)], SUBJECTS, 3)
    assert found.basis == "3 loads run with another max_wait_ms"
    assert fit().error <= found.error < 0.1
    twin, rate, _ = changed(fit().twin, 200.0, Change("wait_ms", 10.0), 3)
    said = predicted(fit(), twin, rate, evidence=found)
    truth = play(waiting(0.01), poisson_s(200.0, 100_000, 9), 9, 0.05).quantile_s(0.99) * 1e3
    assert said.abstains == ""
    assert abs(math.log(said.p99_ms / truth)) < 2 * found.error


def test_a_knob_that_does_not_do_what_it_says_is_found_out() -> None:
    """The server waits as ever, whatever the knob says: loads alone hold out well, and the knob does not."""
    found = evidence_of(fit(), START, {"max_wait_ms": 5.0}, [others(5.0, truly_s=0.02)], SUBJECTS, 3)
    assert fit().error < MOST_ERROR < found.error
    twin, rate, _ = changed(fit().twin, 150.0, Change("wait_ms", 5.0), 3)
    assert "held-out error" in predicted(fit(), twin, rate, evidence=found).abstains


def test_of_fewer_than_three_loads_the_greatest_error_counts() -> None:
    good, bad = others(5.0, rates=(150.0,)), others(10.0, truly_s=0.04, rates=(150.0,))
    alone = evidence_of(fit(), START, {"max_wait_ms": 10.0}, [bad], SUBJECTS, 3)
    assert evidence_of(fit(), START, {"max_wait_ms": 10.0}, [good, bad], SUBJECTS, 3).error == alone.error > MOST_ERROR


@pytest.mark.parametrize(("asked", "said"), [
    ({"max_wait_ms": 500.0}, "max_wait_ms would be 500, and was 5 to 20"),
    ({"max_wait_ms": 1.0}, "max_wait_ms would be 1, and was 5 to 20"),
    ({"max_wait_ms": 10.0, "queue": 64.0}, "queue would be 64, and was 1024"),
    ({"queue": 64.0}, "queue would be 64, and was 1024"),
    ({DEADLINE: 0.1}, "deadline would be 0.1, and was inf")])
def test_what_lies_beyond_all_runs_is_not_known(asked: dict[str, float], said: str) -> None:
    found = evidence_of(fit(), START, asked, [others(5.0)], SUBJECTS, 3)
    assert math.isnan(found.error)
    assert said in found.unlike
    answer = predicted(fit(), fit().twin, 150.0, evidence=found)
    assert said in answer.abstains
    assert math.isfinite(answer.p99_ms)


def test_runs_that_differ_in_more_tell_nothing_of_one_knob() -> None:
    both = replace(others(5.0), values={"max_wait_ms": 5.0, "queue": 64.0})
    assert evidence_of(fit(), START, {"max_wait_ms": 10.0}, [both], SUBJECTS, 3).unlike
    assert not evidence_of(fit(), START, {"max_wait_ms": 10.0, "queue": 64.0}, [both], SUBJECTS, 3).unlike


def test_workers_that_one_machine_has_no_room_for_are_no_evidence_of_machines() -> None:
    many = replace(others(5.0), values={"workers": 8.0})
    assert "carried" in evidence_of(fit(), START, {"workers": 3.0}, [many], SUBJECTS, 4).unlike


def test_settings_as_recorded_have_the_error_over_loads() -> None:
    found = evidence_of(fit(), START, {"max_wait_ms": 20.0, DEADLINE: math.inf}, [], SUBJECTS, 3)
    assert (found.error, found.unlike, found.basis) == (fit().error, "", "")


def test_company_of_a_regular_stream_and_of_bursts() -> None:
    assert WINDOWS_S == (0.01, 0.1, 1.0, 10.0)
    regular = np.arange(3_000) * 0.0101
    assert company(regular, slice(0, None)) == pytest.approx([1, 10, 100, 991])
    bursts = np.repeat(np.arange(400) * 0.3, 20)
    assert company(bursts, slice(0, None)) == pytest.approx([20, 20, 80, 680], rel=0.01)
    short = np.arange(200) * 0.01
    assert company(short, slice(0, None))[3] == pytest.approx(1_000, rel=0.01)


def test_company_of_poisson_arrivals_does_not_grow_with_their_number() -> None:
    """One and a Poisson count of mean 100·τ (PASTA); its 99 % quantile for mean 10 is 18."""
    for n in (5_000, 200_000):
        assert company(poisson_s(100.0, n, 4), slice(0, None))[1] == pytest.approx(19, abs=1)


def bursts(rate: float, n: int = 4_000, size: int = 20) -> Floats:
    return np.repeat(np.arange(1, n // size + 1) * (size / rate), size)


def bursting(rate: float, n: int, seed: int) -> tuple[Floats, float]:
    return bursts(rate, n), 0.0


def test_bursts_are_out_of_range_until_bursts_were_recorded() -> None:
    told = predicted(fit(), fit().twin, 100.0)
    assert told.abstains == ""
    alone = predicted(fit(), fit().twin, 100.0, arrivals=bursting)
    assert math.isnan(alone.error)
    assert "20 requests would come within 0.01 s to each machine" in alone.abstains
    hint = Structure(workers=2, max_batch=8, wait_s=0.02)
    with_bursts = learned([*recorded(WAITING), run_of(WAITING, bursts(120.0), 7)], hint, CLIENTS)
    after = predicted(with_bursts, with_bursts.twin, 100.0, arrivals=bursting)
    assert after.abstains == ""
    truth = play(WAITING, bursts(100.0, 40_000), 9).quantile_s(0.99) * 1e3
    assert after.p99_ms == pytest.approx(truth, rel=0.1)


def test_steady_arrivals_within_the_loads_are_in_range_however_they_are_given() -> None:
    def steady(rate: float, n: int, seed: int) -> tuple[Floats, float]:
        return np.arange(n) / rate, 0.1

    assert predicted(fit(), fit().twin, 200.0, arrivals=steady).abstains == ""
