"""What the batching policy promises, for any model, queue and deadline."""

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SETUPS = Path(__file__).resolve().parents[2] / "setups"
sys.path.insert(0, str(SETUPS))

from batching import policy  # noqa: E402  the path above makes it importable
from batching.costs import SIZES, Costs, Law, mean_law, near  # noqa: E402
from batching.job import FRONT_SHIFT, Answer, Job, pack_answers, pack_jobs, unpack_answers, unpack_jobs  # noqa: E402

seconds = st.floats(1e-6, 1.0)
lengths = st.lists(st.integers(1, 5000), min_size=1, max_size=24)


def line(a: float, b: float, c: float, d: float | None = None) -> policy.Cost:
    """The cost of a batch as overhead, item, length and padding; padding costs what length does unless said."""
    each = c if d is None else d
    return lambda n, mean, longest: a + n * (b + c * mean + each * (longest - mean))


def of(cost: policy.Cost, sizes: list[int]) -> float:
    """What these bodies cost in one batch."""
    return cost(len(sizes), sum(sizes) / len(sizes), max(sizes))


costs = st.builds(line, seconds, seconds, st.floats(0, 1e-3), st.floats(0, 1e-3))


@given(lengths, costs, st.integers(1, 32), st.data())
def test_a_batch_holds_the_oldest_and_breaks_no_deadline(sizes: list[int], cost: policy.Cost, most: int,
                                                         data: st.DataObject) -> None:
    slack = data.draw(st.lists(st.floats(-1, 10), min_size=len(sizes), max_size=len(sizes)))
    batch = policy.pick(sizes, slack, cost, most, 0.05)
    assert batch[0] == 0
    assert batch == sorted(set(batch))
    assert len(batch) <= most
    assert len(batch) == 1 or of(cost, [sizes[i] for i in batch]) <= min(slack[i] for i in batch) * (1 + 1e-9)


@given(lengths, costs, st.integers(1, 32))
def test_a_batch_is_cheaper_than_its_members_alone(sizes: list[int], cost: policy.Cost, most: int) -> None:
    most = policy.best_size(cost, sizes[0], most, 0.05)
    batch = policy.pick(sizes, [math.inf] * len(sizes), cost, most, 0.05)
    together = of(cost, [sizes[i] for i in batch])
    assert together <= sum(cost(1, sizes[i], sizes[i]) for i in batch) * 1.05 + 1e-12


def test_like_lengths_run_together() -> None:
    sizes, slack, cost = [10, 500, 11, 510, 9, 490], [9.0] * 6, line(2e-2, 1e-4, 1e-4)
    assert policy.pick(sizes, slack, cost, 8, 0.05) == [0, 2, 4]
    assert policy.pick(sizes[1:], slack[1:], cost, 8, 0.05) == [0, 2, 4]


def test_where_length_is_nothing_the_next_oldest_run() -> None:
    assert policy.pick([300, 10, 299, 11], [9.0] * 4, line(1e-3, 1e-4, 0.0), 3, 0.05) == [0, 1, 2]


def test_where_padding_is_nothing_the_next_oldest_run() -> None:
    assert policy.pick([300, 10, 299, 11], [9.0] * 4, line(1e-3, 1e-4, 1e-4, 0.0), 3, 0.05) == [0, 1, 2]


@given(seconds, st.integers(1, 64))
def test_a_batch_that_costs_as_much_as_its_items_is_never_built(each: float, limit: int) -> None:
    assert policy.best_size(line(0.0, each, 0.0), 100, limit, 0.05) == 1


@given(seconds, st.integers(2, 64))
def test_a_batch_that_costs_no_more_than_one_item_is_built_as_large_as_it_may(each: float, limit: int) -> None:
    best = policy.best_size(line(each, 0.0, 0.0), 100, limit, 0.01)
    assert best >= 0.99 * limit - 1


@given(costs, st.integers(1, 63), st.floats(0, 0.5))
def test_more_room_never_means_a_smaller_batch(cost: policy.Cost, limit: int, gain: float) -> None:
    assert policy.best_size(cost, 80, limit, gain) <= policy.best_size(cost, 80, limit + 1, gain)


@given(costs, st.integers(1, 64), st.floats(0, 0.25), st.floats(0, 0.25))
def test_asking_for_more_gain_never_means_a_bigger_batch(cost: policy.Cost, limit: int, one: float, two: float) -> None:
    low, high = sorted((one, two))
    each = {gain: cost(n, 80, 80) / n for gain in (low, high) for n in [policy.best_size(cost, 80, limit, gain)]}
    assert each[high] >= each[low] * (1 - low) * 0.999


@given(st.integers(1, 5000), st.integers(1, 16), st.integers(0, 15), st.integers(1, 32), st.integers(0, 32), seconds)
def test_a_share_is_at_least_one_and_fills_what_is_best(queued: int, idle: int, others: int, best: int, more: int,
                                                        batch_s: float) -> None:
    count = policy.share(queued, idle, idle + others, best, best + more, batch_s)
    assert 1 <= count <= best + more
    assert count >= min(best, math.ceil(queued / idle))
    if queued <= best * (idle + others):
        assert count <= best


def test_idle_workers_split_what_takes_long_and_one_takes_all_that_is_short() -> None:
    assert policy.share(6, 3, 3, 8, 16, 0.02) == 2
    assert policy.share(6, 3, 3, 8, 16, 0.0001) == 8


def test_a_long_queue_fills_batches() -> None:
    assert [policy.share(queued, 1, 3, 4, 16, 0.02) for queued in (4, 12, 24, 60)] == [4, 4, 8, 16]


