"""What one replica of each setup carries within a promise, from what lies on disk, and what it costs an hour."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from harness.analyse.cells import cell
from harness.analyse.figures import RunFigures, figures
from harness.analyse.frames import RunView, read_view
from harness.analyse.model import Cell, Interval, Verdict
from harness.analyse.probe_figures import Probes
from harness.analyse.summary import selected
from harness.catalog.device import parted
from harness.catalog.scenario import Scenario
from harness.catalog.slo import parse_promise
from harness.catalog.toml import nearest, validate
from harness.decide.bill import UNKNOWN, Offer
from harness.decide.choice_evidence import log_mean
from harness.decide.prices import Instance, PriceList, age_words, instance_for, instance_named, instance_with_gpu
from harness.errors import TailraceError, UsageError
from harness.record.capacity import Capacity, find_capacities
from harness.record.read import StoredRun, read_machine

PROBED = "capacity"  # the plan of the probes of `tailrace capacity`
BUSY = 0.8  # share of its CPUs that an estimate from CPU time lets a replica use; a queue's tail grows beyond it
SEARCHED, ESTIMATED, GIVEN = "searched for with `tailrace capacity`", "ESTIMATED from CPU time per answer", "as given"


@dataclass(frozen=True)
class Asked:
    """The question: a workload, its promise (clause to bound), and what money is known.

    `prices` are USD an hour by setup, `instances` names of the price list by setup, `speeds` assumed factors by setup,
    `carries` requests a second by setup where nothing was measured. `today` dates the prices' age.
    """

    workload: str
    slo: Mapping[str, str]
    list_: PriceList
    today: date
    setups: Sequence[str] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)
    carries: Mapping[str, float] = field(default_factory=dict)

    @property
    def promise(self) -> str:
        """The promise as one text."""
        return " and ".join(f"{metric} {bound}" for metric, bound in self.slo.items())


@dataclass(frozen=True)
class Opened:
    """A run with its rows and probes in memory."""

    run: StoredRun
    view: RunView
    probes: Probes


@dataclass(frozen=True)
class Measured:
    """One setup's cells, judged by the promise asked for; the valid runs' figures by cell; the newest run."""

    cells: tuple[Cell, ...]
    runs: Mapping[tuple[str, float], Sequence[RunFigures]]
    newest: StoredRun

    @property
    def best(self) -> Cell:
        """The cell of the highest load at which the promise was kept; of the lowest where it never was."""
        kept = [each for each in self.cells if each.verdict == "pass"]
        if kept:
            return max(kept, key=lambda each: each.offered_rate)
        return min(self.cells, key=lambda each: each.offered_rate)


@dataclass(frozen=True)
class Offered:
    """The offers; the measured cell of each setup (the highest load at which the promise was kept, else the lowest);
    and why a setup makes no offer."""

    offers: tuple[Offer, ...]
    cells: Mapping[str, Cell]
    without: Mapping[str, str]


def opened(results: Path, asked: Asked) -> tuple[Opened, ...]:
    """The open-loop runs of the workload and setups asked for, with their rows: read once, judged by many promises."""
    runs = selected(results) if results.is_dir() else ()
    wanted = [run for run in runs if run.meta.workload == asked.workload
              and (not asked.setups or run.meta.arm in asked.setups)
              and not any(stage["arrivals"] == "closed" for stage in run.meta.scenario_resolved["stage"])]
    return tuple(Opened(run, read_view(run), run.probes()) for run in told(wanted))


def told(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Without the probes of capacity searches, which go to saturation and back, of setups that have other runs."""
    loaded = {run.meta.arm for run in runs if run.meta.plan != PROBED}
    return [run for run in runs if run.meta.plan != PROBED or run.meta.arm not in loaded]


