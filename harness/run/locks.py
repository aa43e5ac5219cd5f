"""One harness measures on a machine at a time; two would measure each other."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import TailraceError

ENVIRONMENT = "TAILRACE_LOCK"  # another name than the machine's: for tests, whose servers are toys
_PEER = struct.Struct("3i")    # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)


@contextmanager
def only_harness() -> Iterator[None]:
    """Holds this machine's lock, whoever the user and wherever the cache: a listening Unix socket with an abstract
    name, which no file system holds and which goes with the process, however that ends.

    Raises TailraceError when another process holds it.
    """
    name = f"\0tailrace-{os.environ.get(ENVIRONMENT, 'measuring')}"
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(name)
        except OSError:
            raise TailraceError(f"another tailrace is measuring on this machine{_holder(name)}",
                                "wait until it has ended, or stop it") from None
        held.listen()
        yield


def _holder(name: str) -> str:
    """` (process 4711 since 12:00:00 UTC)`: the process that listens, and when it started; "" where it cannot be
    seen from here."""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1.0)
            asking.connect(name)
            pid = _PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        return f" (process {pid} since {_started(pid):%H:%M:%S} UTC)"
    except (OSError, ValueError, IndexError):
        return ""


def _started(pid: int) -> datetime:
    """When the process began, from its ticks since boot (proc_pid_stat(5), field 22) and btime (proc_stat(5))."""
    after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    kernel = Path("/proc/stat").read_text("utf-8").splitlines()
    [boot] = [line.split()[1] for line in kernel if line.startswith("btime")]
    return datetime.fromtimestamp(int(boot) + int(after_name[19]) / os.sysconf("SC_CLK_TCK"), UTC)
