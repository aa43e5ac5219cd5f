"""`tailrace calibrate`: how far measurement can be trusted on this machine."""

import os

from harness.cli.show import dump, grid, screen
from harness.load.calibrate import calibrate as measure
from harness.run.cores import split
from harness.run.locks import only_harness


def calibrate(quick: bool, as_json: bool) -> None:
    """How far measurement can be trusted here."""
    page = screen(stderr=as_json)
    cores = split(os.sched_getaffinity(0))
    with only_harness():
        made = measure(cores.load, cores.server, quick, lambda line: page.print(f"  {line}", highlight=False))
    if as_json:
        dump(made.as_dict())
        return
    for each in made.tables():
        page.print(grid(each.title, each.columns, each.rows))
