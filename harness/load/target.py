"""A server whose delays are known exactly: the measuring stick of `tailrace calibrate`.

Run as a script (standard library only). One FIFO queue, one server: the body of a POST is its service time in ns, and
its answer leaves at Lindley's departure time max(arrival, last departure) + service, where arrival is when it was
read. No service starts during a stall. It prints {"port": …} and, when its input ends, what it did.
"""

import argparse
import array
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
SPIN_NS = 20_000
NEVER = 1 << 62
REALTIME_PRIORITY = 10
_NS = 1_000_000_000
_libc = ctypes.CDLL(None, use_errno=True)
now = time.monotonic_ns


class Target:
    """The server and its queue. Departures nearer than 20 µs are waited for without sleeping."""

    def __init__(self, stall_after_s: float, stall_s: float) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self.timer = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        self.epoll.register(self.timer, select.EPOLLIN)
        self.value = (ctypes.c_long * 4)()
        self.armed_ns = 0
        self.peers: dict[int, socket.socket] = {}
        self.partial: dict[int, bytes] = {}
        self.leaving: deque[tuple[int, socket.socket]] = deque()
        self.last_ns = 0
        self.late_ns = array.array("q")
        self.stall_after_ns, self.stall_ns = round(stall_after_s * _NS), round(stall_s * _NS)
        self.stall_from_ns = NEVER

    def serve(self) -> None:
        """Serves until standard input ends."""
        listener, stdin = self.listener.fileno(), sys.stdin.fileno()
        while True:
            for descriptor, _ in self.epoll.poll(self.patience()):
                if descriptor in self.peers:
                    self.read(descriptor)
                elif descriptor == listener:
                    self.accept()
                elif descriptor == stdin and not os.read(stdin, 4096):
                    return
                self.depart()
            self.depart()

    def patience(self) -> int:
        """0 to come back at once for a near departure, else −1 with the timer armed for the next one."""
        if not self.leaving:
            return -1
        wake_ns = self.leaving[0][0] - SPIN_NS
        if wake_ns <= now():
            return 0
        if wake_ns != self.armed_ns:
            self.armed_ns = wake_ns
            self.value[2], self.value[3] = divmod(wake_ns, _NS)
            _libc.timerfd_settime(self.timer, 1, self.value, None)
        return -1

    def accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except BlockingIOError:
                return
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers[peer.fileno()] = peer
            self.epoll.register(peer.fileno(), select.EPOLLIN)

    def read(self, descriptor: int) -> None:
        """Takes in what came; a whole request enters the queue."""
        peer = self.peers[descriptor]
        try:
            data = peer.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        arrival_ns = now()
        if not data:
            del self.peers[descriptor]
            self.partial.pop(descriptor, None)
            peer.close()
            return
        if descriptor in self.partial:
            data = self.partial.pop(descriptor) + data
        service_ns = service_time_ns(data)
        if service_ns < 0:
            self.partial[descriptor] = data
        else:
            self.enter(arrival_ns, service_ns, peer)

    def enter(self, arrival_ns: int, service_ns: int, peer: socket.socket) -> None:
        if self.stall_ns and self.stall_from_ns == NEVER:
            self.stall_from_ns = arrival_ns + self.stall_after_ns
        start_ns = max(arrival_ns, self.last_ns)
        if self.stall_from_ns <= start_ns < self.stall_from_ns + self.stall_ns:
            start_ns = self.stall_from_ns + self.stall_ns
        self.last_ns = start_ns + service_ns
        self.leaving.append((self.last_ns, peer))

    def depart(self) -> None:
        """Sends every answer whose time has come."""
        leaving = self.leaving
        while leaving:
            moment = now()
            due_ns, peer = leaving[0]
            if due_ns > moment:
                return
            leaving.popleft()
            self.late_ns.append(moment - due_ns)
            try:
                peer.send(ANSWER)
            except OSError:
                continue  # the peer gave up; its hang-up is read elsewhere


def service_time_ns(data: bytes) -> int:
    """The service time a whole request asks for; −1 while it is not whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return -1
    lowered = data[:head].lower()
    at = lowered.find(b"content-length:")
    if at < 0:
        return 0
    end = lowered.find(b"\r\n", at)
    length = int(lowered[at + 15:end if end >= 0 else head])
    body = data[head + 4:]
    return int(body) if len(body) == length else -1


def quantile(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--stall-after-s", type=float, default=0.0)
    parser.add_argument("--stall-s", type=float, default=0.0)
    given = parser.parse_args()
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it never outlives who started it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    target = Target(given.stall_after_s, given.stall_s)
    sys.stdout.write(json.dumps({"port": target.listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    gc.disable()
    target.serve()
    late = sorted(target.late_ns)
    told = {"served": len(late), "stall_from_ns": target.stall_from_ns if target.stall_ns else None,
            **{f"late_{name}_us": quantile(late, share) / 1e3 for name, share in
               (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))}}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
