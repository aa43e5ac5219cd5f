"""From the start of a server to its first right answers, or the reason why not."""

import time
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from harness.catalog.setup import Setup
from harness.errors import RunFailedError
from harness.run.agent import Agent
from harness.run.exchange import FAILURES, Reply
from harness.run.process import Server
from harness.run.sockets import is_taken, listeners
from harness.run.warden import descendants
from harness.run.wire import Wire

_POLL_S = 0.05
_PATIENCE_S = 5.0
_HANDOVER_S = 1.0


class PortTakenError(RunFailedError):
    """Something else listens on the port that the server was given."""


def await_ready(server: Server, setup: Setup, port: int, log: Path) -> None:
    """Returns once the setup says ready. Raises RunFailedError when it ends or the time is up, PortTakenError when
    another process has its port."""
    deadline = time.monotonic() + setup.ready_timeout_s
    said = "nothing answered"
    while time.monotonic() < deadline:
        if server.exited():
            raise _ended_early(server, port, log)
        try:
            reply = _asked(server, Wire(setup, port))
        except FAILURES as error:
            said = f"the last try ended with {_words(error)}"
        else:
            if reply.status == 200:
                return _own(server, port, log)
            said = f"the last answer was {reply.status}{_excerpt(reply)}"
        time.sleep(_POLL_S)
    raise RunFailedError(f"{setup.ready} was not ready within {setup.ready_timeout_s:g} s: {said}{last_line(log)}",
                         "look at server.log, or raise ready_timeout_s")


def refuse_open(server: Server, port: int) -> list[str]:
    """Which of the server's other sockets the network can reach, as `address:port`. Raises RunFailedError when it can
    reach the port of the setup itself."""
    reachable = [each for each in listeners(descendants(server.warden_pid)) if not each.is_local]
    for each in reachable:
        if each.port == port:
            raise RunFailedError(f"the server listens on {each.address}:{port}, which the network can reach",
                                 "bind it to {host} in `command`")
    return sorted({f"{each.address}:{each.port}" for each in reachable})


def answer_golden(setup: Setup, port: int, agent: Agent, timeout_s: float) -> float:
    """Sends every golden request, one at a time; the monotonic time of the first answer. Raises RunFailedError for the
    first that fails or is answered wrongly."""
    wire = Wire(setup, port, agent.content_type())
    first_s = 0.0
    answers: list[tuple[int, bytes]] = []
    for number, (body, _) in enumerate(agent.golden()):
        try:
            reply = wire.predict(body, timeout_s)
        except TimeoutError:
            raise RunFailedError(f"golden request {number + 1} was not answered within {timeout_s:g} s",
                                 "`ready` must not say 200 before a prediction would succeed") from None
        except FAILURES as error:
            raise RunFailedError(f"golden request {number + 1} ended with {_words(error)}",
                                 "look at server.log") from None
        if reply.status != 200:
            raise RunFailedError(f"{setup.ready} said ready, but golden request {number + 1} got "
                                 f"{reply.status}{_excerpt(reply)}", "`ready` must not lie; look at server.log")
        first_s = first_s or time.monotonic()
        answers.append((number, reply.body))
    for (number, _), why in zip(answers, agent.same(answers), strict=True):
        if why:
            raise RunFailedError(f"golden request {number + 1} is answered wrongly: {why}",
                                 "the setup must serve what the workload's predict computes")
    return first_s


def last_line(log: Path) -> str:
    """`; its last word: …` of a server's log, or ""."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    words = [line for line in lines if line]
    return f"; its last word: {words[-1][:300]}" if words else ""


def _asked(server: Server, wire: Wire) -> Reply:
    """What it answers to "are you ready?". A server that has ended is not waited for: whoever has its port may accept
    connections and never answer. Raises one of FAILURES."""
    heard: SimpleQueue[Reply | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            heard.put(wire.ready(_PATIENCE_S))
        except Exception as error:  # raised again below
            heard.put(error)

    Thread(target=ask, daemon=True).start()
    while True:
        try:
            said = heard.get(timeout=_POLL_S)
        except Empty:
            if server.exited():
                raise ConnectionAbortedError("the end of the server") from None
        else:
            if isinstance(said, Exception):
                raise said
            return said


def _own(server: Server, port: int, log: Path) -> None:
    """Raises PortTakenError unless the listener on the port belongs to the server. A server that hands its listener
    from one process to the next, as HAProxy does on a reload, is seen with none for a moment."""
    until_s = time.monotonic() + _HANDOVER_S
    while port not in {each.port for each in listeners(descendants(server.warden_pid))} and not server.exited():
        if time.monotonic() > until_s:
            raise PortTakenError(f"another process answers on port {port}{last_line(log)}", "try again")
        time.sleep(_POLL_S)


def _ended_early(server: Server, port: int, log: Path) -> RunFailedError:
    stopped = server.stop()
    if is_taken(port):
        return PortTakenError(f"port {port} is taken by another process{last_line(log)}",
                              "stop whatever listens there, or try again")
    how = ended_how(stopped.code)
    if stopped.left:
        names = ", ".join(sorted({process.rpartition(" (")[0] for process in stopped.left}))
        return RunFailedError(f"the server {how} before it was ready and left {names} in the background",
                              "make it run in the foreground")
    return RunFailedError(f"the server {how} before it was ready{last_line(log)}", "look at server.log")


def ended_how(code: int | None) -> str:
    """An exit code as a verb."""
    if code is None:
        return "ended"
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _excerpt(reply: Reply) -> str:
    said = " ".join(reply.body[:200].decode(errors="replace").split())
    return f" ({said})" if said else ""
