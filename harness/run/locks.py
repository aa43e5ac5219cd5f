"""One harness measures on a machine at a time; two would measure each other."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import TailraceError


@contextmanager
def only_harness(folder: Path) -> Iterator[None]:
    """Holds the lock in `folder` (the cache); it goes with the process, however that ends.

    Raises TailraceError when another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "measuring.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TailraceError(f"another tailrace is measuring on this machine{_holder(path)}",
                                "wait until it has ended, or stop it") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": datetime.now(UTC).strftime("%H:%M:%S UTC")}, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {told['pid']} since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
