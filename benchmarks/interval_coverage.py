"""How often a nominal 95 % interval for p99 over five repetitions holds the truth; see benchmarks/certificate.py.

Two intervals. The harness's: pooled p99 with a jackknife over repetitions, abstaining below 368 effective requests as
harness/analyse/verdicts.py counts them. And a candidate: all limits whose share of slower requests is not significantly
unlike 1 %, by a jackknife of the log of that share (the test inverted; the share, unlike the quantile, is unbiased at
the truth), abstaining below 100 effective requests as the certificate counts them.
"""

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from queues import CHUNK, RATE, STREAMS, true_quantiles

from harness.analyse.quantiles import CONFIDENCE, effective_size, needed_samples, quantile_interval, student
from harness.analyse.sequential import extended, look, no_evidence

QUANTILE = 0.99
REPETITIONS = 5
LOADS = (0.5, 0.7, 0.85)
CHUNKS = {6: 6, 30: 30, 60: 59}
SETS_TIMES_SECONDS = 24_000
SEEN_BEYOND = 50
ENOUGH = 100
GROUP = 100

Runs = NDArray[np.float32]


def effective(run: Runs, ordered: Runs, threshold: float) -> float:
    """How many independent requests a run is worth, by the rule of harness/analyse/verdicts.py."""
    enough = ordered[max(len(run) - SEEN_BEYOND, len(run) // 2)]
    return effective_size(run >= min(np.float32(threshold), enough))


def certified(runs: Runs, threshold: float) -> float:
    """How many independent requests all runs are worth, by the certificate's batches."""
    companion = np.minimum(runs.astype(np.float64) / threshold, 1.0) ** 3
    seen = look(extended(no_evidence(1 - QUANTILE, len(runs)), runs > threshold, companion))
    return float((seen.batches / seen.excess).sum())


def inverted_holds(runs: Runs, limit: float) -> bool:
    """Is `limit` in the interval of all limits whose share of slower requests is not unlike 1 − q?

    The log of the mean share against Student's t with the jackknife's deviation, R − 1 degrees of freedom.
    """
    shares, count = (runs > limit).mean(axis=1), len(runs)
    without = (shares.sum() - shares) / (count - 1)
    if not (without > 0).all():
        return True
    logs = np.log(without)
    spread = math.sqrt((count - 1) / count * float(np.sum((logs - logs.mean()) ** 2)))
    return bool(abs(math.log(shares.mean() / (1 - QUANTILE))) <= student(CONFIDENCE, count - 1) * spread)


def judged(server: str, load: float, chunks: int, sets: int, seed: int) -> NDArray[np.bool_]:
    """bool[4, sets]: for each set of five repetitions, whether each interval covers and whether each abstains."""
    (truth,) = true_quantiles(server, load, (QUANTILE,))
    stream = STREAMS[server](load, REPETITIONS * sets, np.random.default_rng(seed))
    latency = np.concatenate([next(stream).astype(np.float32) for _ in range(chunks)], axis=1)
    seen = np.zeros((4, sets), dtype=bool)
    for index, runs in enumerate(latency.reshape(sets, REPETITIONS, -1)):
        ordered = [np.sort(run) for run in runs]
        interval = quantile_interval(ordered, QUANTILE)
        size = sum(effective(run, line, interval.value) for run, line in zip(runs, ordered, strict=True))
        seen[:, index] = (
            interval.low <= truth <= interval.high, inverted_holds(runs, truth),
            size < needed_samples(QUANTILE), certified(runs, interval.value) < ENOUGH)
    return seen


def coverage(server: str, load: float, chunks: int, sets: int, seed: int) -> dict[str, float]:
    """Shares of `sets` sets of five repetitions: each interval's coverage, and how often each abstains."""
    sizes = [min(GROUP, sets - begun) for begun in range(0, sets, GROUP)]
    seen = np.concatenate([judged(server, load, chunks, size, seed + n) for n, size in enumerate(sizes)], axis=1)
    shares = [*seen.mean(axis=1), *(seen[:2] | seen[2:]).mean(axis=1)]
    names = ("jackknife", "inverted", "jackknife_abstains", "inverted_abstains", "jackknife_right", "inverted_right")
    return dict(zip(names, (float(share) for share in shares), strict=True))


def print_coverage(servers: list[str], sets: int, seed: int, file: Path | None) -> int:
    """Print the table; 0 always: what is asked of an interval depends on the length of a run."""
    print("| server | load | 5 repetitions of | jackknife covers | abstains | covers or abstains "
          "| inverted covers | abstains | covers or abstains |\n|---|---|---|---|---|---|---|---|---|")
    done = []
    for server in servers:
        for load in LOADS:
            for seconds, chunks in CHUNKS.items():
                seen = coverage(server, load, chunks, max(1, min(sets, SETS_TIMES_SECONDS // seconds)), seed)
                done.append({"server": server, "load": load, "seconds": chunks * CHUNK / RATE, **seen})
                print(f"| {server} | {load} | {seconds} s "
                      f"| {seen['jackknife']:.1%} | {seen['jackknife_abstains']:.0%} | {seen['jackknife_right']:.1%} "
                      f"| {seen['inverted']:.1%} | {seen['inverted_abstains']:.0%} | {seen['inverted_right']:.1%} |",
                      flush=True)
    if file:
        file.write_text(json.dumps(done, indent=1))
    return 0
