"""What Locust itself reports of the same target: the p99 of its own statistics."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from harness.errors import RunFailedError

USERS = 10
FILE = Path(__file__).with_name("stock_locustfile.py")


def reported_p99_ms(kind: Literal["Fast", "Plain"], port: int, cpu: int, rate: float, *, duration_s: int,
                    folder: Path) -> float:
    """The p99 in ms that `locust --csv` writes for ten users of FastHttpUser (Fast) or HttpUser (Plain) with
    constant_throughput at `rate` in all. Raises RunFailedError."""
    command = [sys.executable, "-m", "locust", "-f", str(FILE), kind, "--headless", "--only-summary", "-u", str(USERS),
               "-r", str(USERS), "-t", f"{duration_s}s", "--host", f"http://127.0.0.1:{port}",
               "--csv", str(folder / kind)]
    settings = {**os.environ, "STOCK_CPU": str(cpu), "STOCK_RATE": str(rate / USERS)}
    try:
        subprocess.run(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
                       timeout=duration_s + 60)
        with (folder / f"{kind}_stats.csv").open(newline="") as file:
            total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    except (subprocess.TimeoutExpired, OSError, StopIteration) as error:
        raise RunFailedError(f"stock Locust left no statistics: {error}", "run `locust --version`") from None
    return float(total["99%"])
