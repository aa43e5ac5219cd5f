"""Runs a script of TorchServe's as Python would, but not longer than TorchServe: `worker.py SCRIPT ARGUMENT...`.

A worker that its Java process has not connected to yet would wait for it for ever. The kernel's own signal at a
parent's death cannot be used: it comes when the Java thread that started the worker ends.
"""

import os
import runpy
import sys
import threading
import time
from pathlib import Path

LOOK_S = 0.5


def watch(parent: int) -> None:
    """Ends this process when `parent` is no more."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
