"""Does the twin predict real runs that it has not seen, and how fast is it?

    tailrace run twin                                   # measures the loads (half an hour; --resume goes on)
    python benchmarks/twin.py results --plan twin [--json FILE]     # 1 where a target is missed
    python benchmarks/twin.py --speed

For each setup and workload, each load that was not saturated is predicted by a twin fitted to the runs of all other
loads, given the due times it was sent at. The error is |predicted p99 ÷ measured p99 − 1|; beside it, how far a single
run's p99 can be known at all (the half-width of its own 95 % interval). A prediction abstains where its range or the
error held out among the other loads says so. Targets: median at most 10 %, 90th percentile at most 20 %; 500
configurations in at most 10 s.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness.analyse.quantiles import effective_size, order_statistic_interval
from harness.cli.predict_known import spoiled
from harness.decide.twin import Clients, Service, Structure, Twin, at_rates, ceiling, play
from harness.decide.twin_fit import QUANTILES, Seen, quantiles_s
from harness.decide.twin_predict import LEAST_ANSWERS, learned, why_not
from harness.decide.twin_read import clients_of, scenario_of, seen, structure_of
from harness.record.read import StoredRun, find_runs

MEDIAN, NINTH = 0.10, 0.20
CONFIGURATIONS, LONGEST_S = 500, 10.0


@dataclass(frozen=True)
class Held:
    """One load predicted from the others; latencies in ms."""

    setup: str
    workload: str
    rate: float
    measured_ms: float
    predicted_ms: float
    noise: float
    balancer: str
    abstains: str
    run_id: str

    @property
    def error(self) -> float:
        return abs(self.predicted_ms / self.measured_ms - 1)


def own_noise(run: Seen) -> float:
    """Half the width of the run's own p99 interval, as a share; NaN where the run cannot bound it."""
    latency = (run.latency_s[run.counted] * 1e3).astype(np.float32)
    ordered = np.sort(latency)
    size = effective_size(latency >= ordered[int(0.99 * (len(ordered) - 1))])
    figure = order_statistic_interval(ordered, 0.99, effective=size)
    return (figure.high - figure.low) / 2 / figure.value


def held_out(runs: list[StoredRun]) -> list[Held]:
    """Every load of one setup on one workload that was not saturated, predicted from the others."""
    first = runs[0]
    hint = structure_of(first.meta.knobs, first.meta.setup_facts, len(first.meta.server_cpus),
                        first.meta.device)
    clients = clients_of(scenario_of(first.meta))
    views = [seen(run) for run in runs]
    found = []
    for run, view in zip(runs, views, strict=True):
        if view.saturated or view.counted.sum() < LEAST_ANSWERS:
            continue
        others = [other for other, kept in zip(views, runs, strict=True) if kept.meta.load != run.meta.load]
        if len(others) < 3:
            continue
        known = learned(others, hint, clients)
        played = play(known.twin, view.due_s, 1)
        said = quantiles_s(played.latency_s[view.counted], QUANTILES)[-1] * 1e3
        found.append(Held(first.meta.setup, first.meta.workload, view.rate, float(view.quantiles_s((0.99,))[0]) * 1e3,
                          float(said), own_noise(view), known.twin.structure.balancer,
                          why_not(known, known.twin, played, view.rate), view.run_id))
    return found


def cell_of(run: StoredRun) -> tuple[str, ...]:
    """What runs must share to be fitted together: all but the load."""
    meta = run.meta
    return (meta.workload, meta.setup, meta.device, meta.machine_id, json.dumps(meta.knobs, sort_keys=True),
            meta.hashes.get("setup", ""))


def speed() -> float:
    """Seconds for 500 configurations of 20 000 requests, after the first call has compiled."""
    noise = np.random.default_rng(1).lognormal(0, 0.3, (2, 20_000))
    twins = [Twin(Structure(workers=1 + i % 8, max_batch=1 + i % 16, wait_s=0.001 * (i % 5)),
                  Service(0.004 + 0.001 * np.arange(17.0), np.ones(9), noise, np.full(9, 1e-3)), Clients())
             for i in range(CONFIGURATIONS)]
    at_rates(twins[:1], [10.0], 100)
    begun = time.perf_counter()
    at_rates(twins, [(0.3 + 0.6 * (i % 7) / 7) * ceiling(twin) for i, twin in enumerate(twins)])
    return time.perf_counter() - begun


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="The twin against runs that it has not seen.")
    parser.add_argument("results", type=Path, nargs="?", help="folder of the records of `tailrace run twin`")
    parser.add_argument("--speed", action="store_true", help="time 500 configurations")
    parser.add_argument("--plan", help="runs of this plan alone")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    missed = False
    if args.speed:
        took = speed()
        missed = took > LONGEST_S
        print(f"{CONFIGURATIONS} configurations of 20,000 requests in {took:.1f} s")
    if args.results is None:
        return int(missed)
    cells: dict[tuple[str, ...], list[StoredRun]] = defaultdict(list)
    for run in find_runs(args.results).runs:
        if args.plan in (None, run.meta.plan) and run.meta.status == "ok" and run.has_rows \
                and not scenario_of(run.meta).closed and not spoiled(run):
            cells[cell_of(run)].append(run)
    held = [each for cell in sorted(cells) for each in held_out(cells[cell])]
    print("| workload | setup | load req/s | measured p99 ms | (its own ±) | predicted | error | |\n"
          "|---|---|---|---|---|---|---|---|")
    for each in held:
        own = f"±{each.noise:.0%}" if math.isfinite(each.noise) else "unbounded"
        print(f"| {each.workload} | {each.setup} | {each.rate:.0f} | {each.measured_ms:.1f} | {own} | "
              f"{each.predicted_ms:.1f} | {each.error:.0%} | {'abstains: ' + each.abstains if each.abstains else ''} |")
    told = np.array([each.error for each in held if not each.abstains])
    if len(told):
        median, ninth = float(np.median(told)), float(np.quantile(told, 0.9))
        print(f"\n{len(held)} loads of {len(cells)} cells, {len(held) - len(told)} abstentions; of the {len(told)} "
              f"told the median error of the p99 is {median:.0%}, the 90th percentile {ninth:.0%}")
        missed |= median > MEDIAN or ninth > NINTH
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in held], indent=1))
    print("targets met" if not missed else "targets missed")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
