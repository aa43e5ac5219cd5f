"""The generator processes of one run: started beside the server, told when to go, listened to until they end."""

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import harness
from harness.errors import RunFailedError
from harness.load.spec import LoadSpec, UserSpec, write_spec
from harness.load.tally import merged, quantile_ms
from harness.run.pipes import Lines, Message

_MODULES = {"http": "generator", "grpc": "grpc_generator"}
_READY_S = 120.0
_LEAD_S = 0.1
_WRITING_S = 30.0
_ROOT = Path(harness.__file__).parents[1]


@dataclass(frozen=True)
class Progress:
    """The generators' latest word, summed. `t_s` counts from the first counted due time, so warm-up is negative;
    `p50_ms` and `p99_ms` are those of everything counted so far, within 2.5 % (NaN before any answer), `rate` its
    answers a second. `judged` is what is known of the promises so far, where somebody looks."""

    t_s: float
    sent: int
    done: int
    errors: int
    p50_ms: float
    p99_ms: float
    rate: float = math.nan
    judged: str = ""


class Generators:
    """Generator processes as a context manager: leaving it ends them. `ends` holds what each said at its end."""

    def __init__(self, specs: Sequence[LoadSpec | UserSpec], log: Path) -> None:
        self._specs = specs
        self._log_path = log
        self._lines = Lines()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log: IO[bytes] | None = None
        self._ready: dict[str, int] = {}
        self._latest: dict[str, Message] = {}
        self._over: set[str] = set()
        self.ends: dict[str, Message] = {}
        self.stopped: tuple[float, str] | None = None

    def __enter__(self) -> Self:
        self._log = self._log_path.open("ab")
        try:
            for spec in self._specs:
                self._start(spec)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def await_ready(self) -> None:
        """Returns once every generator has its schedule. Raises RunFailedError when one ends or takes too long."""
        deadline = time.monotonic() + _READY_S
        while len(self._ready) < len(self._processes):
            self._hear(0.5)
            if self._over:
                raise RunFailedError("a load generator ended before it was ready", "look at load.log")
            if time.monotonic() > deadline:
                raise RunFailedError(f"the load generators were not ready within {_READY_S:g} s", "look at load.log")

    def go(self, warmup_s: float) -> int:
        """Starts the load; the CLOCK_MONOTONIC ns of the first counted due time."""
        t0_ns = time.monotonic_ns() + round((warmup_s + _LEAD_S) * 1e9)
        self._tell(f"go {t0_ns}\n")
        return t0_ns

    def follow(self, until_s: float, broken: Callable[[], str], progress: Callable[[Progress], None],
               enough: Callable[[Progress], str] = lambda _: "") -> str:
        """Returns when every generator has written its rows: "", or why the load was cut short.

        `until_s` is the monotonic time at which they must have ended; `broken` says why to stop early, or "". So does
        `enough`, asked at every word of the generators, but then nothing is wrong: `stopped` keeps when and why.
        KeyboardInterrupt stops the load and is raised again after the rows are written.
        """
        why = ""
        try:
            while not why and len(self._over) < len(self._processes):
                if self._hear(0.25) and self._latest:
                    latest = self._sum()
                    progress(latest)
                    if said := enough(latest):
                        self.stopped = (latest.t_s, said)
                        self.stop()
                        break
                why = broken() or ("the load generators did not end in time" if time.monotonic() > until_s else "")
        except KeyboardInterrupt:
            self.stop()
            raise
        if why:
            self.stop()
        elif len(self.ends) < len(self._processes):
            why = "a load generator died; look at load.log"
        return why

    def stop(self) -> None:
        """Stops the load; returns when what was measured is written, or cannot be."""
        self._tell("stop\n")
        deadline = time.monotonic() + _WRITING_S
        while len(self._over) < len(self._processes) and time.monotonic() < deadline:
            self._hear(0.25)

    def _start(self, spec: LoadSpec | UserSpec) -> None:
        path = Path(f"{spec.out}.json")
        write_spec(spec, path)
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(path.parent), "LANG": "C.UTF-8",
               "PYTHONPATH": str(_ROOT), "TMPDIR": str(path.parent)}
        module = _MODULES[spec.transport] if isinstance(spec, LoadSpec) else "user_locustfile"
        process = subprocess.Popen([sys.executable, "-m", f"harness.load.{module}", str(path)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=self._log, env=env, cwd=path.parent,
                                   start_new_session=True)
        self._processes.append(process)
        assert process.stdout
        self._lines.add(str(len(self._processes) - 1), process.stdout.fileno())

    def _hear(self, timeout_s: float) -> bool:
        heard = self._lines.wait(timeout_s)
        for source, message in heard:
            if message is None:
                self._over.add(source)
            elif "end" in message:
                self.ends[source] = {name: value for name, value in message.items() if name != "end"}
            elif "ready" in message:
                self._ready[source] = int(message["n"])
            elif "done" in message:
                self._latest[source] = message
        return bool(heard)

    def _sum(self) -> Progress:
        latest = list(self._latest.values())
        sent, done, errors = (sum(int(each[name]) for each in latest) for name in ("sent", "done", "errors"))
        counts, t_s = merged(each["latencies"] for each in latest), max(float(each["t"]) for each in latest)
        return Progress(t_s, sent, done, errors, quantile_ms(counts, 0.5), quantile_ms(counts, 0.99),
                        sum(counts.values()) / t_s if t_s > 0 else math.nan)

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin
            with contextlib.suppress(OSError):
                process.stdin.write(line.encode())
                process.stdin.flush()

    def _end(self) -> None:
        for process in self._processes:
            assert process.stdin
            assert process.stdout
            with contextlib.suppress(OSError):
                process.stdin.close()
            if str(self._processes.index(process)) not in self._over:
                process.terminate()
        deadline = time.monotonic() + 5.0
        for process in self._processes:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout
            process.stdout.close()
        self._lines.close()
        if self._log:
            self._log.close()
