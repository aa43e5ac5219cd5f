"""Points of the contract under load: health survives it, a full queue refuses, the end loses and leaves nothing."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RunFailedError
from harness.run.exchange import FAILURES
from harness.run.process import Stopped
from harness.run.sockets import is_taken, listeners
from harness.run.subject import ANSWER_S, Subject
from harness.run.warden import descendants

CLIENTS = 16
LOAD_S = 0.7
AT_ONCE = 300
SMALL_QUEUE = 4
STALL_S = 15.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- looked at, never written
_PATIENCE_S = 5.0
_ARRIVED_S = 0.05  # a request written by then is with the server, also on a busy machine
_RETRY_S = 0.02
_POLL_S = 0.05
_BURSTS_S = 8.0


def health_under_load(subject: Subject) -> str:
    """`ready` keeps saying 200 within _PATIENCE_S while clients keep the server busy, and predictions go on after."""
    slowest_s = 0.0
    with Load(subject):
        until_s = time.monotonic() + LOAD_S * 2
        while time.monotonic() < until_s:
            asked_s = time.monotonic()
            status = subject.ready().status
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
            if status != 200 or slowest_s > _PATIENCE_S:
                raise RunFailedError(f"under load ready said {status} after {slowest_s:.1f} s")
            time.sleep(_POLL_S)
    after = subject.predict(subject.golden[0][0]).status
    if after != 200:
        raise RunFailedError(f"after load a prediction got {after}")
    return f"ready within {slowest_s * 1e3:.0f} ms while {CLIENTS} clients kept it busy"


def full_queue(subject: Subject, bounded: bool) -> str:
    """AT_ONCE requests at once, again until one is refused: 503 for what does not fit, nothing else, and no stall.
    `bounded` tells whether the server was given a small queue. Raises RunFailedError where nothing is refused."""
    body, _ = subject.golden[0]
    until_s = time.monotonic() + _BURSTS_S
    while True:
        begun_s = time.monotonic()
        replies = subject.at_once([body] * AT_ONCE)
        took_s = time.monotonic() - begun_s
        refused = [reply for reply in replies if reply.status == 503]
        strange = [reply.status for reply in replies if reply.status not in (200, 503)]
        if strange:
            raise RunFailedError(f"{len(strange)} of {AT_ONCE} requests at once got {strange[0]} instead of 503")
        if any(not reply.body.strip() for reply in refused):
            raise RunFailedError("503 without a message")
        if refused and took_s > STALL_S:
            raise RunFailedError(f"it took {took_s:.0f} s until {AT_ONCE} requests at once were answered or refused")
        if refused:
            again = ", with Retry-After" if "retry-after" in refused[0].headers else ""
            return f"{len(refused)} of {AT_ONCE} requests at once got 503{again}; all ended within {took_s:.1f} s"
        if not bounded or time.monotonic() > until_s:
            why = f"with a queue of {SMALL_QUEUE}" if bounded else "no knob named `queue` bounds what may wait"
            raise RunFailedError(f"{AT_ONCE} requests at once all waited, up to {took_s:.1f} s ({why})")


class Load:
    """CLIENTS clients, each sending golden requests on its own connection until it is left."""

    def __init__(self, subject: Subject) -> None:
        self._wire = subject.wire
        self._body = subject.golden[0][0]
        self._over = threading.Event()
        self._ended: list[tuple[float, float, str]] = []
        self._threads = [threading.Thread(target=self._repeat, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_S)

    def verdict(self, stop_begun_s: float, limit_s: float) -> str:
        """Raises RunFailedError unless every request that was surely with the server at SIGTERM was answered or
        refused (503, 504), at most `limit_s` later."""
        flying = [(done_s, how) for sent_s, done_s, how in self._ended if sent_s < stop_begun_s - _ARRIVED_S]
        lost = [how for _, how in flying if how]
        if any(thread.is_alive() for thread in self._threads):
            raise RunFailedError("some requests hang although the server has ended")
        if lost:
            raise RunFailedError(f"{len(lost)} of the requests in flight at SIGTERM got no answer: {lost[0]}",
                                 "stop accepting, answer what was accepted, then end")
        latest_s = max((done_s for done_s, _ in flying), default=stop_begun_s) - stop_begun_s
        if latest_s > limit_s:
            raise RunFailedError(f"the last request in flight at SIGTERM was answered {latest_s:.1f} s after it")
        return f"{len(flying)} requests before SIGTERM, all answered, the last {max(latest_s, 0.0):.2f} s after it"

    def _repeat(self) -> None:
        with self._wire.connected(ANSWER_S) as ask:
            while not self._over.is_set():
                sent_s, how = time.monotonic(), ""
                try:
                    status = ask(self._body).status
                    how = "" if status in (200, 503, 504) else f"status {status}"
                except FAILURES as error:
                    how = str(error) or type(error).__name__
                    self._over.wait(_RETRY_S)
                self._ended.append((sent_s, time.monotonic(), how))


@dataclass(frozen=True)
class Held:
    """What a running server holds that could outlive it: ports, and names in shared memory."""

    ports: tuple[int, ...]
    shared: tuple[str, ...]


def held(subject: Subject) -> Held:
    """What the server's processes hold now."""
    pids = list(descendants(subject.server.warden_pid))
    return Held(tuple(sorted({each.port for each in listeners(pids)})), tuple(sorted(_shared(pids))))


def nothing_left(temporary: Path, stopped: Stopped, before: Held) -> str:
    """No process, port, name in shared memory, file or folder of its own. Raises RunFailedError naming some."""
    left = [f"process {name}" for name in stopped.left]
    left += [f"{'folder' if path.is_dir() else 'file'} {path.relative_to(temporary)}"
             for path in sorted(temporary.rglob("*"))]
    left += [f"port {port}" for port in before.ports if is_taken(port)]
    left += [f"shared memory {name}" for name in before.shared if (SHARED_MEMORY / name).exists()]
    if left:
        raise RunFailedError(f"left behind: {', '.join(left[:5])}", "clean up before the first process ends")
    return "no process, no socket, no temporary file"


def _shared(pids: Iterable[int]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        paths = [line.split(maxsplit=5)[5] for line in lines if f"{SHARED_MEMORY}/" in line]
        found |= {Path(path).name for path in paths if not path.endswith(" (deleted)")}
    return found
