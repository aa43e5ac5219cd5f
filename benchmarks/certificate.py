"""How often does the certificate err, and how long does it take, where the truth is known?

    OMP_NUM_THREADS=1 python benchmarks/certificate.py [--runs 2000] [--quick] [--discard-s 5] [--json FILE]
    OMP_NUM_THREADS=1 python benchmarks/certificate.py --coverage

Simulates five servers at five utilisations, 500 requests a second from an empty start (benchmarks/queues.py), and
looks at the certificate of p(99) < limit about every second (512 requests) until it passes, fails, or 10 minutes are
over:

- broken: the limit is the true p98, so twice as many requests as promised are slower;
- halved: the limit is half the true p99;
- kept: the limit is 1.2 times the true p99;
- edge: the limit is the true p99 (fewer runs; a pass and a fail are both wrong).

Beside it, on runs of 60 s of the broken promise (of the others in the JSON): MLPerf LoadGen's early stopping rule at
its floor of 662 requests and when asked every second until it passes, and the plain p99 at the end. LoadGen's rule, as
in its early_stopping.cc: with t of n requests over the limit, pass when P(Bin(n, 0.01) <= t) <= 0.01. Exit code 1 where
a target is missed.
With --coverage: how often intervals over repetitions hold the truth (benchmarks/interval_coverage.py).
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from interval_coverage import CHUNKS, LOADS, print_coverage
from numpy.typing import NDArray
from queues import CHUNK, RATE, STREAMS, Floats, true_quantiles
from scipy.special import bdtr, betaincinv

from harness.analyse.certificate import CONFIDENCE
from harness.analyse.sequential import Evidence, extended, look, no_evidence

QUANTILE = 0.99
UTILISATIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
LONGEST_S = 600.0
OTHERS_S = 60.0
GROUP = 250
LOADGEN_FLOOR = 662
FALSE_PASSES, FALSE_PASSES_BOUND, RIGHT_PASSES, RIGHT_UP_TO = 0.01, 0.02, 0.90, 0.8


@dataclass(frozen=True)
class Outcome:
    """Shares of runs that ended in each verdict; `bound` is the upper 95 % bound of `passes` (Clopper and Pearson)."""

    runs: int
    passes: float
    bound: float
    fails: float
    median_s: float


@dataclass(frozen=True)
class Others:
    """Shares of runs of 60 s that pass by the rules of others."""

    loadgen_floor: float
    loadgen_looking: float
    plain: float


@dataclass(frozen=True)
class Case:
    """One server, one utilisation, one limit."""

    server: str
    utilisation: float
    promise: str
    limit_ms: float
    certificate: Outcome
    others: Others


def upper_bound(hits: int, runs: int) -> float:
    """The upper 95 % bound of a share of which `hits` of `runs` were seen."""
    return float(betaincinv(hits + 1, runs - hits, 0.95)) if hits < runs else 1.0


def narrowed(evidence: Evidence, rows: NDArray[np.intp]) -> Evidence:
    """The evidence of these runs alone."""
    names = ("first", "last", "total", "squares", "products", "capital")
    return replace(evidence, **{name: getattr(evidence, name)[..., rows] for name in names})


def decided(server: str, utilisation: float, limit: float, runs: int, seed: int, args: argparse.Namespace) -> Floats:
    """When each run of a group got its verdict: seconds, [runs], positive for pass, negative for fail, NaN for none."""
    stream = STREAMS[server](utilisation, runs, np.random.default_rng(seed))
    for _ in range(math.ceil(args.discard_s * RATE / CHUNK)):
        next(stream)
    when, rows = np.full(runs, np.nan), np.arange(runs)
    evidence, threshold = no_evidence(1 - QUANTILE, runs), -math.log(1 - CONFIDENCE)
    latency = next(stream)
    for number in range(1, int(args.longest_s * RATE / CHUNK) + 1):
        evidence = extended(evidence, latency > limit, np.minimum(latency / limit, 1.0) ** 3)
        seen = look(evidence)
        passed, failed = seen.log_pass >= threshold, seen.log_fail >= threshold
        when[rows[passed]] = number * CHUNK / RATE
        when[rows[failed]] = -number * CHUNK / RATE
        going = np.flatnonzero(~(passed | failed))
        if not len(going):
            break
        if len(going) < len(rows):
            rows, evidence = rows[going], narrowed(evidence, going)
            latency = stream.send(going)
        else:
            latency = next(stream)
    return when


def certified(server: str, utilisation: float, limit: float, runs: int, args: argparse.Namespace) -> Outcome:
    """What becomes of `runs` runs that are looked at every second."""
    sizes = [min(GROUP, runs - begun) for begun in range(0, runs, GROUP)]
    when = np.concatenate([
        decided(server, utilisation, limit, size, args.seed + number, args) for number, size in enumerate(sizes)])
    passes, fails = int(np.count_nonzero(when > 0)), int(np.count_nonzero(when < 0))
    median_s = float(np.median(np.abs(np.where(np.isnan(when), math.inf, when))))
    return Outcome(runs, passes / runs, upper_bound(passes, runs), fails / runs, median_s)


def by_others(server: str, utilisation: float, limits: list[float], args: argparse.Namespace) -> list[Others]:
    """How often other rules pass runs of 60 s, for each limit."""
    hits = np.zeros((len(limits), 3))
    for begun in range(0, args.runs, GROUP):
        runs = min(GROUP, args.runs - begun)
        stream = STREAMS[server](utilisation, runs, np.random.default_rng(args.seed + 5_000 + begun))
        for _ in range(math.ceil(args.discard_s * RATE / CHUNK)):
            next(stream)
        latency = np.concatenate([next(stream) for _ in range(int(OTHERS_S * RATE / CHUNK))], axis=1)
        looks = np.concatenate([[LOADGEN_FLOOR], np.arange(2 * CHUNK, latency.shape[1] + 1, CHUNK)])
        for index, limit in enumerate(limits):
            over = np.cumsum(latency > limit, axis=1)[:, looks - 1]
            loadgen = bdtr(over.astype(np.float64), looks, 1 - QUANTILE) <= 1 - 0.99
            hits[index] += (loadgen[:, 0].sum(), loadgen.any(axis=1).sum(),
                            (over[:, -1] <= (1 - QUANTILE) * looks[-1]).sum())
    return [Others(*(float(share) for share in row / args.runs)) for row in hits]


def cases(server: str, utilisation: float, args: argparse.Namespace) -> list[Case]:
    """All four promises to one server at one utilisation."""
    p99, p98 = true_quantiles(server, utilisation, (QUANTILE, 2 * QUANTILE - 1))
    limits = {"broken": p98, "halved": p99 / 2, "kept": 1.2 * p99, "edge": p99}
    others = by_others(server, utilisation, list(limits.values()), args)
    return [
        Case(server, utilisation, promise, limit * 1000, certified(
            server, utilisation, limit, args.edge_runs if promise == "edge" else args.runs, args), other)
        for (promise, limit), other in zip(limits.items(), others, strict=True)
    ]


def missed(case: Case) -> str:
    """Which target the certificate misses here; empty for none."""
    seen = case.certificate
    if case.promise in ("broken", "halved") and (seen.passes > FALSE_PASSES or seen.bound > FALSE_PASSES_BOUND):
        return f"{seen.passes:.2%} false passes (at most {seen.bound:.2%})"
    if case.promise == "kept" and case.utilisation <= RIGHT_UP_TO and seen.passes < RIGHT_PASSES:
        return f"only {seen.passes:.1%} right passes"
    return ""


HEADER = """\
| server | load | broken: false passes (at most) | LoadGen: at 662 | asked every second | p99 of 60 s \
| halved: false passes (at most) | kept: passes | median | edge: pass | fail |
|---|---|---|---|---|---|---|---|---|---|---|"""


def line(broken: Case, halved: Case, kept: Case, edge: Case) -> str:
    """A row of the table: one server at one utilisation."""
    others, median_s = broken.others, kept.certificate.median_s
    return " | ".join([
        f"| {broken.server}", f"{broken.utilisation}",
        f"{broken.certificate.passes:.2%} ({broken.certificate.bound:.2%})",
        f"{others.loadgen_floor:.0%}", f"{others.loadgen_looking:.0%}", f"{others.plain:.1%}",
        f"{halved.certificate.passes:.2%} ({halved.certificate.bound:.2%})",
        f"{kept.certificate.passes:.1%}", f"{median_s:.0f} s" if math.isfinite(median_s) else "over 600 s",
        f"{edge.certificate.passes:.1%}", f"{edge.certificate.fails:.1%} |",
    ])


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="Error rates of the certificate on simulated servers.")
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs per cell")
    parser.add_argument("--edge-runs", type=int, default=500, help="simulated runs per cell at the edge")
    parser.add_argument("--quick", action="store_true", help="100 runs of at most 2 minutes, loads 0.5 and 0.7")
    parser.add_argument("--discard-s", type=float, default=0.0, help="seconds of warm-up to leave out")
    parser.add_argument("--server", choices=list(STREAMS), help="this server alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--coverage", action="store_true", help="coverage of p99 intervals over 5 repetitions instead")
    parser.add_argument("--load", type=float, action="append", choices=LOADS, help="with --coverage: this load alone")
    parser.add_argument("--seconds", type=int, action="append", choices=list(CHUNKS), help="with --coverage: so long")
    args = parser.parse_args()
    args.longest_s, servers = LONGEST_S, [args.server] if args.server else list(STREAMS)
    if args.coverage:
        cells = [(server, load, seconds) for server in servers for load in args.load or LOADS
                 for seconds in args.seconds or CHUNKS]
        return print_coverage(cells, args.runs, args.seed, args.json)
    utilisations = UTILISATIONS[:3:2] if args.quick else UTILISATIONS
    if args.quick:
        args.runs, args.edge_runs, args.longest_s = 100, 100, 120.0
    begun, done, misses = time.perf_counter(), [], []
    print(HEADER, flush=True)
    for server in servers:
        for utilisation in utilisations:
            row = cases(server, utilisation, args)
            done += row
            misses += [f"{server} {utilisation} {case.promise}: {missed(case)}" for case in row if missed(case)]
            print(line(*row), flush=True)
    print(f"\n{len(done)} cells in {time.perf_counter() - begun:.0f} s ({time.process_time():.0f} s of CPU), "
          f"warm-up left out: {args.discard_s:g} s")
    if not args.quick:
        print("targets met" if not misses else "targets missed:\n" + "\n".join(misses))
    if args.json:
        args.json.write_text(json.dumps([asdict(case) for case in done], indent=1))
    return 1 if misses and not args.quick else 0


if __name__ == "__main__":
    sys.exit(main())
