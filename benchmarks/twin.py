"""Does the twin predict real runs that it has not seen, and how fast is it?

    tailrace run twin                                   # measures the loads (an hour; --resume goes on)
    python benchmarks/twin.py results --plan twin [--json FILE]     # 1 where a target is missed
    python benchmarks/twin.py --speed

For each setup and workload, each load that was not saturated is predicted by a twin fitted to the runs of all other
loads, given the due times and the payloads' lengths it was sent with. The error is |predicted p99 ÷ measured p99 − 1|,
each the median over the repetitions' own; beside it, how far the p99 of all of them together can be known at all (the
half-width of its own 95 % interval). A prediction abstains where its range or the error held out among the other loads
says so. Targets: median at most 10 %, 90th percentile at most 20 % of the loads told, which are at least half of them;
4 setups on each of 3 workloads at 4 loads each, of which one may be spoiled; 500 configurations in at most 10 s.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness.analyse.quantiles import effective_size, order_statistic_interval
from harness.cli.predict_known import spoiled
from harness.decide.twin import Clients, Service, Structure, Twin, at_rates, ceiling, play
from harness.decide.twin_predict import LEAST_ANSWERS, LEAST_RUNS, learned, loads, p99_of, seen_p99, why_not
from harness.decide.twin_read import clients_of, scenario_of, seen, structure_of
from harness.decide.twin_seen import Seen
from harness.record.read import StoredRun, find_runs

MEDIAN, NINTH, TOLD = 0.10, 0.20, 0.5
SETUPS, WORKLOADS, LOADS, SPARED = 4, 3, 4, 1
CONFIGURATIONS, LONGEST_S = 500, 10.0


@dataclass(frozen=True)
class Held:
    """One load, all its runs together, predicted from the others; latencies in ms. `expected` is the error that the
    prediction gives as its own."""

    setup: str
    workload: str
    rate: float
    measured_ms: float
    predicted_ms: float
    noise: float
    balancer: str
    abstains: str
    run_ids: list[str]
    expected: float

    @property
    def bias(self) -> float:
        return self.predicted_ms / self.measured_ms - 1

    @property
    def error(self) -> float:
        return abs(self.bias)


Pairs = Counter[tuple[str, str]]  # loads by setup and workload


def own_noise(runs: list[Seen]) -> float:
    """Half the width of the measured p99's own interval, as a share; NaN where the runs cannot bound it."""
    latency = np.concatenate([run.latency_s[run.counted] for run in runs]).astype(np.float32) * 1e3
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
    for load in loads(views):
        others = [view for view in views if all(view is not each for each in load)]
        if any(view.saturated for view in load) or sum(view.counted.sum() for view in load) < LEAST_ANSWERS \
                or len(others) < LEAST_RUNS:
            continue
        known = learned(others, hint, clients)
        rate = float(np.mean([view.rate for view in load]))
        played = play(known.twin, load[0].due_s, 1, lengths=load[0].lengths)
        found.append(Held(first.meta.setup, first.meta.workload, rate, seen_p99(load) * 1e3,
                          p99_of(known.twin, load, 1) * 1e3, own_noise(load), known.twin.structure.balancer,
                          why_not(known, known.twin, played, rate), [view.run_id for view in load], known.error))
    return found


def spoiled_loads(runs: list[StoredRun], bad: set[str]) -> int:
    """The loads of one cell that were carried, and of which all runs are among the bad ones."""
    return sum(all(view.run_id in bad and not view.saturated for view in load)
               for load in loads([seen(run) for run in runs])) if bad else 0


def covered(held: Sequence[Held], lost: Pairs) -> bool:
    """Whether enough setups served enough workloads at enough loads, all held out but for SPARED that were spoiled."""
    counts = Counter((each.setup, each.workload) for each in held)
    counts += Counter({pair: min(n, SPARED) for pair, n in lost.items()})
    setups = Counter(workload for (_, workload), n in counts.items() if n >= LOADS)
    return sum(n >= SETUPS for n in setups.values()) >= WORKLOADS


def met(held: Sequence[Held], lost: Pairs) -> bool:
    """Whether the targets for errors are met, by enough loads."""
    told = [each.error for each in held if not each.abstains]
    return bool(told and covered(held, lost) and len(told) >= TOLD * len(held)
                and np.median(told) <= MEDIAN and np.quantile(told, 0.9) <= NINTH)


HEADER = """\
| | loads | told | error of the p99, median | 90th percentile | signed, median | the measured p99's own ±, median |
|---|---|---|---|---|---|---|"""


def row(name: str, held: Sequence[Held]) -> str:
    """A line of the table: errors and the measured p99's own noise, where it has an end, of the loads told."""
    told = [each for each in held if not each.abstains]
    own = [each.noise for each in told if math.isfinite(each.noise)]
    if not told:
        return f"| {name} | {len(held)} | 0 | | | | |"
    errors, bias = [each.error for each in told], [each.bias for each in told]
    noise = f"{np.median(own):.0%}" if own else "unbounded"
    return (f"| {name} | {len(held)} | {len(told)} | {np.median(errors):.0%} | {np.quantile(errors, 0.9):.0%} | "
            f"{np.median(bias):+.0%} | {noise} |")


def summary(held: Sequence[Held], lost: Pairs) -> str:
    """The table by workload, and what it covers."""
    told = [each for each in held if not each.abstains]
    endless = sum(not math.isfinite(each.noise) for each in told)
    workloads = sorted({each.workload for each in held})
    rows = [row(f"`{name}`", [each for each in held if each.workload == name]) for name in workloads]
    setups = {each.setup for each in held}
    share = 1 - len(told) / len(held) if held else math.nan
    return "\n".join([
        HEADER, *rows, row("all", held),
        f"\nCovered: {len(setups)} setups, {len(workloads)} workloads, {len(held)} loads held out and {lost.total()} "
        f"more spoiled ({'enough' if covered(held, lost) else f'fewer than {SETUPS} × {WORKLOADS} × {LOADS}'}); "
        f"{len(held) - len(told)} abstain ({share:.0%}); of those told, {endless} have a p99 whose own interval has no "
        "end."])


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
                and not scenario_of(run.meta).closed:
            cells[cell_of(run)].append(run)
    bad = {run.meta.run_id for runs in cells.values() for run in runs if spoiled(run)}
    lost: Pairs = Counter()
    for runs in cells.values():
        lost[(runs[0].meta.setup, runs[0].meta.workload)] += spoiled_loads(runs, bad)
    sound = [[run for run in cells[cell] if run.meta.run_id not in bad] for cell in sorted(cells)]
    with ThreadPoolExecutor() as pool:
        held = [each for found in pool.map(held_out, filter(None, sound)) for each in found]
    print("| workload | setup | load req/s | measured p99 ms | (its own ±) | predicted | error | |\n"
          "|---|---|---|---|---|---|---|---|")
    for each in held:
        own = f"±{each.noise:.0%}" if math.isfinite(each.noise) else "unbounded"
        print(f"| {each.workload} | {each.setup} | {each.rate:.0f} | {each.measured_ms:.1f} | {own} | "
              f"{each.predicted_ms:.1f} | {each.bias:+.0%} | {'abstains: ' + each.abstains if each.abstains else ''} |")
    print(f"\n{summary(held, lost)}")
    missed |= not met(held, lost)
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in held], indent=1))
    print("targets met" if not missed else "targets missed")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
