"""Evidence about the share of requests over a limit: grows with the run, may be looked at after every request.

The bet. A batch of requests exceeds the limit in a share X of them. Whoever doubts the hypothesis "X is `allowed` or
more on average" multiplies a capital of 1 by 1 + λ(allowed − X) at each batch; if the hypothesis is true the capital
is a supermartingale, and by Ville's inequality it reaches 1/α, ever, with probability α at most. This is the betting
martingale of Waudby-Smith & Ramdas (2024, "Estimating means of bounded random variables by betting", JRSS B 86) with
Robbins's mixture (1970, Ann. Math. Statist. 41) over a few stakes λ instead of a tuned one; see also Howard, Ramdas,
McAuliffe & Sekhon (2021, Ann. Statist. 49). The opposite hypothesis is doubted with 1 + λ(X − allowed).

The batch. Requests in a queue are not independent, long batches nearly are: that is the method of batch means (Chen
& Kelton 2007, IIE Trans. 39; ASAP3, Steiger et al. 2005, ACM TOMACS 15; N-Skart, Tafazzoli et al. 2011). All batch
lengths 1, 2, 4, … are kept at once, as in the blocking of Flyvbjerg & Petersen (1989, J. Chem. Phys. 91), and a look
uses the shortest whose neighbouring batches correlate by less than `TOLERATED`, in the exceedances and in a
companion, a bounded function of the latency that has something to say before the first exceedance.

What is left. Where neighbours correlate by r, and theirs by r², …, sums of batches vary f = (1 + r)/(1 − r) times as
much as independent ones would. A Brownian walk with drift −σ²/2 and variance fσ² ever reaches a with probability
e^(−a/f) instead of e^(−a), so the log of the capital is divided by f. That is an approximation, and the choice of the
batch length looks at the same data: how well both hold is measured, not proved (`benchmarks/certificate.py`).

Every array carries a last axis of runs, so that a simulation of thousands runs the code that judges one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = 24
TOLERATED = 0.4
MIN_BATCHES = 32
CHECKED_BATCHES = 64
PASS_STAKES = (0.85, 0.25)
PASS_PRIOR = (0.9, 0.1)
FAIL_STAKES = (1 / 64, 1 / 16, 1 / 4)
FAIL_PRIOR = (1 / 3, 1 / 3, 1 / 3)
NONE = -1


@dataclass(frozen=True)
class Evidence:
    """What is remembered of `count` requests, for batches of 2^level requests.

    `first`, `last`, `total`, `squares`, `products` are float64[LEVELS, 2, runs]: of the batches' means, in the
    exceedances and in the companion, the first and last, their sum, the sum of squares and of products of neighbours.
    `capital` is the natural log of each stake's, float64[LEVELS, stakes, runs], the pass stakes first.
    """

    allowed: float
    count: int
    first: Floats
    last: Floats
    total: Floats
    squares: Floats
    products: Floats
    capital: Floats


@dataclass(frozen=True)
class Look:
    """What the evidence says now, one entry per run.

    `level` is NONE where no batch length is long enough yet; then `batches` is 0 and both logs are −inf. `excess` is f.
    `log_pass` and `log_fail` are the natural logs of the evidence, divided by f: a hypothesis falls at ln(1/α).
    """

    level: NDArray[np.int64]
    batches: NDArray[np.int64]
    excess: Floats
    log_pass: Floats
    log_fail: Floats


def no_evidence(allowed: float, runs: int = 1) -> Evidence:
    """The state before the first request; `allowed` is the share that may exceed, strictly between 0 and 1."""
    if not 0 < allowed < 1:
        raise ValueError(f"a promise must allow a share between 0 and 1 of requests to exceed, not {allowed}")
    first, last, total, squares, products = np.zeros((5, LEVELS, 2, runs))
    capital = np.zeros((LEVELS, len(PASS_STAKES) + len(FAIL_STAKES), runs))
    return Evidence(allowed, 0, first, last, total, squares, products, capital)


def stakes(allowed: float) -> Floats:
    """λ of every bet; of those for a fail negative and in units of 1/allowed, so that no batch can ruin a bet."""
    return np.concatenate([np.array(PASS_STAKES), -np.array(FAIL_STAKES) / allowed])


def extended(evidence: Evidence, exceeds: NDArray[np.bool_], companion: Floats) -> Evidence:
    """The evidence with the next requests, in order of due time; both arrays are [runs, requests], the companion in
    [0, 1]. Takes O(requests), whatever came before."""
    runs, new = exceeds.shape
    state = [part.copy() for part in (
        evidence.first, evidence.last, evidence.total, evidence.squares, evidence.products, evidence.capital)]
    first, last, total, squares, products, capital = state
    batches = np.empty((2, runs, new))
    batches[0], batches[1] = exceeds, companion
    for level in range(LEVELS):
        if not batches.shape[2]:
            break
        seen = evidence.count >> level
        before = last[level].copy()
        if not seen:
            first[level] = batches[:, :, 0]
        total[level] += batches.sum(axis=2)
        squares[level] += np.einsum("srb,srb->sr", batches, batches)
        products[level] += np.einsum("srb,srb->sr", batches[:, :, 1:], batches[:, :, :-1]) + before * batches[:, :, 0]
        last[level] = batches[:, :, -1]
        capital[level] += gains(batches[0], evidence.allowed)
        batches = paired(batches, before if seen % 2 else None)
    return Evidence(evidence.allowed, evidence.count + new, *state)


def gains(shares: Floats, allowed: float) -> Floats:
    """By how much the log of each bet's capital grows over batches of these shares [runs, batches]: [stakes, runs].

    Batches without exceedance all pay the same, so only the others are visited.
    """
    bets = stakes(allowed)[:, None]
    run, batch = np.nonzero(shares)
    quiet = np.log1p(bets * allowed)
    loud = np.log1p(bets * (allowed - shares[run, batch])) - quiet
    corrections = np.stack([np.bincount(run, bet, shares.shape[0]) for bet in loud])
    return np.asarray(shares.shape[1] * quiet + corrections)


def paired(batches: Floats, before: Floats | None) -> Floats:
    """Batches twice as long, means of neighbours; `before` is the one left over from the last call; an odd one waits.
    """
    if before is not None:
        batches = np.concatenate([before[:, :, None], batches], axis=2)
    even = batches.shape[2] // 2 * 2
    return (batches[:, :, 0:even:2] + batches[:, :, 1:even:2]) / 2


def correlations(evidence: Evidence) -> Floats:
    """Correlation of neighbouring batches, float64[LEVELS, 2, runs]; 0 where batches do not vary."""
    count = np.maximum(evidence.count >> np.arange(LEVELS), 1).astype(np.float64)[:, None, None]
    mean = evidence.total / count
    variance = evidence.squares / count - mean * mean
    ends = 2 * evidence.total - evidence.first - evidence.last
    covariance = (evidence.products - mean * ends + (count - 1) * mean * mean) / count
    varies = variance > 1e-9 * mean * mean
    return np.where(varies, covariance / np.where(varies, variance, 1.0), 0.0)


def look(evidence: Evidence) -> Look:
    """What the evidence says now, at the shortest batch length that is long enough: at least MIN_BATCHES; correlation
    within TOLERATED, of the companion with its standard error; and no longer batch, of which there are CHECKED_BATCHES,
    that correlates by more than that significantly (two standard errors).

    f comes from the companion's correlation, a standard error up; the exceedances, too few to be trusted with it, count
    where they say significantly more.
    """
    count = evidence.count >> np.arange(LEVELS)
    level, excess = remembered(correlations(evidence), count)
    found, runs = level != NONE, np.arange(len(level))
    capital = evidence.capital[level, :, runs].T
    split = len(PASS_STAKES)
    return Look(
        level,
        np.where(found, count[level], 0),
        excess,
        np.where(found, mixed(capital[:split], PASS_PRIOR) / excess, -math.inf),
        np.where(found, mixed(capital[split:], FAIL_PRIOR) / excess, -math.inf),
    )


def remembered(correlated: Floats, count: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """The level of the batches to use (NONE where none is long enough) and the excess f of their sums' variance, each
    [runs], from `correlations` and the number of batches at each level: the rule of `look`."""
    error = 1 / np.sqrt(np.maximum(count, 1))[:, None]
    exceedances, companion = np.moveaxis(correlated, 1, 0)
    near = (companion + error <= TOLERATED) & (exceedances <= TOLERATED) & (count >= MIN_BATCHES)[:, None]
    tied = (np.maximum(companion, exceedances) - 2 * error > TOLERATED) & (count >= CHECKED_BATCHES)[:, None]
    good = near & ~np.logical_or.accumulate(tied[::-1], axis=0)[::-1]
    level = good.argmax(axis=0)
    left = np.maximum(companion + error, exceedances - 2 * error)[level, np.arange(len(level))]
    left = np.clip(left, 0.0, TOLERATED)
    return np.where(good.any(axis=0), level, NONE), (1 + left) / (1 - left)


def pooled_correlations(runs: Sequence[Floats]) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """For batches of 1, 2, 4, … requests: the correlation of neighbouring batches' means within several runs' series
    [signals, requests], of each signal (0 where it does not vary), and how many batches each run holds; as long as any
    holds one, of at most LEVELS lengths.

    Each run is taken about its own mean, so that runs may differ; what a mean of few batches hides of their
    correlation, 1/batches for independent ones (Kendall 1954, Biometrika 41), is added again.
    """
    for _ in range(LEVELS):
        counts = np.array([run.shape[1] for run in runs], dtype=np.int64)
        if not counts.any():
            return
        variance, covariance, level = np.zeros((3, len(runs[0])))
        for run, n in zip(runs, counts, strict=True):
            if n:
                mean = run.sum(axis=1) / n
                variance += np.einsum("sb,sb->s", run, run) - n * mean**2
                covariance += np.einsum("sb,sb->s", run[:, 1:], run[:, :-1])
                covariance += (n - 1) * mean**2 - mean * (2 * n * mean - run[:, 0] - run[:, -1])
                level += n * mean**2
        varies = variance > 1e-9 * level
        hidden = np.count_nonzero(counts) / counts.sum()
        yield np.where(varies, covariance / np.where(varies, variance, 1.0) + hidden, 0.0), counts
        runs = [paired(run[:, None], None)[:, 0] for run in runs]


def mixed(logs: Floats, prior: tuple[float, ...]) -> Floats:
    """Log of the capital of a player who spread it over bets by `prior`."""
    return np.asarray(np.logaddexp.reduce(logs + np.log(prior)[:, None], axis=0))
