"""The calibration's own target and generator as processes with a lifetime."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from harness.errors import RunFailedError
from harness.load.merge import merge_parts
from harness.load.payloads import write_pool
from harness.load.rows import Columns
from harness.load.spec import LoadSpec, write_spec

TARGET = Path(__file__).with_name("target.py")
GRPC_TARGET = Path(__file__).with_name("grpc_target.py")
GENERATORS = {"http": "generator", "grpc": "grpc_generator"}
TIMEOUT_S = 5.0
LEAD_S = 0.3


class Target:
    """A running target; `told` is what it says of itself once it has ended."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.port = int(_line(process)["port"])
        self.told: dict[str, Any] = {}


@contextmanager
def target(cpu: int, stall_after_s: float = 0.0, stall_s: float = 0.0) -> Iterator[Target]:
    """A target on `cpu` for as long as the context lasts."""
    command = [sys.executable, "-I", "-S", str(TARGET), "--cpu", str(cpu),
               "--stall-after-s", str(stall_after_s), "--stall-s", str(stall_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            running = Target(process)
            yield running
            _pipe(process.stdin).close()
            running.told = _line(process)
        finally:
            process.kill()


@contextmanager
def grpc_target(cpu: int) -> Iterator[int]:
    """The port of a gRPC server on `cpu` that answers at once, for as long as the context lasts."""
    command = [sys.executable, "-I", str(GRPC_TARGET), str(cpu)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(_line(process)["port"])
        finally:
            process.kill()


@dataclass(frozen=True)
class Load:
    """One generator's load: open-loop stages, and one body per distinct service time."""

    stages: Sequence[dict[str, object]]
    bodies: list[bytes]
    warmup_s: float
    seed: int
    transport: Literal["http", "grpc"] = "http"


def measure(load: Load, port: int, cpu: int, folder: Path) -> tuple[Columns, dict[str, Any], int]:
    """(rows, what the generator said at its end, t0 in monotonic ns). Raises RunFailedError when it gives no rows."""
    write_pool(folder / "pool", load.bodies)
    spec = LoadSpec("127.0.0.1", port, "/", "text/plain", {}, list(load.stages), load.warmup_s, load.seed,
                    str(folder / "pool"), TIMEOUT_S, 0, 0, 1, cpu, True, str(folder / "rows"),
                    transport=load.transport)
    write_spec(spec, folder / "spec.json")
    command = [sys.executable, "-m", f"harness.load.{GENERATORS[load.transport]}", str(folder / "spec.json")]
    with (folder / "load.log").open("w") as log, subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            _line(process)
            t0_ns = time.monotonic_ns() + round((load.warmup_s + LEAD_S) * 1e9)
            orders = _pipe(process.stdin)
            orders.write(f"go {t0_ns}\n")
            orders.flush()
            said = _line(process)
            while "end" not in said:
                said = _line(process)
        except ValueError:
            raise RunFailedError(f"the generator ended early: {(folder / 'load.log').read_text().strip()[-300:]}",
                                 "run `python -m harness.load.generator` by hand") from None
        finally:
            process.kill()
    return merge_parts([folder / "rows"]), said, t0_ns



def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the process was started without this pipe")
    return stream


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next JSON line. Raises ValueError at the end of output."""
    line: dict[str, Any] = json.loads(_pipe(process.stdout).readline())
    return line
