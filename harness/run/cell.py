"""One run, end to end: whatever happens, a record is left and nothing keeps running."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.catalog.device import arm
from harness.errors import TailraceError
from harness.load.merge import merge_parts, read_answers
from harness.load.payloads import payload_bytes, write_wrapped
from harness.load.spec import LoadSpec
from harness.plan.attempt import Attempt
from harness.record.read import StoredRun
from harness.record.requests import Rows
from harness.record.schema import Status
from harness.record.scrape import Scrape
from harness.record.write import Probe, RunWriter
from harness.run import gpu
from harness.run.agent import Agent
from harness.run.bench import Bench
from harness.run.environments import Environment, environments
from harness.run.fidelity import differences, unlike_version
from harness.run.generators import Generators
from harness.run.generators import Progress as Progress  # noqa: PLC0414 -- watchers import it from here
from harness.run.launch import Place, engine_knobs, scratch_folder, server_command
from harness.run.live_rows import LiveRows
from harness.run.overload import Overload
from harness.run.possible import why_not
from harness.run.probes import INTERVAL_S, Probes
from harness.run.process import Server, Stopped
from harness.run.provenance import describe
from harness.run.ready import PortTakenError, answer_golden, await_ready, ended_how, last_line, refuse_open
from harness.run.repeats import repeats
from harness.run.scrape import TIMEOUT_S, scrape
from harness.run.sockets import free_port
from harness.run.specs import Spec, at_port, expected_requests, load_specs
from harness.run.upkeep import processes
from harness.run.warden import descendants
from harness.run.wire import Wire, judged

JUDGED_RIGHT, JUDGED_WRONG = 1, 2
_ENDING_S = 30.0
_WRONG_SHOWN = 3


@dataclass
class Outcome:
    """What came of a run so far; it is recorded whatever happens next."""

    status: Status = "ok"
    reason: str = ""
    environments: list[Environment] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    rows: Rows | None = None
    probes: list[Probe] = field(default_factory=list)
    scrapes: tuple[Scrape, ...] = ()  # before the load, and after it
    interrupted: bool = False

    def end(self, status: Status, reason: str) -> None:
        """The status and its reason; the first one that is not ok stays."""
        if self.status == "ok":
            self.status, self.reason = status, reason


@dataclass(frozen=True)
class Run:
    """What every step of one run needs."""

    attempt: Attempt
    bench: Bench
    agent: Agent
    model_dir: Path
    writer: RunWriter
    outcome: Outcome
    say: Callable[[str], None]
    progress: Callable[[Progress], None]
    choose_port: Callable[[], int]


def run_cell(attempt: Attempt, bench: Bench, agent: Agent, model_dir: Path, *, say: Callable[[str], None],
             progress: Callable[[Progress], None], choose_port: Callable[[], int] = free_port) -> StoredRun:
    """The attempt's record; `model_dir` holds the workload's prepared files. What goes wrong with the setup is in the
    record's status and reason.

    Raises KeyboardInterrupt after an interrupted run was recorded as void, TailraceError when it cannot be recorded.
    """
    with RunWriter(bench.folder, setup=arm(attempt.setup.name, attempt.device), workload=attempt.workload.name,
                   scenario=attempt.scenario.name, load=attempt.load, repetition=attempt.repetition) as writer:
        run = Run(attempt, bench, agent, model_dir, writer, Outcome(), say, progress, choose_port)
        try:
            _measure(run)
        except TailraceError as error:
            run.outcome.end("failed", str(error))
        except KeyboardInterrupt:
            run.outcome.end("void", "interrupted")
            run.outcome.interrupted = True
        stored = _record(run)
    if run.outcome.interrupted:
        raise KeyboardInterrupt
    return stored


def why_skipped(attempt: Attempt, bench: Bench) -> str:
    """Why the attempt cannot be made here, or ""."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    return why_not(attempt.setup, attempt.workload, attempt.device, bench.folder)


