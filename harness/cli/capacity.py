"""`tailrace capacity`: probes sent to a real setup, and what they say it carries."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.analyse.model import Interval
from harness.analyse.words import bounded, plain
from harness.catalog.device import arm, device_of
from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob
from harness.catalog.slo import Promise, parse_promise
from harness.catalog.toml import validate
from harness.cli.live import LiveView
from harness.cli.show import dump, grid, screen
from harness.decide.bill_question import parse_slo
from harness.decide.capacity import Capacity, Found, Probe, Sent, Settings, search
from harness.decide.capacity_probe import believed
from harness.decide.twin_read import clients_of, structure_of
from harness.decide.twin_seen import most_answered, quantiles_s
from harness.errors import Exit, TailraceError
from harness.plan.attempt import Attempt
from harness.plan.expand import resolve_knobs
from harness.record.capacity import capacity_id, write_capacity
from harness.record.layout import CAPACITY
from harness.run.bench import Bench, this_bench
from harness.run.possible import why_not
from harness.run.race import racing

PATIENCE_S = 30.0
PER_LOAD_CPU = 10_000.0
LEAST_S, BURST_S = 15.0, 2.0
REQUESTS = 5_000_000  # more than any search sends: time is what limits a real one


@dataclass(frozen=True)
class Asked:
    """What to search for: knobs are those changed of this setup; `chart` is where the curve goes, beside the
    result where none is given."""

    setup: str
    workload: str
    slo: list[str]
    error: str | None
    knobs: dict[str, Knob]
    seed: int
    longest_s: float
    chart: Path | None
    device: str = "cpu"


def capacity(asked: Asked, results: Path, as_json: bool) -> int:
    """Searches, records and shows. Returns the exit code: 0 found, 111 where the generator was the limit, 110 where
    there is nothing to promise."""
    catalog = find_catalog()
    slo = parse_slo([*asked.slo, *([f"errors{asked.error}"] if asked.error else [])])
    bench = this_bench(catalog, results)
    first = first_attempt(catalog, bench, asked, slo)
    promises = tuple(parse_promise(metric, bound) for metric, bound in slo.items())
    limit_ms = min((each.limit / 1e6 for each in promises if each.metric == "latency"), default=1e3)
    hint = structure_of(first.knobs, first.setup.model_dump(mode="json"), len(bench.cores.server), first.device)
    console = screen(stderr=as_json)
    settings = settings_on(first.device, asked, PER_LOAD_CPU * len(bench.cores.load))
    title = f"capacity of {arm(asked.setup, asked.device)} on {asked.workload}"
    with LiveView(console, settings.probes, title) as view, racing(bench, view) as run:
        found = search(lambda probe: believed(run(probing(first, probe), None), limit_ms), promises, hint,
                       clients_of(first.scenario), settings)
    kept = recorded(bench, first, slo, found)
    if math.isfinite(found.rate.value):
        write_capacity(bench.folder, kept)
    chart = draw(found, promises, f"{asked.setup} on {asked.workload}",
                 asked.chart or bench.folder / CAPACITY / f"{kept.id}.svg")
    if as_json:
        dump({**asdict(kept), "why": found.why, "probes": [row(each) for each in found.sent]})
    else:
        console.print(grid("Probes", ["probe", "offered/s", "requests", "p50 ms", "p99 ms", "unanswered", "verdict"],
                           [list(row(each).values()) for each in found.sent]))
        console.print(sentence(kept, found), markup=False, highlight=False)
        if chart:
            console.print(f"Its curve: {chart}", markup=False, highlight=False)
    if math.isfinite(found.rate.value):
        return Exit.OK
    return Exit.INVALID if found.binding == "generator" else Exit.INCONCLUSIVE


def draw(found: Found, promises: Sequence[Promise], name: str, path: Path) -> str:
    """Writes the curve of latency against load with its bands; where it lies, "" where there is none to draw. Raises
    TailraceError where it cannot be written."""
    if found.boundary is None:
        return ""
    from harness.report.capacity import curve  # noqa: PLC0415  matplotlib is slow to load

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(curve(found, promises, name).svg, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{path}: the curve cannot be written: {error.strerror}", "give another --chart") from None
    return str(path)


def settings_on(device: str, asked: Asked, most_rate: float) -> Settings:
    """How to search there. Loads are long enough to hold what a real server or its host does once in some seconds,
    which no simulated one does. On a GPU a batch of hundreds may take hardly longer than one item alone, so the first
    burst aims far higher."""
    settings = Settings(seed=asked.seed, longest_s=asked.longest_s, most_rate=most_rate, requests=REQUESTS,
                        least_s=LEAST_S, burst_s=BURST_S)
    return replace(settings, batch_gain=16.0) if device == "gpu" else settings


def first_attempt(catalog: Catalog, bench: Bench, asked: Asked, slo: dict[str, str]) -> Attempt:
    """The attempt that probes vary: the workload's payload profile under Poisson arrivals, with the promise asked."""
    setup, workload = catalog.setup(asked.setup), catalog.workload(asked.workload)
    device = device_of(asked.device)
    knobs = resolve_knobs(setup, asked.knobs, len(bench.cores.server), device)
    setup = setup.with_knobs(knobs)
    bench.folder.mkdir(parents=True, exist_ok=True)
    if why := why_not(setup, workload, device, bench.folder):
        raise TailraceError(why, "choose another setup, workload or device")
    scenario = validate(Scenario, {
        "name": "capacity", "title": "A probe of a capacity search", "warmup_s": 1.0, "timeout_s": PATIENCE_S,
        "question": "Is the promise kept at this load?", "seed": asked.seed, "slo": slo,
        "stage": [{"arrivals": "poisson", "rate": 1.0, "duration_s": 1.0}]}, "capacity")
    return Attempt("capacity", "", setup, workload, scenario, 1.0, knobs, seed=asked.seed, device=device)


