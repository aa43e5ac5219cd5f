"""`tailrace check`: a setup's contract, point by point."""

from dataclasses import asdict

from rich.table import Table

from harness.catalog.discover import cache_folder, find_catalog
from harness.cli.show import dump, screen
from harness.errors import Exit
from harness.run.conformance import check as prove
from harness.run.locks import only_harness


def check(name: str, workload: str, as_json: bool) -> int:
    """The points of a setup's contract; 99 when one fails."""
    found = find_catalog()
    subject, served = found.setup(name), found.workload(workload)
    log = screen(stderr=as_json)
    with only_harness(cache_folder()):
        points = prove(subject, served, lambda line: log.print(f"  {line}", markup=False, highlight=False))
    if as_json:
        dump({"setup": name, "workload": workload, "points": [asdict(point) for point in points]})
    else:
        table = Table(title=f"{name} serving {workload}", title_justify="left", box=None, padding=(0, 2))
        for head in ("point", "", "what was seen"):
            table.add_column(head)
        for point in points:
            tone = {"passed": "green", "failed": "red"}.get(point.verdict, "dim")
            table.add_row(point.code, f"[{tone}]{point.verdict}[/]", point.message)
        screen().print(table)
    return Exit.BROKEN_PROMISE if any(point.verdict == "failed" for point in points) else Exit.OK