def _measure(run: Run) -> None:
    attempt, outcome = run.attempt, run.outcome
    skip = why_skipped(attempt, run.bench)
    if skip:
        return outcome.end("skipped", skip)
    outcome.environments = environments(attempt.setup, attempt.workload, run.say)
    if behind := engine_knobs(attempt.setup, len(run.bench.cores.server), attempt.device):
        outcome.facts["engine_knobs"] = behind
    outcome.facts["env_bytes"] = sum(each.bytes for each in outcome.environments)
    outcome.facts["unlike_lock"] = [
        said for part, made in zip(attempt.setup.parts, outcome.environments, strict=True)
        for said in differences(made.folder, [attempt.workload.lock, part.lock], run.model_dir)]
    outcome.facts.update(unlike_version(made.folder for made in outcome.environments))
    expected = expected_requests(attempt.scenario)
    pool = attempt.workload.pool if expected is None else min(attempt.workload.pool, expected)
    with scratch_folder() as scratch:
        payloads = scratch / "payloads"
        run.agent.payload_files(attempt.seed, attempt.scenario.profile, pool, payloads)
        if not attempt.scenario.locustfile:
            run.writer.write_payload_bytes(payload_bytes(payloads))
        specs = load_specs(attempt, run.bench, run.agent.content_type(), _in_protocol(run, payloads), scratch)
        try:
            _serve_under_load(run, specs, scratch)
        except PortTakenError as error:
            run.say(f"{error.message}; trying another port")
            _serve_under_load(run, specs, scratch)
        finally:
            _collect(run, specs, payloads, pool)


def _in_protocol(run: Run, payloads: Path) -> Path:
    """The payloads as the setup's protocol has them, wrapped once for the whole load."""
    codec = run.attempt.setup.codec
    if codec.is_identity:
        return payloads
    wrapped = payloads.with_name("wrapped")
    write_wrapped(codec, run.agent.content_type(), payloads, wrapped)
    return wrapped


def _serve_under_load(run: Run, specs: list[Spec], scratch: Path) -> None:
    """Starts the server and the generators, loads the one with the other, stops both."""
    attempt, writer, facts = run.attempt, run.writer, run.outcome.facts
    port = run.choose_port()
    if attempt.device == "gpu":
        facts["gpu"] = {**gpu.facts(), "pids_before": gpu.processes_now()}
    pythons = tuple(each.python for each in run.outcome.environments)
    place = Place(pythons, run.model_dir, scratch, writer.server_log, run.bench.cores.server, attempt.device)
    command = server_command(attempt.setup, attempt.workload, attempt.knobs, place, port)
    ports = (port, int(command.env["METRICS_PORT"]))
    started = time.monotonic()
    with Server(command) as server:
        try:
            with Generators([at_port(spec, port) for spec in specs], writer.load_log) as generators:
                await_ready(server, attempt.setup, port, writer.server_log)
                facts["open_listeners"] = refuse_open(server, port)
                first = answer_golden(attempt.setup, port, run.agent, max(10.0, attempt.scenario.timeout_s))
                facts["start_s"] = round(first - started, 3)
                facts["golden"] = len(run.agent.golden())
                facts["server_version"] = Wire(attempt.setup, port).server_version(TIMEOUT_S)
                generators.await_ready()
                sitting = run.bench.judge(attempt)
                live = LiveRows(attempt, [spec for spec in specs if isinstance(spec, LoadSpec)], sitting) \
                    if sitting else None
                before = scrape(ports, attempt.setup.statistics)
                _load(run, server, generators, scratch, live)
            run.outcome.scrapes = (before, scrape(ports, attempt.setup.statistics))
            if run.outcome.status == "ok" and "stopped" not in facts:
                facts["repeats"] = repeats(Wire(attempt.setup, port, run.agent.content_type()), run.agent,
                                           attempt.seed, attempt.scenario.profile, scratch)
        finally:
            _note_end(run, server.stop())


