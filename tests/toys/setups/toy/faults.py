"""A server that does a millisecond of work for each answer, with one fault: `python -m toy.faults FAULT`."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

import model
from toy.habits import Toy, serve

BLOCK = b"x" * 1_500_000  # hashing it takes about a millisecond, with the interpreter's lock released
BEFORE = 60               # predictions that are right: the golden ones, and some of the warm-up


class Faulty(Toy):
    """The toy server, whose predictions go through the method that its fault names."""

    def __init__(self, fault: str) -> None:
        super().__init__("calm")
        self.fault = fault
        self.known: dict[bytes, bytes] = {}
        self.child: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()
        self.calls = 0
        self.doors: list[socket.socket] = []
        self.timing = "queue;dur=0.0, wait;dur=0.0, model;dur=0.4"

    def begin(self) -> None:
        """What shows from the start."""
        if self.fault == "closes-connections":
            self.closes_after = 1
        elif self.fault == "churns-connections":
            self.closes_after = 6
        elif self.fault == "moves-cores":
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        elif self.fault == "lies-about-time":
            self.timing = "queue;dur=5, wait;dur=0, model;dur=80"
        elif self.fault == "loses-a-worker":
            self.child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        elif self.fault == "opens-a-side-door":
            self.doors.append(socket.create_server(("0.0.0.0", 0)))
        elif self.fault == "pauses":
            threading.Thread(target=self.pause_often, daemon=True).start()

    def predict(self, body: bytes) -> tuple[int, bytes]:
        self.calls += 1
        faulty = getattr(self, self.fault.replace("-", "_"), None)
        if faulty and (self.calls > BEFORE or self.fault == "was-busy-before"):
            return faulty(body)
        return self.right(body)

    def right(self, body: bytes, factor: int = 2) -> tuple[int, bytes]:
        self.predictions += 1
        hashlib.sha256(BLOCK).digest()
        with self.lock:  # held while it pauses
            return 200, model.encode(model.predict(factor, [model.decode(body)])[0])

    def answers_wrongly(self, body: bytes) -> tuple[int, bytes]:
        return self.right(body, 3 if self.calls % 4 == 0 else 2)

    def answers_emptily(self, body: bytes) -> tuple[int, bytes]:
        return (200, b"") if self.calls % 4 == 0 else self.right(body)

    def answers_the_same(self, body: bytes) -> tuple[int, bytes]:
        if not self.known:
            self.known[b""] = self.right(body)[1]
        return 200, self.known[b""]

    def swallows_failures(self, body: bytes) -> tuple[int, bytes]:
        return (200, b'{"error": "out of memory"}') if self.calls % 8 == 0 else self.right(body)

    def refuses(self, body: bytes) -> tuple[int, bytes]:
        return (503, b"the queue is full") if self.calls % 4 == 0 else self.right(body)

    def remembers(self, body: bytes) -> tuple[int, bytes]:
        if body not in self.known:
            time.sleep(0.004)
            self.known[body] = self.right(body)[1]
        return 200, self.known[body]

    def retries(self, body: bytes) -> tuple[int, bytes]:
        if self.calls % 5 == 0:
            self.right(body)
        return self.right(body)

    def warms_up_late(self, body: bytes) -> tuple[int, bytes]:
        time.sleep(0.006 if self.calls < 250 else 0)
        return self.right(body)

    def drifts(self, body: bytes) -> tuple[int, bytes]:
        time.sleep(self.calls * 8e-6)
        return self.right(body)

    def was_busy_before(self, body: bytes) -> tuple[int, bytes]:
        """The golden requests are answered at once, the first of the load as though others stood before them."""
        if 8 < self.calls < 40:
            time.sleep(0.05)
        return self.right(body)

    def is_slow(self, body: bytes) -> tuple[int, bytes]:
        with self.lock:
            time.sleep(0.006)
        return self.right(body)

    def loses_a_worker(self, body: bytes) -> tuple[int, bytes]:
        if self.child and self.calls > 4 * BEFORE:
            child, self.child = self.child, None
            child.kill()
            child.wait()
        return self.right(body)

    def pause_often(self) -> None:
        while True:
            time.sleep(0.3)
            with self.lock:
                time.sleep(0.08)


def main() -> None:
    toy = Faulty(sys.argv[1])
    toy.begin()
    serve(toy, os.environ["HOST"])


if __name__ == "__main__":
    main()
