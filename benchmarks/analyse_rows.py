"""How long analysis and report take, and how much memory, for ten million recorded requests.

    python benchmarks/analyse_rows.py [--rows 10000000] [--keep FOLDER] [--json]

Writes a result set of simulated queues (2 workloads × 4 setups × 5 repetitions, M/M/1 at different loads, solved by
Lindley's recursion) through harness/record, then analyses it, and reports it (which analyses it again), each in a
process of its own, and prints seconds, seconds of CPU and the greatest memory of the process tree. Exit code 1 where
analysing and reporting takes more than 10 s, or anything more than 1 GiB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness.record.schema import COLUMNS, SCHEMA, RunMeta
from harness.record.write import RunWriter, write_machine

WORKLOADS = ("embed", "ocr")
UTILISATION = {"flask": 0.85, "fastapi": 0.8, "zmq-batching": 0.5, "redis-batching": 0.55}
REPETITIONS = 5
RUNS = len(WORKLOADS) * len(UTILISATION) * REPETITIONS
RATE = 2000.0
WARM_UP_S, WARM_UP_SHARE = 1.0, 0.1     # of a run, at most
FEWEST = 100
LIMIT_S, LIMIT_MIB = 10.0, 1024.0
SAMPLE_S = 0.02

STEPS = {
    "analyse": "from pathlib import Path; from harness.analyse.summary import analyse; "
               "print(analyse(Path({folder!r}), baseline='flask').sentence)",
    "report": "from pathlib import Path; from harness.report.options import Options; "
              "from harness.report.write import report; "
              "print(report(Options({folder!r}, baseline='flask'), Path({out!r})).sentence)",
}


def simulated(count: int, utilisation: float, seed: int, warmup_s: float) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of a run of `count` requests at one server with exponential service; those before 0 warm it up."""
    rng = np.random.default_rng(seed)
    due_s = np.cumsum(rng.exponential(1 / RATE, count)) - warmup_s
    service_s = rng.exponential(utilisation / RATE, count)
    work_s = np.cumsum(service_s)
    wait_s = np.maximum.accumulate(due_s - (work_s - service_s)) + work_s - service_s - due_s
    lag_s = rng.gamma(4.0, 25e-6, count)
    sent_s, done_s = due_s + lag_s, due_s + lag_s + wait_s + service_s
    failed = rng.random(count) < 0.0005
    columns = {
        "seq": np.arange(count), "stage": np.where(due_s < 0, -1, 0), "due_ns": due_s * 1e9, "sent_ns": sent_s * 1e9,
        "first_byte_ns": done_s * 1e9 - 20_000, "done_ns": done_s * 1e9, "status": np.where(failed, 503, 200),
        "error": np.full(count, "", dtype=object), "bytes": rng.integers(3000, 3600, count),
        "batch": rng.integers(1, 9, count), "queue_us": wait_s * 1e6, "wait_us": np.zeros(count),
        "model_us": service_s * 1e6, "cold": np.arange(count) < 20, "judged": np.arange(count) % 50 == 0,
    }
    return {name: values if COLUMNS[name] == "string" else values.astype(COLUMNS[name])
            for name, values in columns.items()}


def write(folder: Path, rows: int) -> None:
    """The result set of about `rows` requests below `folder`."""
    each = rows // RUNS
    warmup_s = min(WARM_UP_S, WARM_UP_SHARE * each / RATE)
    seconds = each / RATE - warmup_s
    write_machine(folder, "simulated", {"schema": SCHEMA, "id": "simulated", "cpus": 4, "gpus": []})
    scenario = {"name": "steady", "title": "Steady", "question": "Is it kept?", "seed": 7, "warmup_s": warmup_s,
                "stage": [{"arrivals": "poisson", "duration_s": seconds, "rate": RATE}],
                "slo": {"p(99)": "< 20ms", "errors": "< 1%"}}
    for repetition in range(REPETITIONS):
        for number, workload in enumerate(WORKLOADS):
            for setup, utilisation in UTILISATION.items():
                with RunWriter(folder / "simulated", setup=setup, workload=workload, scenario="steady",
                               repetition=repetition) as writer:
                    columns = simulated(each, utilisation, 100 * repetition + number, warmup_s)
                    writer.write_requests(columns)
                    writer.write_probes([])
                    said = {"n": each, "cpu_s": 0.3 * seconds, "wall_s": seconds, "hiccup_realtime": True,
                            "hiccup_pauses_ns": []}
                    writer.finish(RunMeta(
                        schema=SCHEMA, run_id=writer.run_id, status="ok", reason="", setup=setup, workload=workload,
                        scenario="steady", load=1.0, repetition=repetition, block=repetition, order=0,
                        started_utc="2026-11-23T00:00:00Z", finished_utc="2026-11-23T00:10:00Z",
                        machine_id="simulated", plan="rows", baseline="flask", knobs={}, scenario_resolved=scenario,
                        setup_facts={}, workload_facts={}, seeds={}, server_cpus=[0, 1, 2], load_cpus=[3],
                        hashes={"setup": setup, "workload": workload, "scenario": "steady", "lock": setup},
                        versions={}, git={}, facts={"start_s": 1.0, "rows": each, "generators": [said]}))


def measured(code: str) -> dict[str, Any]:
    """`seconds`, `cpu_s`, greatest `peak_mib` of the process tree, and what was `said`, of a Python that runs `code`.

    Memory is the sum of the tree's resident sets, sampled; pages that processes share count in each.
    """
    started, cpu = time.perf_counter(), _cpu_s()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - started
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"the measured process ended with {process.returncode}")
    return {"seconds": round(seconds, 2), "cpu_s": round(_cpu_s() - cpu, 2), "peak_mib": round(peak / 2**20),
            "said": said.strip()}


def _cpu_s() -> float:
    """CPU seconds of every process that was waited for so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _resident(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            try:
                total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return total
    return total


def main() -> int:
    """0 when the limits hold, 1 when they do not."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    asked.add_argument("--rows", type=int, default=10_000_000)
    asked.add_argument("--keep", type=Path, help="keep the result set and the report in this folder")
    asked.add_argument("--json", action="store_true")
    options = asked.parse_args()
    if options.rows < FEWEST * RUNS:
        asked.error(f"--rows {options.rows}: fewer than {FEWEST} for each of {RUNS} runs; ask for {FEWEST * RUNS}")
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        results = place / "results"
        if not results.is_dir():
            write(results, options.rows)
        found = {step: measured(code.format(folder=str(results), out=str(place / "report")))
                 for step, code in STEPS.items()}
    kept = found["report"]["seconds"] <= LIMIT_S and all(step["peak_mib"] <= LIMIT_MIB for step in found.values())
    if options.json:
        print(json.dumps({"rows": options.rows, **found, "kept": kept}, indent=1))
    else:
        for name, step in found.items():
            print(f"{name:8} {step['seconds']:6.2f} s, {step['cpu_s']:6.2f} s of CPU, {step['peak_mib']:5.0f} MiB   "
                  f"{step['said'][:80]}…")
        print(f"{options.rows:,} rows: {'kept' if kept else 'BROKEN'} (limits {LIMIT_S:g} s, {LIMIT_MIB:g} MiB)")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