def _load(run: Run, server: Server, generators: Generators, scratch: Path, live: LiveRows | None) -> None:
    scenario, outcome, log = run.attempt.scenario, run.outcome, run.writer.server_log
    on_gpu = outcome.facts["gpu"]["pids_before"] if "gpu" in outcome.facts else None
    with Probes(server.warden_pid, generators.pids, run.bench.cores, scratch, on_gpu) as probes:
        t0_ns = generators.go(scenario.warmup_s)
        outcome.facts["t0_unix_ns"] = t0_ns + time.time_ns() - time.monotonic_ns()
        outcome.facts["probes_hz"] = 1 / INTERVAL_S

        def broken() -> str:
            if not server.exited():
                return ""
            seconds = (time.monotonic_ns() - t0_ns) / 1e9
            return f"the server {ended_how(server.exit_code)} {seconds:.1f} s into the load"

        overload = Overload(scenario)

        def enough(seen: Progress) -> str:
            return (live.look() if live else "") or overload.stop_now(seen)

        def progress(seen: Progress) -> None:
            run.progress(replace(seen, judged=live.said if live else ""))

        until_s = t0_ns / 1e9 + scenario.duration_s + scenario.timeout_s + _ENDING_S
        try:
            why = generators.follow(until_s, broken, progress, enough)
            if live:
                _note_until(run, live)
            if generators.stopped and not (live and live.why):
                outcome.facts["stopped"] = dict(zip(("at_s", "why"), generators.stopped, strict=True))
                outcome.reason = generators.stopped[1]
            if why:
                server.stop()
                outcome.end("failed", why + last_line(log))
            outcome.facts["processes"] = processes(descendants(server.warden_pid))
        except KeyboardInterrupt:
            outcome.interrupted = True
            raise
        finally:
            outcome.facts["generators"] = [generators.ends[name] for name in sorted(generators.ends)]
            outcome.probes = probes.finish(t0_ns)


def _note_until(run: Run, live: LiveRows) -> None:
    """Keeps when and why the load was stopped because of what was seen, or that it was not."""
    until: dict[str, Any] = {"asked": run.attempt.until, "cap_s": run.attempt.scenario.duration_s, "why": live.why}
    if live.why:
        until["at_s"] = live.cut_s
        run.outcome.reason = f"stopped after {live.cut_s:.1f} s, for the verdict stood: {live.why}"
    elif run.attempt.until:
        run.outcome.reason = f"no verdict within {run.attempt.scenario.duration_s:g} s: {live.said}"
    run.outcome.facts["until"] = until


def _collect(run: Run, specs: list[Spec], payloads: Path, pool: int) -> None:
    """Merges and judges what the generators left; nothing where no load was sent."""
    if "generators" not in run.outcome.facts:
        return
    parts = [spec.out for spec in specs]
    try:
        said = run.outcome.facts["generators"]
        rows = merge_parts(parts, sum(int(each["n"]) for each in said) if len(said) == len(parts) else None)
        rows["judged"] = np.zeros(len(rows["seq"]), np.int8)
        run.outcome.rows = rows
        run.outcome.facts.update(rows=len(rows["seq"]), payload_pool=pool)
        _judge(run, [answer for answer in read_answers(parts) if rows["status"][answer[0]] == 200
                     and rows["error"][answer[0]] == ""], payloads, pool)
    except TailraceError as error:
        run.outcome.end("failed", str(error))


def _judge(run: Run, answers: list[tuple[int, bytes]], payloads: Path, pool: int) -> None:
    assert run.outcome.rows
    if run.outcome.interrupted:
        return
    codec = run.attempt.setup.codec
    said = judged(run.agent, codec, payloads, [(seq % pool, body) for seq, body in answers])
    for (seq, _), why in zip(answers, said, strict=True):
        run.outcome.rows["judged"][seq] = JUDGED_WRONG if why else JUDGED_RIGHT
    wrong = [why for why in said if why]
    run.outcome.facts["judged"] = {"right": len(said) - len(wrong), "wrong": len(wrong),
                                   "examples": wrong[:_WRONG_SHOWN]}


def _note_end(run: Run, stopped: Stopped) -> None:
    run.outcome.facts["stop"] = asdict(stopped)
    limit_s = run.attempt.setup.stop_timeout_s
    if stopped.survived:
        run.outcome.end("failed", f"these processes could not be ended: {', '.join(stopped.survived)}")
    elif stopped.killed and run.outcome.status == "ok":
        said = f"did not end within {limit_s:g} s of SIGTERM and was killed: {', '.join(stopped.killed)}"
        run.outcome.reason = f"{run.outcome.reason}; {said}" if run.outcome.reason else said


def _record(run: Run) -> StoredRun:
    outcome, writer = run.outcome, run.writer
    if outcome.rows is not None:
        writer.write_requests(outcome.rows)
    if outcome.probes:
        writer.write_probes(outcome.probes)
    if outcome.scrapes:
        writer.write_scrapes(*outcome.scrapes)
    return writer.finish(describe(run.attempt, run.bench, writer, outcome))
