"""How the commands print."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.record.plain import plain

PLAIN_WIDTH = 140
MANY = 10  # columns, from which on they stand closer


def screen(stderr: bool = False) -> Console:
    """Where tables go. Where that is no terminal they get room enough, whatever the terminal's width may be."""
    page = Console(stderr=stderr, soft_wrap=True)
    return page if page.is_terminal else Console(stderr=stderr, soft_wrap=True, width=PLAIN_WIDTH)


def dump(value: Any) -> None:
    """JSON for a machine on standard output; figures that JSON has no word for as null."""
    json.dump(plain(value), sys.stdout, indent=1, default=str, allow_nan=False)
    print()


def grid(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose first column is words and whose others are figures, none of which is ever cut short."""
    apart = 2 if len(head) < MANY else 1
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, apart))
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
