"""Names of what a run leaves on disk: results/<machine>/<run>/, and the files in it."""

import re
from datetime import UTC, datetime
from pathlib import Path

REQUESTS = "requests.parquet"
PROBES = "probes.parquet"
PAYLOADS = "payloads.parquet"
SERVER_LOG = "server.log"
LOAD_LOG = "load.log"
METRICS, METRICS_BEFORE = "metrics.txt", "metrics-before.txt"
STATISTICS, STATISTICS_BEFORE = "statistics.json", "statistics-before.json"
RUN = "run.json"
MACHINE = "machine.json"
CAPACITY = "capacity"  # folders beside the runs, not ones of them
CONFORMANCE = "conformance"
PROFILES = "profiles"

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def run_name(started: datetime, *, setup: str, workload: str, scenario: str, load: float, repetition: int) -> str:
    """`<UTC>-<setup>-<workload>-<scenario>[@load]-r<rep>`; sorts by time; the load is left out where it is 1."""
    stamp = started.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    at = "" if load == 1 else f"@{load:g}"
    parts = (_UNSAFE.sub("_", part).rstrip("_") for part in (setup, workload, scenario))
    return f"{stamp}-{'-'.join(parts)}{at}-r{repetition}"


def run_folders(results: Path) -> list[Path]:
    """Every run's folder, finished or not, oldest first: below a results folder, below one machine's folder, or the
    one folder that `results` is itself."""
    if (results / RUN).is_file():
        return [results]
    machines = [results] if (results / MACHINE).is_file() else [path.parent for path in results.glob(f"*/{MACHINE}")]
    return sorted((run for machine in machines for run in machine.iterdir()
                   if run.is_dir() and run.name not in (CAPACITY, CONFORMANCE, PROFILES)), key=lambda run: run.name)
