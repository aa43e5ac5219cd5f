"""How often a nominal 95 % interval for p99 over five repetitions holds the truth; see benchmarks/certificate.py."""

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from queues import CHUNK, RATE, STREAMS, true_quantiles

from harness.analyse.quantiles import effective_size, needed_samples, quantile_interval

QUANTILE = 0.99
REPETITIONS = 5
LOADS = (0.5, 0.7, 0.85)
CHUNKS = {6: 6, 30: 30, 60: 59}
SEEN_BEYOND = 50


def effective(run: NDArray[np.float32], ordered: NDArray[np.float32], threshold: float) -> float:
    """How many independent requests a run is worth, by the rule of harness/analyse/verdicts.py."""
    enough = ordered[max(len(run) - SEEN_BEYOND, len(run) // 2)]
    return effective_size(run >= min(np.float32(threshold), enough))


def coverage(server: str, load: float, chunks: int, sets: int, seed: int) -> dict[str, float]:
    """Of `sets` sets of five repetitions: how often the interval covers, over all and over those that do not abstain
    for want of effective requests, how often one abstains, and the median ratio of the interval's ends."""
    (truth,) = true_quantiles(server, load, [QUANTILE])
    stream = STREAMS[server](load, REPETITIONS * sets, np.random.default_rng(seed))
    latency = np.concatenate([next(stream).astype(np.float32) for _ in range(chunks)], axis=1)
    covers, speaks, widths = np.zeros(sets, dtype=bool), np.zeros(sets, dtype=bool), np.zeros(sets)
    for index, runs in enumerate(latency.reshape(sets, REPETITIONS, -1)):
        ordered = [np.sort(run) for run in runs]
        interval = quantile_interval(ordered, QUANTILE)
        size = sum(effective(run, line, interval.value) for run, line in zip(runs, ordered, strict=True))
        covers[index] = interval.low <= truth <= interval.high
        speaks[index] = size >= needed_samples(QUANTILE)
        widths[index] = interval.high / interval.low
    spoken = int(np.count_nonzero(speaks))
    return {
        "covers": float(covers.mean()),
        "abstains": 1 - spoken / sets,
        "covers_when_it_speaks": float(covers[speaks].mean()) if spoken else math.nan,
        "width": float(np.median(widths)),
    }


def print_coverage(sets: int, seed: int, file: Path | None) -> int:
    """Print the table; 0 always: its targets depend on the length of a run."""
    print("| server | load | 5 repetitions of | covers | abstains | covers when it speaks | median high/low |\n"
          "|---|---|---|---|---|---|---|")
    done = []
    for server in STREAMS:
        for load in LOADS:
            for seconds, chunks in CHUNKS.items():
                figures = coverage(server, load, chunks, max(1, min(sets, 30_000 // seconds)), seed)
                done.append({"server": server, "load": load, "seconds": chunks * CHUNK / RATE, **figures})
                print(f"| {server} | {load} | {seconds} s | {figures['covers']:.1%} | {figures['abstains']:.0%} "
                      f"| {figures['covers_when_it_speaks']:.1%} | {figures['width']:.2f} |", flush=True)
    if file:
        file.write_text(json.dumps(done, indent=1))
    return 0
