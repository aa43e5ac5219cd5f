"""What one replica of each setup carries within a promise, from what lies on disk, and what it costs an hour."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from harness.analyse.figures import RunFigures
from harness.analyse.model import Cell, Interval, Verdict
from harness.catalog.device import parted
from harness.catalog.slo import parse_promise
from harness.catalog.toml import nearest
from harness.decide.bill import ESTIMATED, GIVEN, SEARCHED, UNKNOWN, Offer
from harness.decide.bill_measured import Asked, Measured, Opened, measured
from harness.decide.choice_evidence import log_mean
from harness.decide.prices import Instance, PriceList, age_words, instance_for, instance_named, instance_with_gpu
from harness.errors import TailraceError, UsageError
from harness.record.capacity import Capacity
from harness.record.read import find_runs, read_machine
from harness.record.schema import RunMeta

BUSY = 0.8  # share of its CPUs that an estimate from CPU time lets a replica use; a queue's tail grows beyond it


@dataclass(frozen=True)
class Offered:
    """The offers; the measured cell of each setup (the highest load at which the promise was kept, else the lowest);
    why a setup makes no offer; and the newest search of each that was searched."""

    offers: tuple[Offer, ...]
    cells: Mapping[str, Cell]
    without: Mapping[str, str]
    searches: Mapping[str, Capacity] = field(default_factory=dict)


def offered(results: Path, asked: Asked, runs: Sequence[Opened]) -> Offered:
    """What the records below `results` offer; `runs` are those that `opened` read. Raises TailraceError when they know
    nothing of the workload, or are of two machines; UsageError for a setup that nobody knows, or on a machine that has
    no record of it."""
    found = measured(results, asked, runs)
    known = sorted({*found, *asked.carries})
    check_names(asked, list(found))
    unknown = [name for name in asked.setups if name not in known]
    for name, machine in asked.machines.items():
        if name not in found and (name in asked.setups or not asked.setups):
            raise UsageError(f"--machine {name}={machine}: {results} holds no record of {name} on {asked.workload} "
                             "from that machine", "name a machine whose folder there holds runs of that setup")
    if not known:
        raise TailraceError(f"{results}: nothing is recorded of workload '{asked.workload}'",
                            "measure it with `tailrace run` or `tailrace capacity`, or give --carries SETUP=REQ/S")
    if unknown:
        raise UsageError(f"nothing is recorded of setup '{unknown[0]}' on {asked.workload}", nearest(unknown[0], known))
    lasted = _lasted(results, [search for each in found.values() for search in each.searches])
    made, without = [], {}
    for name in asked.setups or known:
        rated = _rated(asked, name, found.get(name))
        if isinstance(rated, str):
            without[name] = rated
        else:
            made.append(_priced(asked, _faced(rated, found.get(name), lasted), found.get(name)))
    cells = {name: each.cells[each.best] for name, each in found.items() if each.cells}
    return Offered(tuple(made), cells, without,
                   {name: each.searches[-1] for name, each in found.items() if each.searches})


def check_names(asked: Asked, known: Sequence[str]) -> None:
    """Raises UsageError where money is said of a setup that is neither `known` nor may be named."""
    names = sorted({*known, *asked.usual})
    for flag, table in (("--price", asked.prices), ("--instance", asked.instances), ("--speed", asked.speeds),
                        ("--carries", asked.carries), ("--machine", asked.machines)):
        for name in table:
            if name not in names:
                raise UsageError(f"{flag} {name}=…: unknown setup '{name}'", nearest(name, names))


def _lasted(results: Path, searches: Sequence[Capacity]) -> dict[str, float]:
    """Seconds of load of every probe of these searches that lies below `results`."""
    wanted = {run for search in searches for run in search.run_ids}
    runs = find_runs(results).runs if wanted else ()
    return {run.meta.run_id: _seconds(run.meta) for run in runs if run.meta.run_id in wanted}


def _seconds(meta: RunMeta) -> float:
    stages = meta.scenario_resolved["stage"]
    return float(meta.scenario_resolved.get("warmup_s") or 0) + sum(float(each["duration_s"]) for each in stages)


def _rated(asked: Asked, name: str, found: Measured | None) -> Offer | str:
    """An offer without a price, or why there is none."""
    if name in asked.carries:
        given = asked.carries[name]
        return _bare(asked, name, Interval(given, given, given), GIVEN, "pass")
    if found is not None and found.searches:
        return _searched(asked, name, found)
    if found is None or not found.cells:
        return "neither measured nor searched for under this promise"
    best = found.cells[found.best]
    if best.verdict in ("fail", "invalid"):
        return f"{best.verdict} at {best.offered_rate:.4g}/s{_with(found)}: {best.verdict_reason}"
    return _estimated(asked, found, best, found.runs[found.best])


def _searched(asked: Asked, name: str, found: Measured) -> Offer:
    each = dict(enumerate(one.rate.value for one in found.searches))
    newest = found.searches[-1].rate
    rate = log_mean(list(each.values())) if len(each) > 2 else Interval(newest.value, newest.low, newest.high)
    ids = tuple(dict.fromkeys(run for one in found.searches for run in one.run_ids))
    ceilings = [one.ceiling for one in found.searches if one.ceiling > 0]
    said = f"{SEARCHED}, {len(each)} time{'s' * (len(each) > 1)}{_with(found)}"
    return replace(_bare(asked, name, rate, said, "pass"), run_ids=ids, each_rate=each if len(each) > 2 else {},
                   searches=len(each), saturated=geometric_mean(ceilings) if ceilings else math.nan)


def _estimated(asked: Asked, found: Measured, best: Cell, runs: Sequence[RunFigures]) -> Offer | str:
    """The utilisation law (Denning & Buzen 1978, §2): the busy time a request takes bounds how many can be served."""
    valid = [run for run in runs if run.valid and run.cpu_cores > 0 and run.throughput > 0]
    each = {run.meta.repetition: cpu_bound(best.server_cpus, run.cpu_cores, run.throughput) for run in valid}
    if len(each) < 2:
        return f"fewer than two valid runs{_with(found)} tell its CPU time: search for its capacity"
    said = (f"{ESTIMATED} at {best.offered_rate:.4g}/s in {len(each)} runs{_with(found)}, {BUSY:.0%} of "
            f"{best.server_cpus} CPUs busy: search for its capacity to know")
    rate = log_mean(list(each.values()))
    return replace(_bare(asked, best.setup, rate, said, best.verdict), each_rate=each, saturated=rate.value / BUSY,
                   run_ids=tuple(run.meta.run_id for run in valid))


def _with(found: Measured) -> str:
    """` with workers=1 (its newest knobs; 5 others left out)`; "" where nothing is unusual."""
    knobs = f" with {found.changed_knobs}" if found.changed_knobs else ""
    others = f"{found.left_out} older record{'s' * (found.left_out > 1)} with other knobs left out"
    return f"{knobs} ({others})" if found.left_out else knobs


def cpu_bound(cpus: int, cores_used: float, throughput: float) -> float:
    """Requests a second that keep BUSY of `cpus` busy, where `throughput` of them used `cores_used`."""
    return BUSY * cpus * throughput / cores_used


def _bare(asked: Asked, name: str, rate: Interval, source: str, verdict: Verdict) -> Offer:
    shares = [promise.quantile for promise in (parse_promise(*clause) for clause in asked.slo.items())
              if promise.metric == "latency"]
    return Offer(name, asked.workload, rate, math.nan, "", "", source, speed=asked.speeds.get(name, 1.0),
                 verdict=verdict, promised=max(shares, default=0.99))


def _faced(offer: Offer, found: Measured | None, lasted: Mapping[str, float]) -> Offer:
    """With its measured latencies, how long it took to measure, and the facts its setup tells about itself."""
    if found is None or found.newest is None:
        return replace(offer, seconds_each=_each(offer, lasted))
    meta = found.newest.meta
    best = found.cells[found.best]
    needs = meta.setup_facts.get("needs", {})
    parts = 1 + len(needs.get("programs", ())) + bool(needs.get("docker")) + bool(needs.get("java"))
    ids = dict.fromkeys([*offer.run_ids, *(run.meta.run_id for runs in found.runs for run in runs if run.valid)])
    facts = {**meta.setup_facts.get("mlops", {}), "gpu": bool(needs.get("gpu")) or meta.device == "gpu",
             "moving_parts": str(parts)}
    seconds = _each(offer, lasted) if offer.searches else _seconds(found.runs[found.best][-1].meta)
    return replace(offer, p99_ms=best.quantiles_ms.get(0.99, UNKNOWN), p99_at=best.offered_rate, run_ids=tuple(ids),
                   latencies=found.latencies, seconds_each=seconds, facts=facts)


def _each(offer: Offer, lasted: Mapping[str, float]) -> float:
    """Seconds of load that one search of the offer took."""
    total = sum(lasted.get(run, 0.0) for run in offer.run_ids)
    return total / offer.searches if offer.searches and total else math.nan


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


def _priced(asked: Asked, offer: Offer, found: Measured | None) -> Offer:
    if offer.setup in asked.prices:
        return replace(offer, hourly_usd=asked.prices[offer.setup], instance="a machine", price_words="price as given")
    if offer.setup in asked.instances:
        instance = instance_named(asked.list_, asked.instances[offer.setup])
    else:
        machine, had = _machine(found)
        cpus = machine.get("cpus") or (had + 1 if had else 4)
        instance = _alike(asked.list_, offer.setup, int(cpus), machine)
    words = f"price list {asked.list_.name}, checked {age_words(instance, asked.today)}"
    return replace(offer, hourly_usd=instance.hourly_usd, instance=f"{instance.name} ({instance.cloud})",
                   price_words=words, measured_on=_share(found, instance.vcpus, asked.machines.get(offer.setup, "")))


def _machine(found: Measured | None) -> tuple[dict[str, Any], int]:
    """The facts of the machine it was measured on, and how many CPUs the replica had (0: nothing tells)."""
    had = found.searches[-1].replica_cpus if found and found.searches else 0
    if found is None or found.newest is None:
        return {}, had
    return read_machine(found.newest.folder.parent), had or len(found.newest.meta.server_cpus)


def _share(found: Measured | None, vcpus: int, named: str) -> str:
    """What of the measured machine (by its name, where one was asked for) the replica had, beside what is paid."""
    machine, had = _machine(found)
    of = f" of the {machine['cpus']} CPUs" if machine.get("cpus") else " CPUs"
    where = named or "the measured machine"
    said = f"Measured with {had}{of} of {where}; the whole instance ({vcpus} vCPUs) is paid."
    return said if had else ""