def offered(results: Path, asked: Asked, runs: Sequence[Opened]) -> Offered:
    """What the records below `results` offer; `runs` are those that `opened` read. Raises TailraceError when they know
    nothing of the workload."""
    measured = _judged(asked, runs)
    found = _searched(results, asked) if results.is_dir() else {}
    known = sorted({*measured, *found, *asked.carries})
    unknown = [name for name in asked.setups if name not in known]
    if not known:
        raise TailraceError(f"{results}: nothing is recorded of workload '{asked.workload}'",
                            "measure it with `tailrace run` or `tailrace capacity`, or give --carries SETUP=REQ/S")
    if unknown:
        raise UsageError(f"nothing is recorded of setup '{unknown[0]}' on {asked.workload}", nearest(unknown[0], known))
    made, without = [], {}
    for name in asked.setups or known:
        rated = _rated(asked, name, measured.get(name), found.get(name, []))
        if isinstance(rated, str):
            without[name] = rated
        else:
            made.append(_priced(asked, _faced(rated, measured.get(name)), measured.get(name)))
    return Offered(tuple(made), {name: each.best for name, each in measured.items()}, without)


def same_promise(text: str, slo: Mapping[str, str]) -> bool:
    """Whether a capacity's promise is the one asked for, however it is spaced and ordered."""
    clauses = text.replace(" and ", ",").replace(";", ",").split(",")
    plain = {"".join(clause.split()) for clause in clauses if clause.strip()}
    return plain == {"".join(f"{metric}{bound}".split()) for metric, bound in slo.items()}


def _searched(results: Path, asked: Asked) -> dict[str, list[Capacity]]:
    """Capacities under the promise by setup, oldest first, of the newest one's machine and knobs."""
    found: dict[str, list[Capacity]] = {}
    for each in find_capacities(results):
        if each.workload == asked.workload and same_promise(each.promise, asked.slo) and each.rate.value > 0:
            found.setdefault(each.arm, []).append(each)
    return {setup: [each for each in group if (each.machine_id, each.knobs, each.replica_cpus)
                    == (group[-1].machine_id, group[-1].knobs, group[-1].replica_cpus)]
            for setup, group in found.items()}


def _judged(asked: Asked, runs: Sequence[Opened]) -> dict[str, Measured]:
    """Every setup's cells judged by the promise asked for."""
    groups: dict[str, dict[tuple[str, float], list[RunFigures]]] = {}
    last: dict[str, StoredRun] = {}
    for each in runs:
        said = {**each.view.scenario.model_dump(), "slo": dict(asked.slo)}
        judged = replace(each.view, scenario=validate(Scenario, said, f"run {each.run.meta.run_id}"))
        meta = each.run.meta
        groups.setdefault(meta.arm, {}).setdefault((meta.scenario, meta.load), []).append(
            figures(judged, each.probes))
        last[meta.arm] = each.run
    return {setup: Measured(tuple(cell(runs, ()) for runs in places.values()), places, last[setup])
            for setup, places in groups.items()}


def _rated(asked: Asked, name: str, measured: Measured | None, searches: Sequence[Capacity]) -> Offer | str:
    """An offer without a price, or why there is none."""
    if name in asked.carries:
        given = asked.carries[name]
        return _bare(asked, name, Interval(given, given, given), GIVEN, "pass")
    if searches:
        each = dict(enumerate(one.rate.value for one in searches))
        newest = searches[-1].rate
        rate = log_mean(list(each.values())) if len(each) > 2 else Interval(newest.value, newest.low, newest.high)
        ids = tuple(dict.fromkeys(run for one in searches for run in one.run_ids))
        said = f"{SEARCHED}, {len(each)} time{'s' * (len(each) > 1)}"
        return replace(_bare(asked, name, rate, said, "pass"), run_ids=ids, each_rate=each if len(each) > 2 else {})
    if measured is None:
        return "neither measured nor searched for under this promise"
    best = measured.best
    if best.verdict in ("fail", "invalid"):
        return f"{best.verdict} at {best.offered_rate:.4g}/s: {best.verdict_reason}"
    return _estimated(asked, best, measured.runs[(best.scenario, best.load)])


