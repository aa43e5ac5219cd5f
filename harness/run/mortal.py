"""Starts a program that the kernel ends with the process that asked for it: `python mortal.py PARENT PROGRAM ...`.

The process becomes the program: same pid, output and exit code. The standard library alone, and quick to start.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2): it outlasts an exec; the thread that started the child must live as long, too


def mortal(command: Sequence[str | Path]) -> list[str]:
    """The command as one that dies with this process, however that ends."""
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *map(str, command)]


def _become(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.execv(command[0], command)  # noqa: S606 -- no shell between, or the signal would reach that one


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
