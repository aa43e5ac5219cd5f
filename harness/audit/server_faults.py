"""Faults of a setup and of what is asked of it, seeded by servers that have them: tests/toys."""

from collections.abc import Callable
from dataclasses import replace

from harness.analyse.checks import checks_of
from harness.analyse.frames import read_view
from harness.analyse.model import Severity
from harness.audit.lab import POOL, steady
from harness.audit.model import Fault, Seeded
from harness.plan.attempt import Attempt
from harness.record.read import StoredRun

OVER_S = 12.0
FEW_PAYLOADS = 16

Change = Callable[[Attempt], Attempt]


def seen(run: StoredRun) -> Seeded:
    """What the checks say of a run."""
    checks = checks_of(read_view(run)) if run.has_rows else ()
    return Seeded(checks, run.meta.status, run.meta.reason)


def _faulty(fault: str, how: str, *codes: str, change: Change = lambda attempt: attempt, reason: str = "",
            name: str = "", quick: bool = True, spare: bool = False, least: Severity = "warning") -> Fault:
    """A fault that the toy `faulty` has when told to, or that `change` makes of its attempt."""
    return Fault(name or fault.replace("-", " "), how, codes, lambda lab, _, number: seen(lab.run(
        change(lab.attempt(fault=fault, seed=number + 1)))), reason, quick, spare, least)


def _toy(setup: str, how: str, *codes: str, reason: str = "", quick: bool = False, spare: bool = False) -> Fault:
    """A fault that is a toy of its own."""
    return Fault(setup.replace("-", " "), how, codes, lambda lab, _, number: seen(lab.run(
        lab.attempt(setup=setup, seed=number + 1))), reason, quick, spare)


def _few_payloads(attempt: Attempt) -> Attempt:
    return replace(attempt, workload=attempt.workload.model_copy(update={"pool": FEW_PAYLOADS}))


def _ramp(attempt: Attempt) -> Attempt:
    return replace(attempt, scenario=steady(rate=100.0, rate_end=300.0))


def _long(attempt: Attempt) -> Attempt:
    return replace(attempt, scenario=steady(duration_s=OVER_S))


SERVER_FAULTS: tuple[Fault, ...] = (
    _faulty("answers-wrongly", "one answer in four is wrong", "answers", quick=False),
    _faulty("answers-emptily", "one answer in four is empty, status 200", "answers", quick=False),
    _faulty("answers-the-same", "every answer is the first one", "answers", quick=False),
    _faulty("swallows-failures", "one answer in eight is an error in words, status 200", "answers"),
    _faulty("refuses", "one request in four gets a 503", "errors", spare=True),
    _faulty("remembers", "answers are kept, and repeats answered from memory", "cached"),
    _faulty("retries", "one request in five is predicted twice, and only the counter tells", "retries"),
    _faulty("none", f"{FEW_PAYLOADS} payloads where {POOL} could be", "payloads", change=_few_payloads,
            name="few payloads"),
    _faulty("closes-connections", "keep-alive is off", "connections"),
    _faulty("churns-connections", "a connection ends after six requests", "connections", quick=False),
    _faulty("warms-up-late", "the first 250 predictions take 6 ms more", "warmup"),
    _faulty("drifts", "each prediction takes 8 µs more than the one before", "drift"),
    _faulty("pauses", "every 0.38 s nothing is answered for 80 ms", "stalls"),
    _faulty("was-busy-before", "the first requests stand behind others", "drained"),
    _faulty("is-slow", "140 requests a second are served where 300 come", "saturation", change=_long,
            reason="over capacity", name="over capacity", quick=False, least="note"),
    _faulty("none", "the rate trebles while it counts", "ramp", change=_ramp, name="ramp inside the window"),
    _faulty("moves-cores", "the server takes every CPU for itself", "moved_cores"),
    _faulty("loses-a-worker", "a process of the server ends under load", "died"),
    _faulty("lies-about-time", "Server-Timing tells of more time than passed", "server_timing", spare=True),
    _faulty("opens-a-side-door", "a second socket listens on all addresses", "listeners", spare=True),
    _toy("stalls", "one second in which nothing is answered", "stalls", quick=True),
    _toy("hangs", "nothing is answered any more, connections stay open", "errors", spare=True),
    _toy("crashes-mid-run", "the server ends under load", "status", reason="ended with code 9"),
    _toy("crashes-at-start", "the server ends before it listens", reason="before it was ready", quick=True),
    _toy("lies", "ready says 200 where predictions fail", reason="said ready, but golden request"),
    _toy("answers-wrongly", "golden answers are wrong", reason="is answered wrongly"),
    _toy("never-ready", "ready never says 200", reason="was not ready within", spare=True),
    _toy("all-addresses", "the network can reach it", reason="which the network can reach", spare=True),
    _toy("floods-log", "it writes log as fast as it can", "log", spare=True),
    _toy("leaves-daemon", "a daemon of it has to be killed", "ending", spare=True),
)
