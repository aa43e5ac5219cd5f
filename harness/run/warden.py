"""Starts a command and ends it, with every process it left, however deep; standard library only.

Run as `python -I -S warden.py`, in a session of its own. The first line on standard input is JSON: the fields of
`Command` in process.py. A line `stop`, the end of input (the harness died) or SIGTERM ends the command: SIGTERM to its
process group; once its first process is gone, SIGTERM to what else descends from it; SIGKILL to all that is left when
the time is up. Descendants cannot escape: the warden is their subreaper.

Standard output carries JSON lines: `{"event": "started", "pid"}` or `{"event": "refused", "why"}`,
`{"event": "exited", "code"}` (negative: the signal), and last `{"event": "stopped", "code", "left", "killed",
"survived", "seconds"}`, where the lists name processes as `name (pid)`.
"""

import collections
import collections.abc
import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import time
from typing import Any, NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TAIL_BYTES = 64 * 1024
GRACE_S = 0.3
KILL_S = 10.0
LIBC = ctypes.CDLL(None, use_errno=True)


class Process(NamedTuple):
    """A living process."""

    name: str
    parent: int
    group: int


class Log:
    """The command's output in a file: all of it up to a cap, then only the last 64 KiB, with a note in between."""

    def __init__(self, path: str, cap: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._room = cap
        self._left_out = self._tail_bytes = 0
        self._tail: collections.deque[bytes] = collections.deque()

    def write(self, data: bytes) -> None:
        """Keeps the data, or its last part."""
        kept, rest = data[:self._room], data[self._room:]
        self._room -= len(kept)
        if kept:
            self._put(kept)
        if not rest:
            return
        self._tail.append(rest)
        self._tail_bytes += len(rest)
        while len(self._tail) > 1 and self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail[0])
            self._left_out += len(self._tail.popleft())

    def close(self) -> None:
        """Writes what was kept of the end."""
        tail = b"".join(self._tail)
        left_out = self._left_out + max(0, len(tail) - TAIL_BYTES)
        if tail:
            self._put(f"\n[tailrace: {left_out} bytes of output left out here]\n".encode() + tail[-TAIL_BYTES:])
        os.close(self._file)

    def _put(self, data: bytes) -> None:
        try:
            os.write(self._file, data)
        except OSError:
            self._room = 0  # a full disk must not end the run; the writer of the record will say so


