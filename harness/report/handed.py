"""How the process that reports hands its kernel what it found, so that records are read once."""

import pickle
import time
from pathlib import Path

from harness.analyse.model import Analysis
from harness.errors import TailraceError
from harness.report.rows import Drawings

HANDED = "TAILRACE_ANALYSIS"    # names, in the kernel's environment, the file in which it finds that
PATIENCE_S = 600.0


def hand(found: tuple[Analysis, Drawings] | None, path: Path) -> None:
    """Leaves what was found for the kernel that waits for it; None: nothing could be. Nobody else may write to the
    folder of `path`: what lies there is run."""
    aside = path.with_suffix(".part")
    aside.write_bytes(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
    aside.rename(path)


def received(path: Path) -> tuple[Analysis, Drawings]:
    """What `hand` leaves at `path`. Raises TailraceError when nothing could be found."""
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > until:
            raise TailraceError(f"{path}: no analysis came within {PATIENCE_S:g} s", "make the report again")
        time.sleep(0.02)
    found: tuple[Analysis, Drawings] | None = pickle.loads(path.read_bytes())  # noqa: S301 -- our own, from a folder of our own
    if found is None:
        raise TailraceError("the records could not be analysed", "the report's own message says why")
    return found
