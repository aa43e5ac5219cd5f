"""A server as a context manager: a warden starts it, and ends it with every process it left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import TailraceError
from harness.run.pipes import Lines, Message

_WARDEN = Path(__file__).with_name("warden.py")
_START_S = 20.0
_OVERTIME_S = 20.0


@dataclass(frozen=True)
class Command:
    """What to start. The output goes to `log`, of which `log_cap_bytes` and the last 64 KiB are kept. The folder
    `remove_if_orphaned`, if any, is removed when the harness dies before it could."""

    command: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    cpus: Sequence[int]
    log: str
    stop_timeout_s: float
    log_cap_bytes: int = 8 << 20
    remove_if_orphaned: str = ""


@dataclass(frozen=True)
class Stopped:
    """How it ended: the exit code (negative: the signal; None: never seen), processes still there after the first one
    had ended, processes that had to be killed, processes that could not be, and the seconds it all took."""

    code: int | None
    left: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()
    survived: tuple[str, ...] = ()
    seconds: float = 0.0


class Server:
    """A running command; a context manager. Leaving it ends every process that descends from the command.

    `warden_pid` is the root of its process tree, `pid` its first process. Entering raises TailraceError when the
    program cannot be started.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._lines = Lines()
        self._warden: subprocess.Popen[bytes] | None = None
        self._stopped: Stopped | None = None
        self.pid = 0
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        self._warden = subprocess.Popen([sys.executable, "-I", "-S", str(_WARDEN)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, start_new_session=True, cwd="/", env={})
        assert self._warden.stdin
        assert self._warden.stdout
        try:
            self._lines.add("warden", self._warden.stdout.fileno())
            self._warden.stdin.write(json.dumps(asdict(self._command)).encode() + b"\n")
            self._warden.stdin.flush()
            self._await_start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    @property
    def warden_pid(self) -> int:
        """The process under which all others of the server stand."""
        return self._warden.pid if self._warden else 0

    def exited(self) -> bool:
        """Whether the command's first process has ended; its code is then in `exit_code`."""
        self._hear(0.0)
        return self.exit_code is not None or self._stopped is not None

    def stop(self) -> Stopped:
        """Ends every process; returns when none is left. A second call tells the same."""
        warden = self._warden
        if self._stopped is None and warden is not None:
            with contextlib.suppress(OSError):
                assert warden.stdin
                warden.stdin.write(b"stop\n")
                warden.stdin.flush()
            deadline = time.monotonic() + self._command.stop_timeout_s + _OVERTIME_S
            while self._stopped is None and time.monotonic() < deadline:
                self._hear(0.2)
        if warden is not None:
            self._close(warden)
        return self._stopped or Stopped(self.exit_code)

    def _await_start(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self.pid and self._stopped is None and time.monotonic() < deadline:
            self._hear(0.5)
        if not self.pid:
            raise TailraceError(f"{self._command.command[0]}: was not started in {_START_S:g} s",
                                "the machine may be out of memory or processes")

    def _hear(self, timeout_s: float) -> None:
        for _, message in self._lines.wait(timeout_s):
            if message is None:
                self._stopped = self._stopped or self._bereft()
            elif message.get("event") == "refused":
                raise TailraceError(f"{self._command.command[0]}: cannot be started: {message['why']}",
                                    "check `command` in setup.toml and the setup's requirements")
            else:
                self._note(message)

    def _note(self, message: Message) -> None:
        if message.get("event") == "started":
            self.pid = int(message["pid"])
        elif message.get("event") == "exited":
            self.exit_code = int(message["code"])
        elif message.get("event") == "stopped":
            self.exit_code = message["code"]
            self._stopped = Stopped(message["code"], tuple(message["left"]), tuple(message["killed"]),
                                    tuple(message["survived"]), message["seconds"])

    def _bereft(self) -> Stopped:
        """The warden is gone without a word: the kernel ended the first process with it, the group goes now."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return Stopped(self.exit_code, survived=("unknown: the warden was killed",))

    def _close(self, warden: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError):
            assert warden.stdin
            warden.stdin.close()
        try:
            warden.wait(timeout=_OVERTIME_S)
        except subprocess.TimeoutExpired:
            warden.kill()
            warden.wait()
        assert warden.stdout
        warden.stdout.close()
        self._lines.close()