class Ward:
    """The command and all that descends from it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._stop_s = float(spec["stop_timeout_s"])
        self._log = Log(spec["log"], spec["log_cap_bytes"])
        self._output, self._write_end = os.pipe()
        self._commands = b""
        self._selector = selectors.DefaultSelector()
        self._code: int | None = None
        self._killed: dict[int, str] = {}
        self._killing = self._orphaned = False
        self._alone = False  # no child is left, says the kernel; orphans become children
        self._pid = 0

    def start(self) -> str:
        """Starts the command; why it could not, or ""."""
        error_read, error_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become(self._spec, self._write_end, error_write)
        os.close(self._write_end)
        os.close(error_write)
        with os.fdopen(error_read, "rb") as told:
            why = told.read().decode(errors="replace")
        if self._spec["cpus"]:
            os.sched_setaffinity(0, self._spec["cpus"])  # whoever floods the log pays for reading it
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for handle in (0, self._output, woken):
            os.set_blocking(handle, False)
            self._selector.register(handle, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return why

    def watch(self) -> None:
        """Returns when the command is to be ended."""
        say(event="started", pid=self._pid)
        ended: list[int] = []
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda number, _: ended.append(number))
        said = False
        while not ended and self._turn(1.0):
            if self._code is not None and not said:
                said = True
                say(event="exited", code=self._code)

    def stop(self) -> None:
        """Ends every process; returns when none is left, or none that can be ended."""
        deadline = (begun := time.monotonic()) + self._stop_s
        if self._code is None:
            _kill(-self._pid, signal.SIGTERM)
        self._turn_until(deadline, lambda: self._code is not None)
        self._turn_until(min(deadline, time.monotonic() + GRACE_S), lambda: self._alone)
        left = self._living()
        for pid, process in left.items():
            if process.group != self._pid:
                _kill(pid, signal.SIGTERM)
        self._turn_until(deadline, lambda: self._alone)
        self._killing = True
        give_up = time.monotonic() + KILL_S
        while not self._alone and time.monotonic() < give_up:
            for pid, process in descendants().items():
                self._killed[pid] = process.name
                _kill(pid, signal.SIGKILL)
            self._turn(0.02)
        self._reap()
        self._drain()
        self._log.close()
        if self._orphaned and self._spec["remove_if_orphaned"]:
            shutil.rmtree(self._spec["remove_if_orphaned"], ignore_errors=True)
        say(event="stopped", code=self._code, left=[f"{process.name} ({pid})" for pid, process in left.items()],
            killed=[f"{name} ({pid})" for pid, name in self._killed.items()],
            survived=[f"{process.name} ({pid})" for pid, process in descendants().items()],
            seconds=round(time.monotonic() - begun, 3))

    def _turn_until(self, deadline: float, done: collections.abc.Callable[[], bool]) -> None:
        while not done() and (rest := deadline - time.monotonic()) > 0:
            self._turn(min(rest, 0.05))

    def _turn(self, timeout_s: float) -> bool:
        """Moves output to the log and buries the dead; False once the harness wants an end or has died."""
        going = True
        for key, _ in self._selector.select(timeout_s):
            if key.fd == 0:
                going = self._hear()
            elif key.fd == self._output:
                self._drain()
            else:
                os.read(key.fd, 512)
        self._reap()
        return going

    def _hear(self) -> bool:
        data = os.read(0, 4096)
        self._commands += data
        if data and b"stop\n" not in self._commands:
            return True
        self._orphaned = not data
        self._selector.unregister(0)
        return False

    def _drain(self) -> None:
        """At most a megabyte at a time, so that a flood does not keep the warden from its other duties."""
        for _ in range(16):
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            if not data:
                if self._output in self._selector.get_map():
                    self._selector.unregister(self._output)
                return
            self._log.write(data)

    def _living(self) -> dict[int, Process]:
        """What descends from this process. A scan misses what is forked behind it: an empty one needs no child left."""
        give_up = time.monotonic() + GRACE_S
        while not (found := descendants()) and not self._alone and time.monotonic() < give_up:
            self._turn(0.01)
        return found

    def _reap(self) -> None:
        """Buries the dead. While killing, it kills the group of each too: no scan finds who always forks and ends."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._alone = True
                return
            if dead is None:
                return
            group = os.getpgid(dead.si_pid)
            _, status = os.waitpid(dead.si_pid, 0)
            if self._killing and group != os.getpgrp() and _kill(-group, signal.SIGKILL):
                self._killed.setdefault(group, "processes of group")
            if dead.si_pid == self._pid:
                self._code = os.waitstatus_to_exitcode(status)
                self._drain()


def descendants(root: int = 0) -> dict[int, Process]:
    """Every living process (no zombies) that descends from `root` (0: this one), by pid."""
    everyone: dict[int, Process] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 -- this scan runs while a server is measured
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123 -- as above
                head, _, rest = file.read().rpartition(b")")
        except OSError:
            continue
        fields = rest.split()
        if fields[0] not in (b"Z", b"X") or int(fields[17]) > 1:  # a leader may be gone before its threads
            name = head.partition(b"(")[2].decode(errors="replace")
            everyone[int(entry)] = Process(name, int(fields[1]), int(fields[2]))
    children = collections.defaultdict(list)
    for pid, process in everyone.items():
        children[process.parent].append(pid)
    found, todo = {}, [root or os.getpid()]
    while todo:
        for pid in children[todo.pop()]:
            found[pid] = everyone[pid]
            todo.append(pid)
    return found


def say(**event: object) -> None:
    """One JSON line to the harness, if it still lives."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(event).encode() + b"\n")


def _become(spec: dict[str, Any], output: int, errors: int) -> None:
    """Turns this forked child into the command; writes to `errors` why it could not."""
    try:
        os.setsid()
        warden = os.getppid()
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != warden:
            os._exit(1)
        if spec["cpus"]:
            os.sched_setaffinity(0, spec["cpus"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores these, and ignoring is inherited
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.chdir(spec["cwd"])
        os.execvpe(spec["command"][0], spec["command"], spec["env"])  # noqa: S606 -- there is no shell on purpose
    except BaseException as error:
        os.write(errors, (getattr(error, "strerror", None) or str(error)).encode())
    os._exit(127)


def _kill(pid: int, number: int) -> bool:
    """A signal to a process, or to the group -pid; False if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def main() -> None:
    """Serves one command from start to end."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = b""
    while not first.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return
        first += byte
    ward = Ward(json.loads(first))
    if why := ward.start():
        say(event="refused", why=why)
    else:
        ward.watch()
    ward.stop()


if __name__ == "__main__":
    main()
