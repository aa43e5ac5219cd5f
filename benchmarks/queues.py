"""Simulated servers whose truth is known: latencies in order of due time, many runs at once.

Every stream starts empty, offers 500 requests a second and yields float64[runs, CHUNK] latencies in seconds without
end; sent an array of row numbers, it goes on with those rows of its last chunk alone. Utilisation sets the service
time. A stream is a pure function of its generator's seed and of what it was sent.
"""

import functools
import math
from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

RATE = 500.0
CHUNK = 512
SIGMA = 0.5
BATCH = 8
BATCH_COST = 3.0

Floats = NDArray[np.float64]
Kept = NDArray[np.intp] | None
Latencies = Generator[Floats, Kept, None]


def narrowed(kept: Kept, *state: Floats) -> tuple[Floats, ...]:
    """The rows of each state array that the reader goes on with; all of them when it sent nothing."""
    return state if kept is None else tuple(part[kept] for part in state)


def single_server(utilisation: float, runs: int, rng: np.random.Generator, exponential: bool) -> Latencies:
    """M/M/1 or M/D/1 by Lindley's recursion: wait = max(0, wait before + service before − gap), unrolled as a running
    minimum (Asmussen 2003, III.7)."""
    mean = utilisation / RATE
    wait, service_before = np.zeros(runs), np.zeros(runs)
    while True:
        shape = (len(wait), CHUNK)
        gaps = rng.standard_exponential(shape) / RATE
        service = rng.standard_exponential(shape) * mean if exponential else np.full(shape, mean)
        steps = np.concatenate([service_before[:, None], service[:, :-1]], axis=1) - gaps
        steps[:, 0] += wait
        walk = np.cumsum(steps, axis=1)
        waits = walk - np.minimum(np.minimum.accumulate(walk, axis=1), 0.0)
        kept = yield waits + service
        wait, service_before = narrowed(kept, waits[:, -1], service[:, -1])


def four_servers(utilisation: float, runs: int, rng: np.random.Generator) -> Latencies:
    """M/D/4, first come first served: equal services end in order, so request n waits only for request n − 4."""
    service = 4 * utilisation / RATE
    free = np.zeros((runs, 4))
    order = service * np.arange(CHUNK // 4)[None, :, None]
    while True:
        due = np.cumsum(rng.standard_exponential((len(free), CHUNK)) / RATE, axis=1)
        ready = due.reshape(-1, CHUNK // 4, 4) - order
        ready[:, 0] = np.maximum(ready[:, 0], free)
        start = np.maximum.accumulate(ready, axis=1) + order
        kept = yield start.reshape(-1, CHUNK) + service - due
        (free,) = narrowed(kept, start[:, -1] + service - due[:, -1:])


def autoregressive(utilisation: float, runs: int, rng: np.random.Generator) -> Latencies:
    """exp(σZ) · 10 ms with Z a Gaussian AR(1) of unit variance.

    Its memory, in requests, is the relaxation time of an M/M/1 queue as busy: ρ/(1 − √ρ)² (Cohen 1982, II.2.1).
    """
    from scipy.signal import lfilter  # noqa: PLC0415  slow to import
    memory = utilisation / (1 - math.sqrt(utilisation)) ** 2
    phi = math.exp(-1 / memory)
    level = rng.standard_normal(runs)
    while True:
        shocks = rng.standard_normal((len(level), CHUNK)) * math.sqrt(1 - phi * phi)
        z, _ = lfilter([1.0], [1.0, -phi], shocks, axis=1, zi=phi * level[:, None])
        kept = yield 0.01 * np.exp(SIGMA * z)
        (level,) = narrowed(kept, z[:, -1])


def batching(utilisation: float, runs: int, rng: np.random.Generator) -> Latencies:
    """One server that takes all who wait, at most 8, and needs 3 + k units for k; at utilisation 1 it does 8 in 11."""
    unit = utilisation * BATCH / (RATE * (BATCH_COST + BATCH))
    due = np.cumsum(rng.standard_exponential((runs, CHUNK)) / RATE, axis=1)
    free, begun, carried = np.zeros(runs), np.zeros(runs), np.zeros((runs, BATCH))
    while True:
        later = due[:, -1:] + np.cumsum(rng.standard_exponential(due.shape) / RATE, axis=1)
        latency = np.concatenate([carried, np.zeros_like(due)], axis=1)
        serve(np.concatenate([due, later[:, :BATCH]], axis=1), latency, free, begun, unit)
        kept = yield latency[:, :CHUNK]
        carried, free, begun, due = narrowed(
            kept, latency[:, CHUNK:], free - due[:, -1], begun - CHUNK, later - due[:, -1:]
        )


def serve(due: Floats, latency: Floats, free: Floats, begun: Floats, unit: float) -> None:
    """Serve every batch that begins within the chunk, one batch of every run at a time. Writes `latency` in place (a
    batch may reach into the next chunk), the time the server is `free` and the number of requests `begun`."""
    ahead = np.arange(BATCH)
    going = np.flatnonzero(begun < CHUNK)
    while len(going):
        first = begun[going].astype(np.intp)
        waiting = due[going[:, None], first[:, None] + ahead]
        start = np.maximum(waiting[:, 0], free[going])
        taken = waiting <= start[:, None]
        done = start + unit * (BATCH_COST + taken.sum(axis=1))
        row, column = np.nonzero(taken)
        latency[going[row], first[row] + column] = done[row] - waiting[row, column]
        free[going] = done
        begun[going] = first + taken.sum(axis=1)
        going = going[begun[going] < CHUNK]


STREAMS: dict[str, Callable[[float, int, np.random.Generator], Latencies]] = {
    "M/M/1": lambda u, runs, rng: single_server(u, runs, rng, exponential=True),
    "M/D/1": lambda u, runs, rng: single_server(u, runs, rng, exponential=False),
    "M/D/4": four_servers,
    "autoregressive": autoregressive,
    "batching": batching,
}


@functools.cache
def true_quantiles(
    name: str, utilisation: float, qs: tuple[float, ...], chunks: int = 400, runs: int = 1000
) -> list[float]:
    """Latency quantiles in seconds, in closed form where there is one, else from a long simulation of its own seed
    (chunks × 512 × runs requests, the first 40 chunks of each run left out, counted in bins 0.05 % wide)."""
    if name == "M/M/1":
        return [-math.log(1 - q) * utilisation / (RATE * (1 - utilisation)) for q in qs]
    if name == "autoregressive":
        return [0.01 * math.exp(SIGMA * float(ndtri(q))) for q in qs]
    rng = np.random.default_rng(int(utilisation * 1000) + 90_000)
    counts = np.zeros(40_000, dtype=np.int64)
    for number, latency in enumerate(STREAMS[name](utilisation, runs, rng)):
        if number >= chunks:
            break
        if number >= 40:
            bins = (np.log(latency.ravel()) * 2000 + 30_000).astype(np.int64)
            counts += np.bincount(bins, minlength=len(counts))
    share = np.cumsum(counts) / counts.sum()
    return [float(math.exp((int(np.searchsorted(share, q)) + 0.5 - 30_000) / 2000)) for q in qs]
