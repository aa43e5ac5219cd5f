"""How often a nominal 95 % interval over five repetitions holds the truth; see benchmarks/certificate.py.

The harness's own (harness/analyse/intervals.py), for several quantiles, and beside it the textbook's: the pooled
quantile with a jackknife of its logarithm over repetitions (Efron & Tibshirani 1993, §11.5), which never abstains.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from queues import CHUNK, RATE, STREAMS, true_quantiles

from harness.analyse.intervals import quantile_interval
from harness.analyse.quantiles import CONFIDENCE, pooled_quantile, student

REPETITIONS = 5
QUANTILES = (0.95, 0.99, 0.999)
LOADS = (0.5, 0.7, 0.85)
CHUNKS = {6: 6, 30: 30, 60: 59}
SETS_TIMES_SECONDS = 24_000
GROUP = 100


@dataclass(frozen=True)
class Run:
    """Latencies in s, as they came and ascending."""

    latency_ms: NDArray[np.float32]
    ordered_ms: NDArray[np.float32]


def jackknife_holds(runs: list[Run], q: float, truth: float) -> bool:
    """Is the truth in the delete-one interval of the pooled quantile, on the log scale?"""
    ordered, count = [run.ordered_ms for run in runs], len(runs)
    value = pooled_quantile(ordered, q)
    logs = np.log([pooled_quantile([*ordered[:i], *ordered[i + 1:]], q) for i in range(count)])
    spread = math.sqrt((count - 1) / count * float(np.sum((logs - logs.mean()) ** 2)))
    return abs(math.log(value / truth)) <= student(CONFIDENCE, count - 1) * spread


def judged(server: str, load: float, chunks: int, sets: int, seed: int) -> NDArray[np.bool_]:
    """bool[quantiles, 3, sets]: for each set of five repetitions, whether the harness's interval covers, whether it
    abstains, and whether the jackknife's covers."""
    truths = true_quantiles(server, load, QUANTILES)
    stream = STREAMS[server](load, REPETITIONS * sets, np.random.default_rng(seed))
    latency = np.concatenate([next(stream).astype(np.float32) for _ in range(chunks)], axis=1)
    seen = np.zeros((len(QUANTILES), 3, sets), dtype=bool)
    for index, rows in enumerate(latency.reshape(sets, REPETITIONS, -1)):
        runs = [Run(row, np.sort(row)) for row in rows]
        for place, (q, truth) in enumerate(zip(QUANTILES, truths, strict=True)):
            found = quantile_interval(runs, q)
            abstains = math.isnan(found.low) or math.isnan(found.high)
            seen[place, :, index] = found.low <= truth <= found.high, abstains, jackknife_holds(runs, q, truth)
    return seen


def coverage(server: str, load: float, chunks: int, sets: int, seed: int) -> dict[float, dict[str, float]]:
    """By quantile, shares of `sets` sets of five repetitions: how often the interval covers where it does not abstain,
    how often it abstains, how often it does either, and how often the jackknife covers."""
    sizes = [min(GROUP, sets - begun) for begun in range(0, sets, GROUP)]
    seen = np.concatenate([judged(server, load, chunks, size, seed + n) for n, size in enumerate(sizes)], axis=2)
    found = {}
    for q, (covers, abstains, jackknife) in zip(QUANTILES, seen, strict=True):
        told = ~abstains
        found[q] = {"covers": float(covers[told].mean()) if told.any() else math.nan,
                    "abstains": float(abstains.mean()), "covers_or_abstains": float((covers | abstains).mean()),
                    "jackknife": float(jackknife.mean())}
    return found


def print_coverage(cells: list[tuple[str, float, int]], sets: int, seed: int, file: Path | None) -> int:
    """Print the table for cells (server, load, seconds); 0 always: what is asked of an interval depends on the length
    of a run."""
    print("| server | load | 5 repetitions of | quantile | covers | abstains | covers or abstains | plain jackknife "
          "covers |\n|---|---|---|---|---|---|---|---|")
    done = []
    for server, load, seconds in cells:
        most = max(1, min(sets, SETS_TIMES_SECONDS // seconds))
        for q, seen in coverage(server, load, CHUNKS[seconds], most, seed).items():
            plain = {name: None if math.isnan(value) else value for name, value in seen.items()}
            done.append({"server": server, "load": load, "seconds": CHUNKS[seconds] * CHUNK / RATE, "q": q, **plain})
            covers = "–" if math.isnan(seen["covers"]) else f"{seen['covers']:.1%}"
            print(f"| {server} | {load} | {seconds} s | {q:g} | {covers} | {seen['abstains']:.0%} "
                  f"| {seen['covers_or_abstains']:.1%} | {seen['jackknife']:.1%} |", flush=True)
    if file:
        file.write_text(json.dumps(done, indent=1))
    return 0
