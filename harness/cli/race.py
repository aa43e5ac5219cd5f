"""`tailrace run`: a plan asked for, raced, recorded, and summed up in one table and one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from harness.catalog.device import arms, device_of
from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.plan import Plan
from harness.catalog.setup import Knob
from harness.cli.ask import asked_plan, named_plan, promised, setups_of, with_locustfile
from harness.cli.kept import measured
from harness.cli.live import LiveView, name
from harness.cli.show import dump, screen
from harness.cli.tuned import with_profiles
from harness.decide.prices import parse_prices
from harness.errors import Exit, TailraceError, UsageError
from harness.plan.attempt import Attempt
from harness.plan.expand import expand, missing
from harness.run.bench import Bench, this_bench
from harness.run.provenance import content
from harness.run.race import race as run_attempts

USERS_S = 10.0  # how long a user's own locustfile runs unless --duration says otherwise


@dataclass(frozen=True)
class Asked:
    """What to race: a named plan, perhaps narrowed, or a plan made of flags."""

    plan: str | None
    setups: list[str]
    workloads: list[str]
    scenario: str | None
    loads: list[float]
    knobs: dict[str, dict[str, Knob]]
    repetitions: int | None
    duration_s: float | None
    baseline: str | None
    slo: list[str]
    locustfile: Path | None
    users: int
    device: str | None = None


@dataclass(frozen=True)
class How:
    """How to race it, and how to end."""

    resume: bool
    dry_run: bool
    gate: bool
    web_port: int | None
    prices: list[str]
    json: bool
    until: str | None = None
    until_cap_s: float = 600.0
    tuned: bool = False
    usd_per_kwh: float | None = None


def race(asked: Asked, results: Path, how: How) -> int:
    """Races what was asked for and shows what it says. Returns the exit code; raises TailraceError."""
    catalog = find_catalog()
    plan = _plan(catalog, asked)
    known = setups_of(catalog.plan(asked.plan) if asked.plan else plan)
    parse_prices(how.prices, arms(known))
    bench = this_bench(catalog, results, how.web_port)
    console = screen(stderr=how.json)
    if how.tuned:
        plan = with_profiles(plan, catalog, bench, lambda line: console.print(line, markup=False, highlight=False))
    attempts = expand(plan, catalog, len(bench.cores.server))
    if asked.locustfile:
        attempts = with_locustfile(attempts, asked.locustfile, asked.users, asked.duration_s or USERS_S)
    if how.web_port is not None:
        refuse_page(attempts)
    attempts, bench = _watched(attempts, bench, how)
    left = missing(attempts, measured(bench.folder), content) if how.resume else attempts
    if how.dry_run:
        for attempt in left:
            console.print(f"{attempt.order + 1:4} {name(attempt)}", markup=False, highlight=False)
        console.print(lasting(left), markup=False, highlight=False)
        return Exit.OK
    with LiveView(console, len(left), plan.title) as view:
        if len(left) < len(attempts):
            view.say(f"{len(attempts) - len(left)} of {len(attempts)} runs are there already")
        run_attempts(left, bench, view)
    return _sum_up(plan, known, results, how, console)


def lasting(attempts: Sequence[Attempt]) -> str:
    """How many runs there are and for how long they are loaded, warm-ups included."""
    load_s = sum(attempt.scenario.warmup_s + attempt.scenario.duration_s for attempt in attempts)
    return (f"{len(attempts)} runs, {load_s / 60:.1f} minutes of load; starting and ending each server, seconds to a "
            "quarter of a minute, comes on top")


def _watched(attempts: list[Attempt], bench: Bench, how: How) -> tuple[list[Attempt], Bench]:
    """Attempts that somebody judges while they run, and who does; as they are where nothing depends on it."""
    if how.until is None and not any(promise.abort for each in attempts for promise in each.scenario.promises):
        return attempts, bench
    from harness.cli.until import sitting, until  # noqa: PLC0415 -- as in _sum_up

    return until(how.until, how.until_cap_s, attempts), replace(bench, judge=sitting)


def refuse_page(attempts: Sequence[Attempt]) -> None:
    """Raises UsageError where Locust's page would show nothing of an attempt."""
    for attempt in attempts:
        if attempt.setup.codec.transport == "grpc":
            raise UsageError(f"--web: {attempt.setup.name} is loaded over gRPC, which Locust's page does not show",
                             "leave --web out, or race setups that speak HTTP")


def _plan(catalog: Catalog, asked: Asked) -> Plan:
    changes = {"repetitions": asked.repetitions, "duration_s": asked.duration_s, "baseline": asked.baseline,
               "slo": promised(asked.slo), "device": device_of(asked.device) if asked.device else None}
    if asked.plan is None:
        return asked_plan(catalog, asked.setups, asked.workloads, asked.scenario, asked.loads, asked.knobs, **changes)
    if asked.scenario or asked.loads or asked.knobs:
        raise TailraceError(f"plan {asked.plan} has scenarios, loads and knobs of its own",
                            "leave the flag out, or name no plan")
    return named_plan(catalog, asked.plan, asked.setups, asked.workloads, **changes)


def _sum_up(plan: Plan, known: list[str], results: Path, how: How, console: Console) -> int:
    # What analyses takes a second to import: a mistake in the question is told before, and a race begins before.
    from harness.cli.findings import gate_code, plan_words  # noqa: PLC0415
    from harness.report.options import Options, analysed  # noqa: PLC0415
    from harness.report.tables import text  # noqa: PLC0415
    from harness.report.write import summary  # noqa: PLC0415

    title, question = plan_words(plan)
    analysis = analysed(Options(str(results), plan.name, plan.baseline, tuple(how.prices), False, title, question,
                                how.usd_per_kwh, tuple(known)))
    if how.json:
        dump(summary(analysis))
    else:
        console.print(text(analysis))
        console.print(analysis.sentence, markup=False, highlight=False)
    if how.gate:
        return gate_code(analysis)
    return Exit.INVALID if analysis.failed else Exit.OK  # a cell that could not be measured here is no failure
