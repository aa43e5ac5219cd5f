"""Becomes uvicorn, with as many workers as asked for or as a GPU has room for."""

import os
import sys
from pathlib import Path

from replica.room import replicas


def main() -> None:
    """uvicorn as its documentation has it behind keep-alive clients."""
    uvicorn = str(Path(sys.executable).with_name("uvicorn"))
    os.execv(uvicorn, [  # noqa: S606 no shell is meant
        uvicorn, "server:app", "--host", os.environ["HOST"], "--port", os.environ["PORT"], "--workers", str(replicas()),
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
        "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "8"])


if __name__ == "__main__":
    main()
