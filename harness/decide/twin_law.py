"""The service law of a setup, from the batches of its recorded runs and from what its lone requests met."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.decide.twin import Floats, Service, Structure
from harness.decide.twin_seen import ENOUGH, Batches, Seen, batches, lonely
from harness.decide.twin_warm import Warmth, eased, more
from harness.decide.twin_weights import EVEN, Lengths, Weights, weighed

QUICKEST = 0.05  # of requests that all met others: those that waited least
MOST_DRAWS = 20_000
FILLED = 0.9  # of the cores' time
MANY = 100  # requests of one run whose mean may stand for 1


def service_law(runs: Sequence[Seen], hint: Structure, share: float = 0.0) -> Service:
    """The law of the batches, and the way there and back as lone requests of the lightest runs met it. What an item
    costs beside predicting is that `share` of what it can be at most, where no run shows it."""
    workers = hint.workers * hint.replicas
    told = [run for run in runs if run.told]
    if not told:
        return _untold(runs, workers)
    parts = [batches(run, workers) for run in told]
    rates = [run.met for run in told]
    lengths, warm = np.concatenate([run.lengths for run in told]), warmth(runs, hint)
    for _ in range(2):
        paces = [warm.factors(rate)[0] for rate in rates]
        paced = [part._replace(seconds=part.seconds / pace) for part, pace in zip(parts, paces, strict=True)]
        every = Batches(*(np.concatenate(each) for each in zip(*paced, strict=True)))
        curve, stretch, noise, weights = _law(every, hint.max_batch, workers, lengths)
        usual = [float(np.mean(part.seconds / _expected(part, curve, stretch, weights))) for part in parts]
        warm = replace(warm, served=eased(rates, usual))
    beside = lonely_overhead_s(runs, warm, hint)
    gap = _gap_s(told, workers, share, beside)
    gaps = [gap * warm.factors(rate)[0] for rate in rates]
    if shown(told, workers):
        usual_s = float(np.median(beside))
        gaps = [_shown_gap_s(run, part, usual_s * warm.factors(run.met)[1])
                for run, part in zip(told, parts, strict=True)]
        gap = gaps[int(np.argmax(rates))]
    return Service(curve, stretch, noise, np.maximum(beside - gap, 0.0), each_s=gap / float(stretch[-1]),
                   weights=weights, warm=replace(warm, dearer_s=more(rates, gaps)))


def warmth(runs: Sequence[Seen], hint: Structure) -> Warmth:
    """How what lone requests take beside predicting gets shorter with the load of a run."""
    alone = [(run.met, rest_s(run, lonely(run), hint)) for run in runs]
    telling = [(rate, usual) for rate, rest in alone if len(rest) >= ENOUGH and (usual := float(np.median(rest))) > 0]
    return Warmth(beside=eased(*zip(*telling, strict=True))) if telling else Warmth()


def _expected(part: Batches, curve: Floats, stretch: Floats, weights: Weights) -> Floats:
    return curve[np.minimum(part.size, len(curve) - 1)] * stretch[part.busy] * weights.of(part.length)


def _law(every: Batches, max_batch: int, workers: int, lengths: Lengths) -> tuple[Floats, Floats, Floats, Weights]:
    """Curve [largest seen + 1], stretch [workers + 1], noise [2, m] and weights, each with the others held fixed, in
    turn; `lengths` are those of all payloads."""
    _, busy, seconds, length = every
    stretch, weights = np.ones(workers + 1), EVEN
    largest = int(min(every.size.max(), max(max_batch, 1)))
    size = np.minimum(every.size, largest)
    for _ in range(4):
        even = seconds / weights.of(length)
        curve = _curve(size, even / stretch[busy], largest)
        ratio = even / curve[size]
        for j in range(2, workers + 1):
            here = busy == j
            stretch[j] = float(np.mean(ratio[here])) if here.sum() >= ENOUGH else stretch[j - 1]
        first = float(np.mean(ratio[busy == 1])) if (busy == 1).sum() >= ENOUGH else stretch[2:3].mean() or 1.0
        stretch = np.maximum(stretch / first, 0.5)
        stretch[0] = stretch[1] = 1.0
        weights = weighed(length, seconds / (curve[size] * stretch[busy]), lengths)
    even = seconds / weights.of(length)
    curve = _curve(size, even / stretch[busy], largest)
    ratio = even / (curve[size] * stretch[busy])
    random = np.random.default_rng(0)
    pools = [ratio[chosen] if chosen.sum() >= ENOUGH else ratio for chosen in (size == 1, size > 1)]
    count = min(MOST_DRAWS, max(len(pool) for pool in pools))
    noise = np.stack([random.choice(pool / pool.mean(), count) for pool in pools])
    return curve, stretch, noise, weights


def _curve(size: NDArray[np.int64], seconds: Floats, largest: int) -> Floats:
    """Mean seconds of each batch size up to the largest: the means where there are enough batches, else the line
    a + b·n through all, never less for more."""
    sizes, counts = np.unique(size, return_counts=True)
    means = np.array([float(seconds[size == n].mean()) for n in sizes])
    if len(sizes) == 1:
        return means[0] * np.arange(largest + 1) / sizes[0] if largest > 1 else np.full(2, means[0])
    a, b = line(sizes, means, counts)
    curve = a + b * np.arange(largest + 1, dtype=np.float64)
    trust = counts / (counts + ENOUGH)
    curve[sizes] = trust * means + (1 - trust) * curve[sizes]
    return np.asarray(np.maximum.accumulate(curve))


def line(sizes: NDArray[np.int64], means: Floats, counts: NDArray[np.int64]) -> tuple[float, float]:
    """(a, b) of a + b·n through the means of at least two sizes, neither negative: a flat law where more would take
    less, as noise makes it on a GPU far from full; a law through zero where none would take less than nothing.

    Each size weighs by how well its mean is known, and none by more than a well-known one.
    """
    weights = np.sqrt(np.minimum(counts, ENOUGH)) / means
    b, a = np.polyfit(sizes, means, 1, w=weights)
    if b <= 0:
        return float(np.average(means, weights=weights)), 0.0
    return (float(a), float(b)) if a > 0 else (0.0, float(np.average(means / sizes, weights=weights)))


def _gap_s(runs: Sequence[Seen], workers: int, share: float, beside: Floats) -> float:
    """Seconds that an item costs a worker beside predicting (reading, writing, what feeds it), as at the heaviest load:
    from the run that answered most, which was busy all the time where any was offered more than it answered. (One that
    drowned may answer less than one that was nearly full.) Else that `share` of what it can be: no worker was busier
    than that, and a lone request waited for it too. 0 where no run is long enough."""
    run = _fastest(runs)
    if run is None:
        return 0.0
    most = max(workers / run.throughput() - _item_s(batches(run, workers)), 0.0)
    return most if full(runs) else share * min(most, float(beside.mean()))


def shown(runs: Sequence[Seen], workers: int) -> bool:
    """Whether how busy the cores were shows what a request costs a worker, up to a run that filled them: where each
    worker has one core, and nothing else has any, all that the server does for a request is done on them, one after the
    other."""
    return (all(run.cores == workers and math.isfinite(run.busy) for run in runs)
            and (full(runs) or any(run.busy > FILLED * run.cores for run in runs)))


def _shown_gap_s(run: Seen, part: Batches, most_s: float) -> float:
    """Seconds that a core was busy for a request beside predicting, at most so many. One that was full was busy all the
    time."""
    each_s = run.cores / run.throughput() if run.saturated else run.core_s
    return float(np.clip(each_s - _item_s(part), 0.0, most_s))


def _item_s(part: Batches) -> float:
    """Seconds of predicting for each item."""
    return float(part.seconds.sum() / part.size.sum())


def _fastest(runs: Sequence[Seen]) -> Seen | None:
    """The run that answered most a second; None where none is long enough to say."""
    return max((run for run in runs if math.isfinite(run.throughput())), key=Seen.throughput, default=None)


def full(runs: Sequence[Seen]) -> bool:
    """Whether any run was offered more than it answered, so that the ceiling is known."""
    return any(run.saturated for run in runs)


def lonely_overhead_s(runs: Sequence[Seen], warm: Warmth, hint: Structure) -> Floats:
    """What a request took beside predicting, as at the heaviest load: over requests that met nobody else, in every run
    that tells, moved to one median: the load shifts what is usual and not its tail, which is the machine's. Where all
    met others, over the quickest of the lightest run."""
    alone = [(run, rest_s(run, run.counted & lonely(run), hint)) for run in runs]
    pools = [(rest, float(np.median(rest)), warm.factors(run.met)[1]) for run, rest in alone if len(rest) >= ENOUGH]
    if pools:
        counts = [len(rest) for rest, _, _ in pools]
        usual = float(np.average([middle / farther for _, middle, farther in pools], weights=counts))
        return np.concatenate([np.maximum(rest - middle + usual, 0.0) for rest, middle, _ in pools])
    for run in runs:
        every = rest_s(run, run.counted, hint)
        if len(every) >= ENOUGH:
            return every[every <= np.quantile(every, QUICKEST)] / warm.factors(run.met)[1]
    return np.zeros(1)


def rest_s(run: Seen, chosen: NDArray[np.bool_], hint: Structure) -> Floats:
    """What the answers to the chosen requests took beside predicting, where the setup tells. Of one that keeps batches
    open, less all the time inside that it tells: the twin waits itself. Elsewhere what a lone request spends in a queue
    is its way to a worker."""
    inside = run.inside_s if hint.wait_s > 0 else run.model_s
    known = np.isfinite(run.latency_s) & np.isfinite(inside) & chosen
    return np.maximum(run.latency_s[known] - inside[known], 0.0)


def _untold(runs: Sequence[Seen], workers: int) -> Service:
    """Service from lone requests, stretched to what the ceiling says where one was reached."""
    light = runs[0]
    answered = np.isfinite(light.latency_s) & light.counted
    alone = answered & lonely(light)
    seconds = light.latency_s[alone if alone.sum() >= ENOUGH else answered]
    if not len(seconds):
        raise ValueError("the lightest run holds no answer, so nothing can be fitted")
    mean = float(seconds.mean())
    best = _fastest(runs) if full(runs) else None
    at_most = workers / best.throughput() if best else mean
    stretch = np.concatenate([[1.0], np.linspace(1.0, max(at_most / mean, 1.0), workers)])
    part = min(at_most / mean, 1.0)
    noise = np.tile(_lone_noise(runs, seconds / mean), (2, 1))
    return Service(np.array([0.0, mean * part]), stretch, noise, np.array([mean * (1 - part)]))


def _lone_noise(runs: Sequence[Seen], lightest: Floats) -> Floats:
    """Service times over their mean, of the requests that met nobody else in any run: a tail is not known from the few
    of the lightest one, and a run at 80 % of what can be carried holds thousands of them."""
    pools = [lightest]
    for run in runs[1:]:
        alone = run.latency_s[np.isfinite(run.latency_s) & run.counted & lonely(run)]
        if len(alone) >= MANY and not run.saturated:
            pools.append(alone / float(alone.mean()))
    return np.concatenate(pools)
