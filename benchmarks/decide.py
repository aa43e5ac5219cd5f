"""How often a decision is wrong: `python benchmarks/decide.py [--decisions 200]`.

A/A: one setup under two names. Every repetition of either arm is drawn anew from the published records of that setup
and workload: a recorded run, then blocks of its requests, so that both the difference between runs and the one within
them is there. The decider starts with five repetitions and, told to measure more, draws as many as it was told to,
again and again. A/B: the same with the second arm's requests a tenth dearer.

Searched: each repetition is a capacity search that was off by a lognormal error of SPREAD, and told an interval of that
width. The decider starts with one search of each, then goes on as it is told to.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analyse.figures import figures
from harness.analyse.frames import read_view
from harness.analyse.model import Interval
from harness.decide.bill import SEARCHED, Offer
from harness.decide.bill_offers import cpu_bound
from harness.decide.choice import Choice, Wish, choose
from harness.decide.choice_evidence import log_mean
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet
from harness.record.read import find_runs

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
BLOCK, FIRST, MOST = 20, 5, 80
SPREAD = 0.03  # of a search's logarithm
WISH = Wish({"p(99)": "< 100ms"}, {}, {})


@dataclass(frozen=True)
class Recorded:
    """A run: what its CPU time says one replica carries, and the busy µs of each request, in order."""

    rate: float
    busy_us: NDArray[np.float64]


def recorded() -> dict[str, list[Recorded]]:
    """The valid published runs by setup and workload; groups of at least three."""
    groups: dict[str, list[Recorded]] = {}
    for run in find_runs(PUBLISHED).runs:
        seen = figures(read_view(run), run.probes()) if run.has_rows else None
        if seen is None or not seen.valid:
            continue
        rows = run.columns("stage", "model_us", "batch")
        told = (rows["stage"] >= 0) & (rows["model_us"] > 0)
        busy = rows["model_us"][told] / np.maximum(rows["batch"][told], 1)
        rate = cpu_bound(len(run.meta.server_cpus), seen.cpu_cores, seen.throughput)
        groups.setdefault(f"{run.meta.setup} × {run.meta.workload}", []).append(Recorded(rate, busy))
    return {name: runs for name, runs in groups.items() if len(runs) >= 3}


def repetition(runs: Sequence[Recorded], rng: np.random.Generator) -> float:
    """A rate drawn from the records: a run, and blocks of its requests in its place."""
    run = runs[rng.integers(len(runs))]
    starts = rng.integers(0, max(len(run.busy_us) - BLOCK, 1), max(len(run.busy_us) // BLOCK, 1))
    drawn = run.busy_us[(starts[:, None] + np.arange(BLOCK)[None]) % len(run.busy_us)]
    return run.rate * float(run.busy_us.mean() / drawn.mean())


def decided(runs: Sequence[Recorded], dearer: float, replicas: float, searched: bool,
            rng: np.random.Generator) -> tuple[Choice, int]:
    """One decision, and how many repetitions of each arm it took."""
    demand = Curve("d", "", np.full(60, replicas * float(np.mean([run.rate for run in runs]))))
    rates: tuple[list[float], list[float]] = ([], [])
    wanted = 1 if searched else FIRST
    true = float(np.mean([run.rate for run in runs]))
    while True:
        while len(rates[0]) < wanted:
            for own, less in zip(rates, (1.0, dearer), strict=True):
                found = true * np.exp(SPREAD * rng.standard_normal()) if searched else repetition(runs, rng)
                own.append(float(found) / less)
        offers = [offer(name, each, searched) for name, each in zip("AB", rates, strict=True)]
        made = choose(offers, {}, demand, Fleet(spare=0), WISH)
        if made.kind != "open" or wanted >= MOST:
            return made, wanted
        wanted = FIRST if wanted < FIRST else min(MOST, wanted + max(1, *(pair.more for pair in made.pairs)))


def offer(name: str, rates: Sequence[float], searched: bool) -> Offer:
    """The arm's offer after these repetitions."""
    if searched and len(rates) < 3:
        ends = [rates[-1] * np.exp(side * 1.96 * SPREAD) for side in (-1, 1)]
        return Offer(name, "", Interval(rates[-1], *map(float, ends)), 0.1785, "", "", SEARCHED, verdict="pass",
                     searches=len(rates), seconds_each=60.0)
    return replace(_repeated(name, rates), searches=len(rates) if searched else 0)


def _repeated(name: str, rates: Sequence[float]) -> Offer:
    return Offer(name, "", log_mean(rates), 0.1785, "", "", "", each_rate=dict(enumerate(rates)), verdict="pass",
                 p99_ms=Interval(50, 45, 55), seconds_each=2.0)


def main() -> int:
    """Prints how decisions ended; exits 1 when the error or the power is not what was promised."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--decisions", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    groups = recorded()
    print(f"{sum(map(len, groups.values()))} valid runs of {len(groups)} setups × workloads, {asked.decisions} "
          f"decisions a row, {FIRST} to {MOST} repetitions each")
    print(f"{'case':32}{'named':>8}{'rightly':>9}{'tie':>8}{'open':>8}{'repetitions: mean':>20}{'most':>6}")
    rows, failed = [], False
    for case, dearer, replicas, searched in (
            ("A/A, about 200 replicas", 1.0, 200.0, False), ("A/A, about 3 replicas", 1.0, 2.7, False),
            ("B 10 % dearer, 200 replicas", 1.1, 200.0, False), ("A/A, searched", 1.0, 200.0, True),
            ("B 10 % dearer, searched", 1.1, 200.0, True)):
        rng = np.random.default_rng(asked.seed)
        made = [decided(list(groups.values())[n % len(groups)], dearer, replicas, searched, rng)
                for n in range(asked.decisions)]
        kinds = Counter(choice.kind for choice, _ in made)
        rightly = sum(choice.kind == "one" and choice.named == ("A",) for choice, _ in made) / asked.decisions
        named = kinds["one"] / asked.decisions
        taken = [repetitions for _, repetitions in made]
        rows.append({"case": case, "named": named, "rightly": rightly, "kinds": dict(kinds),
                     "mean_repetitions": float(np.mean(taken))})
        failed |= rightly < 0.9 if dearer > 1 else named > 0.05
        print(f"{case:32}{named:8.1%}{rightly if dearer > 1 else np.nan:9.1%}{kinds['tie'] / asked.decisions:8.1%}"
              f"{kinds['open'] / asked.decisions:8.1%}{np.mean(taken):20.1f}{max(taken):6}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
