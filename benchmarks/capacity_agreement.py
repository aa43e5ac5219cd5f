"""Do two capacity searches of one real setup agree, and how long do they take?

    python benchmarks/capacity_agreement.py --results FOLDER [--workload fraud] [--slo 'p(99)<25ms'] [--setup NAME ...]

Runs `tailrace capacity` of each setup with one seed after another, setups in turn, so that what the machine does
meanwhile falls on all alike. Targets, where a setup carries 300 requests a second or more: figures within 5 % of each
other, at most 3 minutes a search. 1 where one is missed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

APART, LONGEST_S, LEAST_RATE = 0.05, 180.0, 300.0
ROOT = Path(__file__).parents[1]


class Searched(NamedTuple):
    """One search: the rate within its interval, requests a second, and what it took. `why` where there is none."""

    rate: float
    low: float
    high: float
    requests: int
    seconds: float
    why: str


def search(setup: str, workload: str, slo: str, results: Path, seed: int) -> Searched:
    """Runs it. An exit code other than 0 comes with `why`."""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "harness", "capacity", setup, "--workload", workload, "--slo", slo,
                           "--seed", str(seed), "--results", str(results.resolve()), "--json"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if not done.stdout.strip():
        return Searched(0.0, 0.0, 0.0, 0, seconds, done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    rate = {name: found["rate"][name] or 0.0 for name in ("value", "low", "high")}
    requests = sum(int(probe["requests"].replace(",", "")) for probe in found["probes"])
    return Searched(rate["value"], rate["low"], rate["high"], requests, seconds, found["why"])


def row(setup: str, searches: list[Searched]) -> tuple[str, bool]:
    """A line of the table, and whether the targets are missed there."""
    rates = [each.rate for each in searches if not each.why]
    longest_s = max(each.seconds for each in searches)
    apart = max(rates) / min(rates) - 1 if len(rates) > 1 else float("nan")
    missed = len(rates) < len(searches) or (min(rates) >= LEAST_RATE and not (apart <= APART
                                                                              and longest_s <= LONGEST_S))
    said = ", ".join(each.why or f"{each.rate:,.0f} ({each.low:,.0f} to {each.high:,.0f})" for each in searches)
    most = max(each.requests for each in searches)
    return f"| {setup} | {said} | {apart:.1%} | {longest_s:.0f} | {most:,} |", missed


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="Capacity searches of real setups, more than once.")
    parser.add_argument("--results", type=Path, required=True, help="folder of the records")
    parser.add_argument("--workload", default="fraud")
    parser.add_argument("--slo", default="p(99)<25ms")
    parser.add_argument("--setup", action="append", help="repeatable; by default four")
    parser.add_argument("--searches", type=int, default=2)
    args = parser.parse_args()
    setups = args.setup or ["flask", "fastapi", "zmq-batching", "redis-batching"]
    found: dict[str, list[Searched]] = {setup: [] for setup in setups}
    for seed in range(1, args.searches + 1):
        for setup in setups:
            found[setup].append(search(setup, args.workload, args.slo, args.results, seed))
            print(f"{setup}: {found[setup][-1]}", file=sys.stderr, flush=True)
    print("| setup | searches, requests/s (interval) | apart | seconds, at most | requests, at most |\n"
          "|---|---|---|---|---|")
    lines = [row(setup, searches) for setup, searches in found.items()]
    print("\n".join(line for line, _ in lines))
    missed = any(missed for _, missed in lines)
    print("targets missed" if missed else "targets met")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
