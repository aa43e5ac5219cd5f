"""How the commands print."""

import json
import sys
from typing import Any

from rich.console import Console


def screen() -> Console:
    """Where tables go; lines are never cut."""
    return Console(soft_wrap=True)


def dump(value: Any) -> None:
    """JSON for a machine on standard output."""
    json.dump(value, sys.stdout, indent=1, default=str)
    print()