def probing(first: Attempt, probe: Probe) -> Attempt:
    """The attempt that sends a probe. A burst is two stages of one rate, for it means to go beyond what is carried."""
    parts = 2 if probe.kind == "burst" else 1
    stage = {"arrivals": "poisson", "rate": probe.rate, "duration_s": probe.duration_s / parts}
    scenario = validate(Scenario, {
        **first.scenario.model_dump(), "name": f"capacity-{probe.kind}", "stage": [stage] * parts,
        "warmup_s": 0.0 if probe.kind == "burst" else 1.0}, "capacity")
    return replace(first, scenario=scenario, load=round(probe.rate, 1), seed=probe.seed)


def recorded(bench: Bench, first: Attempt, slo: dict[str, str], found: Found) -> Capacity:
    """The capacity as it is stored."""
    return Capacity(
        capacity_id(first.setup.name, first.workload.name, datetime.now(UTC)), first.setup.name, first.workload.name,
        ", ".join(f"{metric}{bound}" for metric, bound in slo.items()), found.rate,
        tuple(each.result.seen.run_id for each in found.sent), found.binding, found.shape, bench.machine.id,
        found.last_passed, found.first_failed, len(bench.cores.server), dict(first.knobs), first.device,
        ceiling=most_answered([each.result.seen for each in found.sent]))


def row(each: Sent) -> dict[str, str]:
    """A probe as a line of the table."""
    run = each.result.seen
    latency = run.latency_s[run.counted]
    p50, p99 = quantiles_s(latency, (0.5, 0.99)) if len(latency) else (math.nan, math.nan)
    return {"probe": each.probe.kind, "rate": plain(run.rate), "requests": f"{len(latency):,}",
            "p50_ms": plain(p50 * 1e3), "p99_ms": plain(p99 * 1e3),
            "unanswered": f"{float((latency == math.inf).mean()) if len(latency) else 0:.2%}",
            "verdict": each.result.refused or each.verdict}


def sentence(kept: Capacity, found: Found) -> str:
    """What was found, as a person would say it."""
    who = f"{kept.arm} on {kept.workload} ({kept.replica_cpus} CPUs)"
    if found.why:
        return f"{who}: no capacity under {kept.promise}: {found.why}."
    passed = f"the last is {plain(found.last_passed)}/s" if math.isfinite(found.last_passed) else "there is none"
    failed = f"the first is {plain(found.first_failed)}/s" if math.isfinite(found.first_failed) else "there is none"
    ends = "falls off a cliff" if found.shape == "cliff" else "degrades smoothly"
    return (f"{who} carries {bounded_rate(kept)} requests/s within {kept.promise}; {found.binding} ends it and it "
            f"{ends}; of the loads certified to pass {passed}, of those to fail {failed}; {len(found.sent)} probes, "
            f"{found.requests:,} requests.")


def bounded_rate(kept: Capacity) -> str:
    """`312 (305 to 319)`."""
    return bounded(Interval(kept.rate.value, kept.rate.low, kept.rate.high))
