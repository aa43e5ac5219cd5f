"""`python -m harness.load.grpc_generator SPEC.json`: one generator process for gRPC, spoken to like generator.py.

It says the same lines and leaves the same files; only what needs Locust (its page, its users) it does not have.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.catalog.scenario import Stage
from harness.errors import TailraceError
from harness.load.arrivals import due_times, share
from harness.load.async_engine import AsyncEngine, Turn, now
from harness.load.grpc_client import GrpcClient
from harness.load.hiccup import Meter, figures
from harness.load.live import pieces
from harness.load.order_lines import OrderLines
from harness.load.payloads import Bodies
from harness.load.process import Collector, cpu_s, pin, raise_file_limit, realtime
from harness.load.rows import OK, clock_offset, save
from harness.load.spec import LoadSpec, read_spec
from harness.load.tally import Tally

EVERY_S = 0.5
CONNECT_S = 5.0
SAMPLE = 500


class Ears:
    """`go <t0_ns>` once, then `stop`; a signal or the end of input stops too. `t0_ns` is None when told to stop before
    it was told to go."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.t0_ns: asyncio.Future[int | None] = loop.create_future()
        self.stopped = asyncio.Event()
        self._lines = OrderLines()
        self._loop = loop
        loop.add_reader(sys.stdin.fileno(), self._read)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        """Ends the load; before `go`, nothing is sent at all."""
        self._loop.remove_reader(sys.stdin.fileno())
        self.stopped.set()
        if not self.t0_ns.done():
            self.t0_ns.set_result(None)

    def _read(self) -> None:
        for t0_ns in self._lines.feed(os.read(sys.stdin.fileno(), 4096)):
            if t0_ns is None:
                self.stop()
            elif not self.t0_ns.done():
                self.t0_ns.set_result(t0_ns)


async def run(spec: LoadSpec) -> None:
    """The whole life of the process after its spec was read. Raises TailraceError before the ready line."""
    pin(spec.cpu)
    raise_file_limit()
    stages = [Stage.model_validate(stage) for stage in spec.stages]
    if stages[0].arrivals == "closed":
        raise TailraceError("a closed loop is not sent over gRPC", "give a scenario with rates")
    due_ns, stage = due_times(stages, spec.seed, spec.warmup_s)
    own = share(len(due_ns), spec.worker, spec.workers)
    turn = Turn(spec.worker, spec.workers, round(spec.timeout_s * 1e9), spec.answers_every)
    bodies, ears = Bodies(Path(spec.payloads)), Ears()
    with ExitStack() as stack:
        meter = stack.enter_context(Meter())
        collector = stack.enter_context(Collector(frozen=True))
        hurried = stack.enter_context(realtime(spec.realtime))  # before the library's threads, which inherit it
        client = GrpcClient(f"{spec.host}:{spec.port}", spec.path, spec.headers)
        engine = AsyncEngine(turn, client, bodies.body, due_ns[own])
        before = clock_offset()
        _tell({"ready": True, "n": len(engine.relative_ns)})
        t0_ns = await ears.t0_ns
        began_s, cpu_began_s = time.monotonic(), cpu_s()
        if t0_ns is not None:
            await _load(engine, client, ears, t0_ns, Path(f"{spec.out}.live") if spec.live else None)
        await client.close()
        said = {"cpu_s": cpu_s() - cpu_began_s, "wall_s": time.monotonic() - began_s,
                "gc_pauses": len(collector.pauses_ns), "gc_ms": sum(collector.pauses_ns) / 1e6,
                "gc_pauses_ns": collector.since(t0_ns or 0), "connections": client.connections, "stray_answers": 0,
                "realtime": hurried, "in_flight_ns": engine.in_flight_ns}
        clocks = (before, clock_offset())
    columns = engine.columns(stage[own], t0_ns or 0, clocks)
    save(spec.out, columns, engine.answers, closed=False)
    step_ms = (clocks[1].offset_ns - clocks[0].offset_ns) / 1e6
    _tell({"end": True, "n": len(columns["seq"]), **said, "wall_step_ms": step_ms,
           **figures(meter.hiccups, t0_ns or 0)})


async def _load(engine: AsyncEngine, client: GrpcClient, ears: Ears, t0_ns: int, live: Path | None) -> None:
    with contextlib.suppress(TimeoutError):  # the rows will say that nothing was there
        await client.connect(CONNECT_S)

    async def heed() -> None:
        await ears.stopped.wait()
        engine.stop()

    beside = [asyncio.ensure_future(heed()), asyncio.ensure_future(_progress(engine, t0_ns, live))]
    await engine.run(t0_ns)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def _progress(engine: AsyncEngine, t0_ns: int, live: Path | None) -> None:
    """A line twice a second, dropped when nobody reads; what ended is appended to `live`, where given (live.py)."""
    done, tally = 0, Tally()
    while True:
        await asyncio.sleep(EVERY_S)
        moment = now()
        recent, engine.recent = engine.recent, []
        if live:
            await _append(live, engine, recent, moment - t0_ns)
        done += len(recent)
        stride = 1 + len(recent) // SAMPLE
        for i in recent[::stride]:
            if engine.rows.error[i] == OK and engine.due_ns[i] >= t0_ns:
                tally.add(engine.rows.done_ns[i] - engine.due_ns[i], stride)
        line = {"t": round((now() - t0_ns) / 1e9, 3), "sent": engine.next, "done": done, "errors": engine.failures,
                "latencies": tally.told}
        if select.select([], [sys.stdout], [], 0)[1]:
            os.write(sys.stdout.fileno(), (json.dumps(line, separators=(",", ":")) + "\n").encode())


async def _append(live: Path, engine: AsyncEngine, recent: list[int], since_t0_ns: int) -> None:
    with live.open("ab", buffering=0) as file:
        for piece in pieces(engine.rows, engine.due_ns, recent, engine.turn.first, engine.turn.stride, since_t0_ns):
            file.write(piece)
            await asyncio.sleep(0)


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code: 0 when rows were written, 104 for a spec or payloads that cannot be used."""
    try:
        asyncio.run(run(read_spec(LoadSpec, Path(sys.argv[1]))))
    except (TailraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return int(TailraceError.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
