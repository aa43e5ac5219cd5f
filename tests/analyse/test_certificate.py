"""The certificate against servers whose truth is known, and its evidence against the definitions, batch by batch."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analyse.certificate import (
    certificate,
    certify,
    certify_errors,
    error_certifier,
    known,
    latency_certifier,
    watched,
)
from harness.analyse.looking import together
from harness.analyse.quantiles import needed_samples
from harness.analyse.sequential import (
    LEVELS,
    PASS_PRIOR,
    PASS_STAKES,
    TOLERATED,
    correlations,
    extended,
    no_evidence,
    pooled_correlations,
    stakes,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import queues  # the simulated servers are the benchmark's

pytestmark = pytest.mark.simulated
MS = 1e6


def poisson_due(n, rate=500.0, seed=0):
    return np.cumsum(np.random.default_rng(seed).exponential(1e9 / rate, n)).astype(np.int64)


def queue_ms(utilisation, requests, seed, server="M/M/1"):
    stream = queues.STREAMS[server](utilisation, 1, np.random.default_rng(seed))
    return np.concatenate([next(stream)[0] for _ in range(-(-requests // queues.CHUNK))])[:requests] * 1000


def p99_ms(utilisation, server="M/M/1"):
    return queues.true_quantiles(server, utilisation, (0.99,))[0] * 1000


def test_runs_pooled_correlate_as_one_does_but_for_what_few_batches_hide():
    rng = np.random.default_rng(4)
    signals = np.stack([rng.random(999) < 0.05, np.cumsum(rng.random(999)) % 1])
    alone = correlations(extended(no_evidence(0.01), signals[0][None] > 0, signals[1][None]))[:, :, 0]
    for level, (found, counts) in enumerate(pooled_correlations([signals, signals, np.zeros((2, 0))])):
        n = 999 >> level
        assert counts.tolist() == [n, n, 0]
        assert found == pytest.approx(np.where(alone[level] == 0, 0, alone[level] + 1 / n), abs=1e-9)


def test_evidence_is_the_product_of_bets_on_batches_of_every_length():
    rng = np.random.default_rng(3)
    over, companion = rng.random((2, 999)) < 0.05, rng.random((2, 999))
    evidence = extended(no_evidence(0.01, 2), over, companion)
    for level in range(9):
        batches = 999 >> level
        shares = over[:, : batches << level].reshape(2, batches, -1).mean(axis=2)
        bets = stakes(0.01)[:, None, None]
        assert np.allclose(evidence.capital[level], np.log(1 + bets * (0.01 - shares)).sum(axis=2))
        means = companion[:, : batches << level].reshape(2, batches, -1).mean(axis=2)
        for run in range(2):
            centred = means[run] - means[run].mean()
            expected = (centred[1:] * centred[:-1]).sum() / (centred * centred).sum()
            assert correlations(evidence)[level, 1, run] == pytest.approx(expected, abs=1e-9)
    assert not evidence.capital[10:].any()
    assert evidence.capital.shape == (LEVELS, 5, 2)


@pytest.mark.parametrize("allowed", [0.5, 0.01, 0.0001])
def test_no_batch_ruins_a_bet_and_each_bet_is_fair_at_the_edge(allowed):
    factors = 1 + stakes(allowed)[:, None] * (allowed - np.array([0.0, 1.0]))
    assert (factors > 0).all()
    assert np.allclose(factors @ [1 - allowed, allowed], 1)
    assert np.isclose(factors[:, 1].max(), 1 + (1 - allowed) / (4 * allowed))


def test_what_correlation_is_left_weakens_the_evidence():
    latency, due = queue_ms(0.7, 30_000, 9), poisson_due(30_000)
    limit = 1.2 * p99_ms(0.7)
    seen = certify(latency * MS, due, 0.99, limit * MS)
    means = (np.minimum(latency / limit, 1) ** 3)[: seen.batches * seen.batch_length]
    means = means.reshape(seen.batches, -1).mean(axis=1)
    centred = means - means.mean()
    left = (centred[1:] @ centred[:-1]) / (centred @ centred) + seen.batches ** -0.5
    shares = (latency > limit)[: seen.batches * seen.batch_length].reshape(seen.batches, -1).mean(axis=1)
    capital = sum(
        prior * np.prod(1 + stake * (0.01 - shares))
        for prior, stake in zip(PASS_PRIOR, PASS_STAKES, strict=True))
    assert 0 < left < TOLERATED
    assert seen.log_e_pass == pytest.approx(math.log(capital) * (1 - left) / (1 + left))


@given(cuts=st.lists(st.integers(0, 2000), max_size=6))
@settings(max_examples=25, deadline=None)
def test_looking_often_sees_what_looking_once_sees(cuts):
    latency, due = queue_ms(0.6, 2000, 5) * MS, poisson_due(2000)
    once = certify(latency, due, 0.95, 12 * MS)
    certifier = latency_certifier(0.95, 12 * MS)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 2000], strict=True):
        certifier = watched(certifier, latency[begin:end], due[begin:end])
    often = certificate(certifier)
    assert (often.verdict, often.batch_length, often.reason) == (once.verdict, once.batch_length, once.reason)
    assert often.log_e_pass == pytest.approx(once.log_e_pass)
    assert often.log_e_fail == pytest.approx(once.log_e_fail)


@pytest.mark.parametrize("server", list(queues.STREAMS))
def test_a_promise_kept_with_a_margin_passes_and_one_broken_two_fold_fails(server):
    p99, p98 = (1000 * quantile for quantile in queues.true_quantiles(server, 0.6, (0.99, 0.98), chunks=70, runs=100))
    latency, due = queue_ms(0.6, 100_000, 11, server), poisson_due(100_000)
    assert certify(latency * MS, due, 0.99, 1.2 * p99 * MS).verdict == "pass"
    assert certify(latency * MS, due, 0.99, p98 * MS).verdict == "fail"
    assert certify(latency * MS, due, 0.99, p99 / 2 * MS).verdict == "fail"


def test_no_false_pass_in_a_busy_queue_looked_at_every_second_where_requests_taken_as_independent_pass():
    runs, limit = 100, queues.true_quantiles("M/M/1", 0.8, (0.98,))[0]
    stream = queues.STREAMS["M/M/1"](0.8, runs, np.random.default_rng(8))
    latency = np.concatenate([next(stream) for _ in range(20)], axis=1)
    passes, floor_passes = 0, 0
    for run in latency:
        certifier = latency_certifier(0.99, limit * 1e9)
        for begin in range(0, run.size, 512):
            certifier = watched(certifier, run[begin : begin + 512] * 1e9, np.arange(begin, begin + 512) * 2_000_000)
            passes += certificate(certifier).verdict == "pass"
        floor_passes += np.count_nonzero(run[:662] > limit) <= 1
    assert passes == 0
    assert floor_passes > runs / 4


def test_independent_requests_without_one_over_the_limit_pass_as_soon_as_the_fewest_that_could_tell_are_in():
    latency = np.random.default_rng(1).uniform(1, 5, 3000) * MS
    due = poisson_due(3000)
    verdicts = [certify(latency[:n], due[:n], 0.99, 10 * MS).verdict for n in range(50, 3000, 50)]
    first = 50 + 50 * verdicts.index("pass")
    assert needed_samples(0.99) <= first <= 1000
    assert set(verdicts[verdicts.index("pass"):]) == {"pass"}
    assert set(verdicts[: verdicts.index("pass")]) == {"inconclusive"}


def test_a_longer_memory_makes_longer_batches_and_fewer_effective_requests():
    due = poisson_due(60_000)
    light, busy = (certify(queue_ms(load, 60_000, 2) * MS, due, 0.99, p99_ms(load) * MS) for load in (0.5, 0.8))
    assert busy.batch_length >= 4 * light.batch_length
    assert busy.effective_n < light.effective_n / 3


def test_a_queue_that_only_grows_gets_no_pass_however_high_the_limit():
    latency = np.linspace(1, 90, 60_000) * MS
    seen = certify(latency, poisson_due(60_000), 0.99, 100 * MS)
    assert seen.verdict == "inconclusive"
    assert seen.batches == 0
    assert "drifts or a queue grows" in seen.reason


def test_foretells_how_long_it_takes():
    latency, due = queue_ms(0.6, 100_000, 4) * MS, poisson_due(100_000)
    early = certify(latency[:10_000], due[:10_000], 0.99, 1.3 * p99_ms(0.6) * MS)
    assert early.verdict == "inconclusive"
    assert f"about {math.ceil(early.more_s):,} more seconds" in together([early])[1]
    whole = int(10_000 + 3 * early.more_s * 500)
    assert certify(latency[:whole], due[:whole], 0.99, 1.3 * p99_ms(0.6) * MS).verdict == "pass"
    just_at_the_limit = certify(latency, due, 0.99, float(np.quantile(latency, 0.99)))
    assert just_at_the_limit.verdict == "inconclusive"


def test_failed_requests_count_as_over_any_limit_and_alone_break_a_promise_on_errors():
    rng = np.random.default_rng(6)
    latency, due = rng.uniform(1, 5, 20_000) * MS, poisson_due(20_000)
    assert certify_errors(latency, due, 0.001, 10 * MS).verdict == "pass"
    latency[rng.random(20_000) < 0.02] = math.inf
    assert certify(latency, due, 0.99, 1e6 * MS).verdict == "fail"
    errors = certify_errors(latency, due, 0.01, 10 * MS)
    assert errors.verdict == "fail"
    assert "failed, where 0.01 may" in errors.reason
    assert certify_errors(latency, due, 0.05, 10 * MS).verdict == "pass"


def test_failures_that_come_in_bursts_are_not_taken_for_independent_ones():
    rng = np.random.default_rng(6)
    latency = rng.uniform(1, 5, 20_000) * MS
    burst = np.repeat(rng.random(200) < 0.02, 100)
    latency[burst] = math.inf
    seen = certify_errors(latency, poisson_due(20_000), 0.002, 10 * MS)
    assert seen.batch_length >= 64
    assert seen.effective_n < 400


def test_requests_still_on_their_way_cut_the_view_and_the_late_ones_count_as_failed():
    latency = np.array([1.0, math.nan, 2.0, math.nan, 3.0])
    due = np.array([0, 10, 20, 30, 40], dtype=np.int64)
    assert known(latency, due, 100, 80).tolist() == [1.0, math.inf, 2.0]
    assert known(latency, due, 1000, 80).tolist() == [1.0, math.inf, 2.0, math.inf, 3.0]
    with pytest.raises(ValueError, match=r"use known\(\)"):
        watched(latency_certifier(0.9, 5.0), latency, due)


def test_refuses_what_cannot_be_judged():
    with pytest.raises(ValueError, match="in order of due time"):
        certify(np.array([1.0, 2.0]), np.array([5, 4], dtype=np.int64), 0.9, 5.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        latency_certifier(1.0, 5.0)
    with pytest.raises(ValueError, match="positive"):
        latency_certifier(0.9, math.inf)
    with pytest.raises(ValueError, match="positive"):
        error_certifier(0.1, 0.0)
    nothing = certificate(latency_certifier(0.9, 5.0))
    assert (nothing.verdict, nothing.reason) == ("inconclusive", "no request is in yet")


def test_simulated_servers_agree_with_closed_forms():
    late = {}
    for server in ("M/M/1", "M/D/1"):
        stream = queues.STREAMS[server](0.7, 400, np.random.default_rng(1))
        late[server] = np.concatenate([next(stream) for _ in range(60)][20:], axis=1)
    assert np.mean(late["M/M/1"] * 1000 > p99_ms(0.7)) == pytest.approx(0.01, rel=0.05)
    service = 0.7 / queues.RATE
    assert late["M/D/1"].mean() == pytest.approx(service * (1 + 0.7 / (2 * 0.3)), rel=0.02)  # Pollaczek and Khinchine


@pytest.mark.parametrize("server", list(queues.STREAMS))
def test_a_stream_goes_on_with_the_rows_asked_for(server):
    whole = queues.STREAMS[server](0.7, 6, np.random.default_rng(4))
    first = next(whole)
    rest = whole.send(np.array([1, 4]))
    assert first.shape == (6, queues.CHUNK)
    assert rest.shape == (2, queues.CHUNK)
    assert (rest > 0).all()