@given(st.integers(2, 32), st.booleans(), st.floats(0, 1), st.floats(0, 1e5), seconds, seconds)
def test_a_lone_request_never_waits(best: int, others_idle: bool, busy: float, rate: float, one_s: float,
                                    grown_s: float) -> None:
    assert policy.wait_s(1, best, others_idle, busy, rate, one_s, grown_s, 0.01) == 0


@given(st.integers(2, 32), st.integers(2, 32), st.floats(0, 1), st.floats(0, 1e5), seconds, seconds)
def test_a_wait_is_bounded_and_only_where_it_pays_and_nobody_idles(taken: int, best: int, busy: float, rate: float,
                                                                   one_s: float, grown_s: float) -> None:
    assert policy.wait_s(taken, best, True, busy, rate, one_s, grown_s, 0.01) == 0
    wait = policy.wait_s(taken, best, False, busy, rate, one_s, grown_s, 0.01)
    assert 0 <= wait <= 0.01
    if wait:
        assert taken < best
        assert (one_s - grown_s) * busy > wait * taken * 0.999


def test_a_wait_happens_where_company_is_near_and_saves_much() -> None:
    assert policy.wait_s(2, 8, False, 0.9, 2000, 0.004, 0.0025, 0.002) == pytest.approx(0.0005)


@pytest.mark.parametrize(("seconds", "cores", "expected"), [(1e-3, 3, 6), (1e-2, 3, 3), (1e-3, 1, 3)])
def test_batches_wait_at_the_broker_where_a_round_trip_would_idle_a_core(seconds: float, cores: int,
                                                                         expected: int) -> None:
    assert policy.ahead(3, seconds, cores) == expected


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.integers(1, 64))
def test_a_dearer_model_never_needs_more_fronts(one: float, two: float, cores: int) -> None:
    cheap, dear = sorted((one, two))
    assert 1 <= policy.fronts_for(dear, cores) <= policy.fronts_for(cheap, cores) <= cores


def primed(true: policy.Cost) -> Costs:
    learned = Costs()
    learned.prime([(n, mean, longest, true(n, mean, longest)) for n in (1, 2, 4, 8)
                   for mean, longest in ((20.0, 20), (100.0, 100), (50.0, 90))])
    return learned


@given(st.floats(1e-5, 1e-2), st.floats(1e-5, 1e-2), st.floats(1e-8, 1e-5), st.floats(0, 1e-5))
def test_costs_predict_sizes_never_measured(a: float, b: float, c: float, d: float) -> None:
    true = line(a, b, c, d)
    learned = primed(true)
    for n in (1, 3, 5, 8, 16, 32):
        for mean, longest in ((10, 10), (60, 80), (300, 900)):
            assert learned.predict(n, mean, longest) == pytest.approx(true(n, mean, longest), rel=0.02)
            assert learned.law(1.0).predict(n, mean, longest) == pytest.approx(learned.predict(n, mean, longest))


def test_replicas_that_learned_apart_agree_on_the_mean() -> None:
    one, two = Law((1.0, 2.0, 3.0, 0.0), (1.0, 2.0)), Law((3.0, 2.0, 1.0, 4.0), (3.0, 4.0))
    assert mean_law([one, two]) == Law((2.0, 2.0, 2.0, 2.0), (2.0, 3.0))


@settings(deadline=None, max_examples=15)    # the first example pays for what is loaded, each for 2 000 steps
@given(st.floats(0.5, 2.0))
def test_costs_follow_a_machine_that_changes(drift: float) -> None:
    true = line(1e-3, 1e-3, 1e-5)
    learned = primed(true)
    for step in range(2000):
        n, size = (1, 4, 8)[step % 3], (20, 100)[step % 2]
        learned.observe(n, size, size, drift * true(n, size, size))
    assert learned.predict(8, 60, 60) == pytest.approx(drift * true(8, 60, 60), rel=0.05)


def test_one_long_pause_does_not_change_what_is_learned() -> None:
    true = line(1e-3, 1e-3, 1e-5)
    learned = primed(true)
    learned.observe(4, 60, 60, 100 * true(4, 60, 60))
    assert learned.predict(4, 60, 60) == pytest.approx(true(4, 60, 60), rel=0.06)


@given(st.integers(0, 2000), st.integers(1, 16), st.integers(1, 32), seconds)
def test_a_longer_queue_never_promises_an_earlier_answer(queued: int, workers: int, best: int, batch_s: float) -> None:
    now = policy.expected_s(queued, workers, best, batch_s)
    assert now <= policy.expected_s(queued + 1, workers, best, batch_s)
    assert now == 0 if queued == 0 else now >= batch_s



@given(st.integers(1, 1000))
def test_the_size_near_is_one_that_is_known(n: int) -> None:
    assert near(n) in SIZES
    assert near(n) <= n


jobs = st.lists(st.builds(Job, st.integers(0, 2**53 - 1), st.integers(0, 2**62), st.integers(0, 2**62),
                          st.integers(1, 2), st.integers(0, 2**32 - 1), st.binary(max_size=200)))
answers = st.lists(st.builds(Answer, st.integers(0, 2**53 - 1), st.integers(200, 599), st.integers(0, 2**32 - 1),
                             st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 1000),
                             st.binary(max_size=200), *[st.integers(0, 2**32 - 1)] * 3))


@given(jobs)
def test_jobs_survive_the_wire(sent: list[Job]) -> None:
    assert unpack_jobs(pack_jobs(sent)) == sent


@given(answers)
def test_answers_survive_the_wire(sent: list[Answer]) -> None:
    assert unpack_answers(pack_answers(sent)) == sent


def test_an_id_knows_its_front_and_fits_a_float() -> None:
    last = (100 << FRONT_SHIFT) + 2**45
    assert Job(last, 0, 0, 1, 0, b"").front == 100
    assert int(float(last)) == last
