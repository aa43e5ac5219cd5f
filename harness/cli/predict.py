"""`tailrace predict`: what the twin of recorded runs says of loads and knobs nobody measured."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.analyse.words import plain
from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob
from harness.catalog.slo import Promise, parse_promise
from harness.cli import capacity as probes
from harness.cli.live import LiveView
from harness.cli.predict_known import Known, base_rate, fit_of, held_out_for, known, settings
from harness.cli.show import dump, grid, screen
from harness.decide.bill_question import parse_slo
from harness.decide.capacity import Probe
from harness.decide.capacity_probe import believed
from harness.decide.twin import Clients, Twin, poisson
from harness.decide.twin_evidence import DEADLINE
from harness.decide.twin_knobs import changed_knobs, check_start
from harness.decide.twin_predict import Arrivals, Evidence, Fitted, Prediction, predicted
from harness.decide.twin_read import mean_rate
from harness.decide.twin_whatif import Balancing, Change, changed, parse_balancing, parse_change
from harness.errors import Exit, TailraceError, UsageError
from harness.load.arrivals import WARMUP, due_times
from harness.record.schema import RunMeta
from harness.run.bench import this_bench
from harness.run.race import racing

VERIFY_S = 20.0


@dataclass(frozen=True)
class Asked:
    """What to predict: the load (`rate`, or a `demand` and its busiest minute), the changes, the promise. `scenario`
    names the one whose arrivals are played in place of Poisson's; `balancer` is that of fleets; `machine` the one asked
    about, where that is not this one."""

    setup: str
    workload: str
    what_if: Sequence[str]
    rate: float | None
    demand: str | None
    slo: Sequence[str]
    verify: bool
    clients: Clients
    scenario: str | None = None
    balancer: str = "least_of_2"
    machine: str | None = None


def predict(asked: Asked, results: Path, as_json: bool) -> int:
    """Predicts now and after each change, verifies the last where asked. Exit code 110 where it abstains and nothing
    was measured in its place."""
    catalog = find_catalog()
    changes = [parse_change(text) for text in asked.what_if]
    balancing = parse_balancing(asked.balancer)
    slo = parse_slo(asked.slo) if asked.slo else {}
    promises = tuple(parse_promise(metric, bound) for metric, bound in slo.items())
    found = known(results, catalog, asked.setup, asked.workload, asked.machine)
    meta = found.newest.meta
    scenario = played_scenario(catalog, asked.scenario, len(meta.server_cpus)) if asked.scenario else None
    rate = base_rate(catalog, asked.rate, asked.demand, scenario, found, changes)
    check_start(asked.setup, changes, meta.setup_facts, meta.knobs, meta.device, rate)
    if asked.verify:
        check_verifiable(asked, changes, meta, this_bench(catalog, results).machine.id)
    fit = fit_of(found, asked.clients)
    # More workers share the cores of a machine, but not its one GPU: more of those are more machines.
    ways = Ways(scheduled(scenario) if scenario else poisson, balancing,
                len(meta.server_cpus) if meta.device == "cpu" else 1)
    lines = answers(asked, found, fit, rate, changes, promises, ways)
    measured = verified(catalog, asked, results, slo, changes, lines[-1], meta) if asked.verify else None
    if as_json:
        dump({"fitted": {"runs": fit.run_ids, "range": asdict(fit.range), "held_out_error": fit.error,
                         "worst": fit.worst, "machine": meta.machine_id, "here": found.here,
                         "left_out": found.left_out},
              "predictions": [{**line, "prediction": asdict(line["prediction"])} for line in lines],
              "measured": measured})
        return code_of(lines, measured)
    show(asked, found, fit, lines, measured)
    return code_of(lines, measured)


def code_of(lines: Sequence[dict[str, Any]], measured: dict[str, Any] | None) -> int:
    """110 where the last prediction abstains, unless a run that is believed says what it does not."""
    answered = measured is not None and not measured["refused"]
    return Exit.INCONCLUSIVE if lines[-1]["prediction"].abstains and not answered else Exit.OK


@dataclass(frozen=True)
class Ways:
    """How requests arrive, how a fleet shares them, and how many workers a machine has room for."""

    arrivals: Arrivals
    balancing: Balancing
    machine_workers: int


def played_scenario(catalog: Catalog, name: str, cores: int) -> Scenario:
    """The scenario with its rates for that many cores. Raises UsageError for a closed loop, which has no schedule."""
    scenario = catalog.scenario(name)
    if scenario.closed:
        raise UsageError(f"--scenario {name} is a closed loop, whose arrivals depend on the answers",
                         "name one with rates")
    return scenario.resolved(cores)


def scheduled(scenario: Scenario) -> Arrivals:
    """The scenario's own due times as arrivals, all its rates multiplied so that their mean is the rate asked for; its
    warm-up settles and is not told."""
    def arrivals(rate: float, _: int, seed: int) -> tuple[Any, float]:
        resolved = scenario.resolved(1, rate / mean_rate(scenario))
        due_ns, stage = due_times(resolved.stage, scenario.seed + seed, scenario.warmup_s)
        if not len(due_ns):
            raise TailraceError(f"scenario {scenario.name}: no request is due at {rate:g} requests/s",
                                "raise --rate")
        return due_ns / 1e9, float((stage == WARMUP).mean())

    return arrivals


def check_verifiable(asked: Asked, changes: Sequence[Change], like: RunMeta, machine: str) -> None:
    """Raises UsageError for a prediction that a run of the load engine on this machine does not show."""
    clients = asked.clients
    flags = [flag for flag, given in (
        ("--retries", clients.retries > 0), ("--attempt-s", math.isfinite(clients.attempt_s)),
        ("--hedge-s", math.isfinite(clients.hedge_s)), ("--deadline-s", math.isfinite(clients.deadline_s)),
        ("--scenario", asked.scenario is not None)) if given]
    if flags:
        raise UsageError(f"--verify: it sends Poisson arrivals that neither retry, hedge nor bring a deadline, so "
                         f"{flags[0]} would not be measured", f"leave {flags[0]} or --verify out")
    if any(change.subject == "machines" for change in changes):
        raise UsageError("--verify: one machine cannot show a fleet", "leave the machines out, or leave --verify out")
    if like.machine_id != machine:
        raise UsageError(f"--verify: the runs are of {like.machine_id}, and this machine is {machine}",
                         "measure some loads here first, with `tailrace capacity`")


def answers(asked: Asked, found: Known, fit: Fitted, rate: float, changes: Sequence[Change],
            promises: Sequence[Promise], ways: Ways) -> list[dict[str, Any]]:
    """A prediction for things as they are and after each change, one upon the other."""
    limit_s = min((promise.limit / 1e9 for promise in promises if promise.metric == "latency"), default=math.inf)
    twin: Twin = fit.twin
    meta = found.newest.meta
    workers = max(ways.machine_workers, twin.structure.workers * twin.structure.replicas)
    moved: dict[str, float] = {}
    if DEADLINE in settings(meta):
        moved[DEADLINE] = twin.clients.deadline_s
    lines: list[dict[str, Any]] = []

    def add(what: str, assumed: str) -> None:
        lines.append({"what": what, "assumed": assumed, "prediction": predicted(
            fit, twin, rate, limit_s, arrivals=ways.arrivals,
            evidence=evidence(asked, found, fit, moved, workers))})

    add("as it is", "")
    for change, phrase in zip(changes, asked.what_if, strict=True):
        twin, rate, assumed = changed(twin, rate, change, workers, ways.balancing)
        if not assumed:
            moved.update(changed_knobs([change], meta.setup_facts, meta.knobs, meta.device))
        add(phrase, assumed)
    return lines


def evidence(asked: Asked, found: Known, fit: Fitted, moved: dict[str, float], machine_workers: int) -> Evidence:
    """How far off the twin is with these settings and for who asks. Machines like the measured one are as far off as
    that one at their share of the load; what no run shows, of this machine or of such clients, is not known."""
    if not found.here and asked.machine is None:
        of = found.newest.meta.machine_id
        return Evidence(math.nan, f"the runs are of another machine (--machine {of} asks about that one)")
    if asked.clients.retries or math.isfinite(asked.clients.hedge_s):
        return Evidence(math.nan, "clients of no recorded run retry or hedge")
    return held_out_for(found, fit, moved, machine_workers)


def verified(catalog: Catalog, asked: Asked, results: Path, slo: dict[str, str], changes: Sequence[Change],
             last: dict[str, Any], like: RunMeta) -> dict[str, Any]:
    """What a real run of the last prediction measures, with the knobs and on the device of the run that is `like` it.
    Raises UsageError for what one machine cannot show."""
    bench = this_bench(catalog, results)
    if last["assumed"]:
        raise UsageError("--verify: one machine cannot show a fleet", "leave the machines out, or leave --verify out")
    request = probes.Asked(asked.setup, asked.workload, [], None, verified_knobs(like, changes), 11, VERIFY_S, None,
                           like.device)
    first = probes.first_attempt(catalog, bench, request, slo)
    prediction: Prediction = last["prediction"]
    attempt = probes.probing(first, Probe("load", prediction.rate, VERIFY_S, 11))
    with LiveView(screen(stderr=True), 1, f"verifying {asked.setup} on {asked.workload}") as view, \
            racing(bench, view) as run:
        stored = run(attempt, None)
    limit_ms = min((each.limit / 1e6 for each in first.scenario.promises if each.metric == "latency"),
                   default=math.inf)
    result = believed(stored, limit_ms)
    p50, p95, p99 = (float(value) * 1e3 for value in result.seen.quantiles_s((0.5, 0.95, 0.99)))
    return {"run": stored.meta.run_id, "refused": result.refused, "rate": result.seen.rate, "p50_ms": p50,
            "p95_ms": p95, "p99_ms": p99, "p99_error": prediction.p99_ms / p99 - 1 if p99 else math.nan}


def verified_knobs(like: RunMeta, changes: Sequence[Change]) -> dict[str, Knob]:
    """The recorded knobs with those changed, so that nothing else differs."""
    return {**like.knobs, **changed_knobs(changes, like.setup_facts, like.knobs, like.device)}


def show(asked: Asked, found: Known, fit: Fitted, lines: Sequence[dict[str, Any]],
         measured: dict[str, Any] | None) -> None:
    """The table and what stands behind it."""
    page = screen()
    rows = []
    for line in lines:
        each: Prediction = line["prediction"]
        rows.append([line["what"], plain(each.rate), plain(each.p50_ms), plain(each.p95_ms), plain(each.p99_ms),
                     f"{each.good:.2%}", plain(each.rate * each.good), f"{each.busy:.0%}",
                     "abstains" if each.abstains else f"±{each.error:.0%}"])
    if measured:
        rows.append(["measured", plain(measured["rate"]), plain(measured["p50_ms"]), plain(measured["p95_ms"]),
                     plain(measured["p99_ms"]), "", "", "", f"{measured['p99_error']:+.0%}"])
    page.print(grid(f"{asked.setup} on {asked.workload}, predicted",
                    ["", "req/s", "p50 ms", "p95 ms", "p99 ms", "in time", "good/s", "busy", "p99 error"], rows))
    said = [fitted_to(found, fit)]
    said += [f"{line['what']}: assumed {line['assumed']}." for line in lines if line["assumed"]]
    for line in lines:
        each = line["prediction"]
        if each.abstains:
            said.append(f"{line['what']}: it abstains, for {each.abstains}.")
        elif each.basis:
            said.append(f"{line['what']}: its error is no less than that of {each.basis}, held out.")
    last: Prediction = lines[-1]["prediction"]
    if last.unlike and found.here and not measured:
        said.append("`tailrace run` measures what is like it, and that is held out from then on; --verify measures "
                    "another load or knob.")
    if measured and measured["refused"]:
        said.append(f"The measured run is not believed: {measured['refused']}.")
    for text in said:
        page.print(text, markup=False, highlight=False)


def fitted_to(found: Known, fit: Fitted) -> str:
    """What the twin was fitted to, and how far off it was there."""
    elsewhere = "" if found.here else f" of another machine, {found.newest.meta.machine_id},"
    like = settings(found.newest.meta)
    varied = sorted({name for group in found.others for name, value in settings(group[-1].meta).items()
                     if name in like and value != like[name]})
    knobs = f" with {', '.join(f'{name} {like[name]}' for name in varied)}" if varied else ""
    without = f" ({found.left_out} invalid ones left out)" if found.left_out else ""
    return (f"Fitted to {len(fit.run_ids)} runs{elsewhere}{knobs} at {plain(fit.range.rate_low)} to "
            f"{plain(fit.range.rate_high)} req/s{without}; "
            + (f"held out, its p99 was off by {fit.error:.0%} (median) and {fit.worst:.0%} (most)."
               if math.isfinite(fit.error) else "too few to hold one out."))
