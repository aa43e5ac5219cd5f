"""`python -m harness.load.generator SPEC.json`: one generator process, spoken to over stdin and stdout.

The protocol is in docs/design.md, "How a run goes", item 5.
"""

import os
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from locust.env import Environment

from harness.catalog.scenario import Stage
from harness.errors import TailraceError
from harness.load.arrivals import due_times, share
from harness.load.closed import ClosedEngine
from harness.load.engine import MOST_CONNECTIONS, Aim, Engine
from harness.load.hiccup import Meter
from harness.load.hiccup import figures as figures_of
from harness.load.locustfile import user_that
from harness.load.orders import Orders
from harness.load.payloads import Payloads
from harness.load.process import Collector, cpu_s, pin, raise_file_limit, realtime
from harness.load.progress import Progress, tell
from harness.load.rows import clock_offset, receive_lag, save
from harness.load.spec import LoadSpec, read_spec

SPARE_FILES = 64


def make_engine(spec: LoadSpec, most_files: int) -> tuple[Engine, np.ndarray[Any, np.dtype[np.int8]]]:
    """The engine for the spec's load and the stage of each of its rows (none yet for a closed loop).

    A closed loop is sent by worker 0 alone, so that seq stays the order of sending.
    """
    stages = [Stage.model_validate(stage) for stage in spec.stages]
    payloads = Payloads(spec)
    family, _, _, _, address = socket.getaddrinfo(spec.host, spec.port, type=socket.SOCK_STREAM)[0]
    closed = stages[0].arrivals == "closed"
    aim = Aim(family, address, spec.worker, spec.workers, round(spec.timeout_s * 1e9), spec.answers_every,
              most_files if closed else min(MOST_CONNECTIONS, most_files))
    if closed:
        alone = replace(aim, first=0, stride=1)
        users = [(stage.users or 0, stage.duration_s) for stage in stages] if spec.worker == 0 else []
        return ClosedEngine(alone, payloads, users, spec.warmup_s), np.empty(0, np.int8)
    due_ns, stage = due_times(stages, spec.seed, spec.warmup_s)
    own = share(len(due_ns), spec.worker, spec.workers)
    return Engine(aim, payloads, due_ns[own]), stage[own]


def run(spec: LoadSpec) -> None:
    """The whole life of the process after its spec was read. Raises TailraceError before the ready line."""
    pin(spec.cpu)
    most_files = raise_file_limit() - SPARE_FILES
    engine, stage = make_engine(spec, most_files)
    orders = Orders()
    environment = Environment(user_classes=[user_that(engine.run)], host=f"http://{spec.host}:{spec.port}")
    runner = environment.create_local_runner()
    if spec.web_port is not None:
        environment.create_web_ui("127.0.0.1", spec.web_port)
    else:
        runner.greenlet.kill()  # Locust's CPU monitor, whose look at the process every 5 s costs tens of milliseconds
    with ExitStack() as stack:
        meter = stack.enter_context(Meter())
        collector = stack.enter_context(Collector())
        hurried = stack.enter_context(realtime(spec.realtime))
        before = clock_offset()
        tell({"ready": True, "n": len(engine.due_ns)})
        t0_ns = orders.t0_ns.get()
        began_s, cpu_began_s = time.monotonic(), cpu_s()
        if t0_ns is not None:
            engine.begin_at(t0_ns)
            orders.stopped_by(engine.stop)
            shown_by = environment if spec.web_port is not None else None
            with Progress(engine, t0_ns, shown_by, spec.path, Path(f"{spec.out}.live") if spec.live else None):
                runner.start(1, spawn_rate=1)
                engine.over.wait()
        figures = {"cpu_s": cpu_s() - cpu_began_s, "wall_s": time.monotonic() - began_s,
                   "gc_pauses": len(collector.pauses_ns), "gc_ms": sum(collector.pauses_ns) / 1e6,
                   "gc_pauses_ns": collector.since(t0_ns or 0),
                   "connections": engine.opened, "stray_answers": engine.stray, "realtime": hurried,
                   "in_flight_ns": engine.in_flight_ns}
        clocks = (before, clock_offset())
    columns = engine.columns(stage, t0_ns or 0, clocks)
    figures |= {**receive_lag(engine.rows.read_ns, columns["first_byte_ns"], t0_ns or 0),
                "wall_step_ms": (clocks[1].offset_ns - clocks[0].offset_ns) / 1e6}
    save(spec.out, columns, engine.answers, isinstance(engine, ClosedEngine))
    runner.quit()
    tell({"end": True, "n": len(columns["seq"]), **figures, **figures_of(meter.hiccups, t0_ns or 0)})


def main() -> int:
    """Exit code: 0 when rows were written, 104 for a spec or payloads that cannot be used."""
    try:
        run(read_spec(LoadSpec, Path(sys.argv[1])))
    except (TailraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return int(TailraceError.code)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # every row is written, and what Locust and gevent would tidy up takes 0.2 s
