"""`tailrace calibrate`: how far measurement can be trusted on this machine."""

import os
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.catalog.discover import cache_folder
from harness.cli.show import dump
from harness.load.calibrate import calibrate as measure
from harness.run.cores import split
from harness.run.locks import only_harness


def calibrate(quick: bool, as_json: bool) -> None:
    """How far measurement can be trusted here."""
    page = Console(stderr=as_json, soft_wrap=True)
    cores = split(os.sched_getaffinity(0))
    with only_harness(cache_folder()):
        made = measure(cores.load, cores.server, quick, lambda line: page.print(f"  {line}", highlight=False))
    if as_json:
        dump(made.as_dict())
        return
    for table in _calibration_tables(made.as_dict()):
        page.print(table)


def _calibration_tables(made: dict[str, Any]) -> list[Table]:
    floor = f"floor p50 {made['floor_p50_ms']:.3f} ms, p99 {made['floor_p99_ms']:.3f} ms; " \
            f"{'real-time' if made['realtime'] else 'ordinary'} priority; worst pause {made['hiccup_ms']:.2f} ms"
    parts = [
        (f"Sending on time: {made['rate_per_core']:,.0f} requests/s per core at lag p99 ≤ 0.2 ms ({floor})", "rates",
         ("rate", "lag_p50_ms", "lag_p99_ms", "lag_p999_ms", "best_lag_p99_ms", "latency_p50_ms", "latency_p99_ms")),
        ("Against a queue whose every departure is known", "oracle",
         ("rate", "n", "truth_p99_ms", "p99_ms", "p99_error", "truth_p999_ms", "p999_ms", "p999_error")),
        ("A stall of one second, and what each instrument reports", "stalls",
         ("instrument", "truth_p99_ms", "p99_ms", "error")),
    ]
    tables = []
    for title, key, columns in parts:
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for row in made[key]:
            table.add_row(*(_figure(column, row[column]) for column in columns))
        tables.append(table)
    verdict = Table(title="Targets", title_justify="left", box=None, show_header=False, padding=(0, 2))
    for name, met in made["met"].items():
        verdict.add_row(name, "met" if met else "not met")
    return [*tables, verdict]


def _figure(column: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if column.endswith("error"):
        return f"{value:+.2%}"
    return f"{value:,.0f}" if column == "rate" else f"{value:.3f}"
