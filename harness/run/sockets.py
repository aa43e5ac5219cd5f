"""Which sockets a server listens on, from /proc; and ports nobody listens on."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_LISTEN = "0A"


class Listener(NamedTuple):
    """A listening TCP socket of a process."""

    pid: int
    address: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether something listens on that port, or it cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # answers of the past do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def listeners(pids: Iterable[int]) -> list[Listener]:
    """The listening TCP sockets, IPv4 and IPv6, that these processes hold."""
    listening = {**_table(Path("/proc/net/tcp")), **_table(Path("/proc/net/tcp6"))}
    found = set()
    for pid in pids:
        for inode in _socket_inodes(pid):
            if inode in listening:
                found.add(Listener(pid, *listening[inode]))
    return sorted(found)


def _table(path: Path) -> dict[str, tuple[str, int]]:
    """inode -> (address, port) of every listening socket."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return {}
    rows = [line.split() for line in lines]
    return {row[9]: _endpoint(row[1]) for row in rows if row[3] == _LISTEN}


def _endpoint(text: str) -> tuple[str, int]:
    """`0100007F:1F90` as ("127.0.0.1", 8080): each 32-bit word of the address is in host byte order."""
    words, port = text.split(":")
    packed = b"".join(int(words[i:i + 8], 16).to_bytes(4, "little") for i in range(0, len(words), 8))
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def _socket_inodes(pid: int) -> set[str]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return set()
    links = [_target(entry) for entry in entries]
    return {match[1] for link in links if (match := re.match(r"socket:\[(\d+)\]", link))}


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:  # closed since it was listed
        return ""
