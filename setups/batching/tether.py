"""Run a program that dies with this one's parent and is deaf to a stop signal meant for the group.

`python -m batching.tether PARENT_PID PROGRAM ARGUMENT...` becomes that program. A broker told to stop with the group
would take the requests in flight with it; the supervisor kills it when they are answered. Both settings survive exec.
"""

import os
import signal
import sys

from replica.lifeline import die_with_parent


def main() -> None:
    """Set up, then exec."""
    die_with_parent(int(sys.argv[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 no shell is meant


if __name__ == "__main__":
    main()