def _estimated(asked: Asked, best: Cell, runs: Sequence[RunFigures]) -> Offer | str:
    """The utilisation law (Denning & Buzen 1978, §2): the busy time a request takes bounds how many can be served."""
    valid = [run for run in runs if run.valid and run.cpu_cores > 0 and run.throughput > 0]
    each = {run.meta.repetition: cpu_bound(best.server_cpus, run.cpu_cores, run.throughput) for run in valid}
    if len(each) < 2:
        return "fewer than two valid runs tell its CPU time: search for its capacity"
    said = (f"{ESTIMATED} at {best.offered_rate:.4g}/s in {len(each)} runs, {BUSY:.0%} of {best.server_cpus} CPUs "
            "busy: search for its capacity to know")
    rate = log_mean(list(each.values()))
    return replace(_bare(asked, best.setup, rate, said, best.verdict), each_rate=each, saturated=rate.value / BUSY,
                   run_ids=tuple(run.meta.run_id for run in valid))


def cpu_bound(cpus: int, cores_used: float, throughput: float) -> float:
    """Requests a second that keep BUSY of `cpus` busy, where `throughput` of them used `cores_used`."""
    return BUSY * cpus * throughput / cores_used


def _bare(asked: Asked, name: str, rate: Interval, source: str, verdict: Verdict) -> Offer:
    shares = [promise.quantile for promise in (parse_promise(*clause) for clause in asked.slo.items())
              if promise.metric == "latency"]
    return Offer(name, asked.workload, rate, math.nan, "", "", source, speed=asked.speeds.get(name, 1.0),
                 verdict=verdict, promised=max(shares, default=0.99))


def _faced(offer: Offer, measured: Measured | None) -> Offer:
    """With its measured latency, and the facts its setup tells about itself."""
    if measured is None:
        return offer
    best, meta = measured.best, measured.newest.meta
    needs = meta.setup_facts.get("needs", {})
    parts = 1 + len(needs.get("programs", ())) + bool(needs.get("docker")) + bool(needs.get("java"))
    ids = dict.fromkeys([*offer.run_ids, *(each.run_id for each in best.runs if each.valid)])
    facts = {**meta.setup_facts.get("mlops", {}), "gpu": bool(needs.get("gpu")) or meta.device == "gpu",
             "moving_parts": str(parts)}
    return replace(offer, p99_ms=best.quantiles_ms.get(0.99, UNKNOWN), p99_at=best.offered_rate, run_ids=tuple(ids),
                   seconds_each=sum(each["duration_s"] for each in meta.scenario_resolved["stage"]), facts=facts)


def _alike(prices: PriceList, arm: str, cpus: int, machine: Mapping[str, object]) -> Instance:
    """The instance that stands for the machine an arm ran on. Raises UsageError where none has its GPU."""
    if parted(arm)[1] == "cpu":
        return instance_for(prices, cpus)
    gpus = machine.get("gpus")
    name = str(gpus[0]) if isinstance(gpus, list) and gpus else "a GPU"
    found = instance_with_gpu(prices, cpus, name)
    if found is None:
        raise UsageError(f"price list {prices.name} has no instance with {name}, on which {arm} ran",
                         f"say what it costs: --price '{arm}=3.50/h'")
    return found


def _priced(asked: Asked, offer: Offer, measured: Measured | None) -> Offer:
    if offer.setup in asked.prices:
        return replace(offer, hourly_usd=asked.prices[offer.setup], instance="a machine", price_words="price as given")
    if offer.setup in asked.instances:
        instance = instance_named(asked.list_, asked.instances[offer.setup])
    else:
        machine = read_machine(measured.newest.folder.parent) if measured else {}
        cpus = machine.get("cpus") or (measured.best.server_cpus + 1 if measured else 4)
        instance = _alike(asked.list_, offer.setup, int(cpus), machine)
    words = f"price list {asked.list_.name}, checked {age_words(instance, asked.today)}"
    return replace(offer, hourly_usd=instance.hourly_usd, instance=f"{instance.name} ({instance.cloud})",
                   price_words=words)
