"""How far the analytic bill is from a demand replayed request by request: `python benchmarks/bill.py [--workers …]`.

Service times are those that recorded runs told (results/published), drawn again; one instance's capacity is searched
for in a simulation of its own, as `tailrace capacity` does it on a machine.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.analyse.model import Interval
from harness.decide.bill import HOURS_PER_MONTH, Offer, bill
from harness.decide.cost import per_million_usd
from harness.decide.demand import Curve, Demand, curve
from harness.decide.fleet import Fleet
from harness.decide.fleet_replay import Service, capacity, replay
from harness.record.read import find_runs

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
LIMIT_S, QUANTILE, HOURLY_USD = 0.25, 0.95, 0.1785
POLICIES = {"fixed": Fleet(), "schedule": Fleet(policy="schedule", zones=3),
            "reactive": Fleet(policy="reactive", cold_start_s=45, headroom=0.3),
            "tight": Fleet(policy="reactive", cold_start_s=90, headroom=0.1, spare=0)}


def shapes(scratch: Path) -> list[Curve]:
    """Six demands: from words, from a table of requests per minute, and from a trace of arrivals."""
    rng = np.random.default_rng(5)
    ramp = 6000 + 30 * np.abs(np.arange(1440) - 720) + 4000 * (np.arange(1440) % 240 < 30)
    (scratch / "minutes.csv").write_text("minute,requests\n" + "\n".join(f"{i},{n}" for i, n in enumerate(ramp)))
    trace = np.sort(np.concatenate([rng.random(400_000) * 21_600, 9000 + rng.random(300_000) * 3600]))
    (scratch / "trace.txt").write_text("\n".join(f"{each:.3f}" for each in trace))
    made = [Demand(name="constant", title="", shape="constant", mean=150),
            Demand(name="diurnal", title="", shape="diurnal", mean=150, peak_over_mean=1.9),
            Demand(name="weekly", title="", shape="weekly", mean=30, peak_over_mean=2, weekend=0.3),
            Demand(name="bursty", title="", shape="bursty", mean=30, peak_over_mean=6),
            Demand(name="csv", title="", shape="csv", file="minutes.csv"),
            Demand(name="trace", title="", shape="trace", file="trace.txt")]
    return [curve(each, scratch) for each in made]


def recorded(setup: str, workload: str, workers: int) -> Service:
    """One instance whose workers take as long as that setup told, request by request."""
    parts = [run.columns("stage", "model_us") for run in find_runs(PUBLISHED).runs
             if (run.meta.setup, run.meta.workload) == (setup, workload) and run.has_rows]
    told = np.concatenate([part["model_us"][(part["stage"] >= 0) & (part["model_us"] > 0)] for part in parts])
    return Service(workers, told / 1e6)


def compared(service: Service, per_replica: float, demand: Curve, fleet: Fleet, seed: int) -> dict[str, float]:
    """Ratios replayed ÷ analytic of the month's price and of the price of a million good requests."""
    rate = Interval(per_replica, per_replica, per_replica)
    flat_out = service.workers / float(service.times_s.mean())
    said = bill(Offer("simulated", "", rate, HOURLY_USD, "", "", "", saturated=flat_out, promised=QUANTILE), demand,
                fleet)
    began = time.perf_counter()
    seen = replay(demand.rate, per_replica, HOURLY_USD, fleet, service, LIMIT_S, QUANTILE, seed)
    hourly = seen.usd / seen.hours
    million = per_million_usd(hourly, seen.good / (seen.hours * 3600))
    return {"requests": seen.requests, "analytic_usd": said.monthly_usd.value,
            "replayed_usd": hourly * HOURS_PER_MONTH, "month": hourly * HOURS_PER_MONTH / said.monthly_usd.value,
            "calculator": said.per_million_good_usd.value / per_million_usd(HOURLY_USD, per_replica),
            "million": million / said.per_million_good_usd.value, "good": seen.good / seen.requests,
            "broken_replayed": seen.broken_minutes * HOURS_PER_MONTH / seen.hours,
            "broken_analytic": said.broken_minutes, "seconds": time.perf_counter() - began}


def main() -> int:
    """Prints a row for every shape and policy; exits 1 when one is more than 5 % off."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--setup", default="fastapi")
    options.add_argument("--workload", default="ocr")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    service = recorded(asked.setup, asked.workload, asked.workers)
    per_replica = capacity(service, LIMIT_S, QUANTILE, seed=11)
    print(f"{asked.setup} × {asked.workload}, {asked.workers} workers of {1e3 * service.times_s.mean():.2f} ms: "
          f"{per_replica:.1f}/s within p({100 * QUANTILE:g}) < {1e3 * LIMIT_S:g} ms")
    print(f"{'shape':10}{'policy':10}{'requests':>12}{'$/month':>10}{'replayed':>10}{'ratio':>8}{'$/M ratio':>11}"
          f"{'good':>9}{'broken min':>12}{'replayed':>10}{'s':>6}")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, demand in enumerate(shapes(Path(scratch))):
            for name, fleet in POLICIES.items():
                row = compared(service, per_replica, demand, fleet, 100 + number)
                rows.append({"shape": demand.name, "policy": name, **row})
                print(f"{demand.name:10}{name:10}{row['requests']:12,.0f}{row['analytic_usd']:10.2f}"
                      f"{row['replayed_usd']:10.2f}{row['month']:8.4f}{row['million']:11.4f}{row['good']:9.4f}"
                      f"{row['broken_analytic']:12.0f}{row['broken_replayed']:10.0f}{row['seconds']:6.1f}", flush=True)
    worst = max(abs(row[what] - 1) for row in rows for what in ("month", "million"))
    print(f"worst difference: {worst:.2%}")
    low, high = (end(row["calculator"] for row in rows) for end in (min, max))
    print(f"price ÷ capacity within the promise is {low:.1f} to {high:.1f} times too low")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(worst > 0.05)


if __name__ == "__main__":
    sys.exit(main())
