"""`tailrace predict`: what the twin of recorded runs says of loads and knobs nobody measured."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.analyse.words import plain
from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.slo import Promise, parse_promise
from harness.cli import capacity as probes
from harness.cli.live import LiveView
from harness.cli.show import dump, grid, screen
from harness.decide.bill_question import parse_slo
from harness.decide.capacity import Probe
from harness.decide.demand import Curve, find_demand
from harness.decide.twin import Clients, Twin
from harness.decide.twin_fit import Seen
from harness.decide.twin_predict import Fitted, Prediction, learned, predicted
from harness.decide.twin_read import OWNERS, clients_of, scenario_of, seen, structure_of
from harness.decide.twin_whatif import KNOBS, OWNED, Change, changed, parse_change
from harness.errors import Exit, TailraceError, UsageError
from harness.record.read import StoredRun, find_runs
from harness.record.schema import RunMeta
from harness.run.bench import this_bench
from harness.run.race import racing

HOURS = {"lunch": 12.5, "noon": 12.0, "midnight": 0.0, "night": 3.0, "morning": 9.0, "evening": 19.0}
VERIFY_S = 20.0


@dataclass(frozen=True)
class Asked:
    """What to predict: the load (`rate`, or a `demand` and its busiest minute), the changes, the promise."""

    setup: str
    workload: str
    what_if: Sequence[str]
    rate: float | None
    demand: str | None
    slo: Sequence[str]
    verify: bool
    clients: Clients


@dataclass(frozen=True)
class Known:
    """The runs that a twin is fitted to: of one setup, workload, machine and set of knobs, the newest's."""

    runs: tuple[StoredRun, ...]

    @property
    def newest(self) -> StoredRun:
        """The latest of them."""
        return self.runs[-1]


def predict(asked: Asked, results: Path, as_json: bool) -> int:
    """Predicts now and after each change, verifies the last where asked. Exit code 110 where it abstains."""
    catalog = find_catalog()
    changes = [parse_change(text) for text in asked.what_if]
    slo = parse_slo(asked.slo) if asked.slo else {}
    promises = tuple(parse_promise(metric, bound) for metric, bound in slo.items())
    found = known(results, catalog, asked)
    fit = fit_of(found, asked.clients)
    rate = base_rate(catalog, asked, found, changes)
    meta = found.newest.meta
    # More workers share the cores of a machine, but not its one GPU: more of those are more machines.
    lines = answers(fit, rate, changes, asked.what_if, promises, len(meta.server_cpus) if meta.device == "cpu" else 1)
    measured = verified(catalog, asked, results, slo, changes, lines[-1], meta) if asked.verify else None
    if as_json:
        dump({"fitted": {"runs": fit.run_ids, "range": asdict(fit.range), "held_out_error": fit.error,
                         "worst": fit.worst}, "predictions": [{**line, "prediction": asdict(line["prediction"])}
                                                              for line in lines], "measured": measured})
        return code_of(lines)
    show(asked, fit, lines, measured)
    return code_of(lines)


def code_of(lines: Sequence[dict[str, Any]]) -> int:
    """110 where the last prediction abstains."""
    return Exit.INCONCLUSIVE if lines[-1]["prediction"].abstains else Exit.OK


def known(results: Path, catalog: Catalog, asked: Asked) -> Known:
    """The runs to fit. Raises TailraceError when there are none."""
    catalog.setup(asked.setup)
    catalog.workload(asked.workload)
    runs = [run for run in find_runs(results).runs
            if (run.meta.setup, run.meta.workload, run.meta.status) == (asked.setup, asked.workload, "ok")
            and run.has_rows and not scenario_of(run).closed]
    if not runs:
        raise TailraceError(f"{results}: no run of {asked.setup} on {asked.workload} to fit a twin to",
                            "measure some loads with `tailrace capacity` or `tailrace run --load`")
    last = runs[-1].meta
    same = [run for run in runs if (run.meta.machine_id, run.meta.device, run.meta.knobs, run.meta.hashes.get("setup"))
            == (last.machine_id, last.device, last.knobs, last.hashes.get("setup"))]
    return Known(tuple(same))


def fit_of(found: Known, clients: Clients) -> Fitted:
    """The twin of the runs, under clients as asked where they differ from the recorded ones."""
    meta = found.newest.meta
    hint = structure_of(meta.knobs, meta.setup_facts, len(meta.server_cpus), meta.device)
    runs: list[Seen] = [seen(run) for run in found.runs]
    try:
        fit = learned(runs, hint, clients_of(scenario_of(found.newest)))
    except ValueError as error:
        raise TailraceError(f"{meta.setup} on {meta.workload}: {error}", "measure it again") from None
    return replace(fit, twin=replace(fit.twin, clients=replace(
        clients, timeout_s=min(clients.timeout_s, fit.twin.clients.timeout_s))))


def base_rate(catalog: Catalog, asked: Asked, found: Known, changes: Sequence[Change]) -> float:
    """The load to start from: as given, the demand's at the moment a change names or its busiest minute, else the
    newest run's own."""
    if asked.rate is not None:
        return asked.rate
    if asked.demand is not None:
        curve = find_demand(catalog, asked.demand)
        when = next((change.when for change in changes if change.when), "")
        return at_moment(curve, when) if when else curve.peak
    return seen(found.newest).rate


def at_moment(curve: Curve, when: str) -> float:
    """The demand at a time of day (`12:30`, `lunch`), the most of any day. Raises UsageError."""
    clock = re.fullmatch(r"(\d{1,2})(?::(\d\d))?(?:\s*h)?", when)
    if clock is None and when not in HOURS:
        raise UsageError(f"'at {when}': no such time", f"write 12:30 or one of {', '.join(HOURS)}")
    hour = int(clock[1]) + int(clock[2] or 0) / 60 if clock else HOURS[when]
    minute = round(hour * 60) % 1440
    return float(curve.rate[minute % len(curve.rate)::1440].max())


def answers(fit: Fitted, rate: float, changes: Sequence[Change], phrases: Sequence[str],
            promises: Sequence[Promise], machine_workers: int) -> list[dict[str, Any]]:
    """A prediction for things as they are and after each change, one upon the other."""
    limit_s = min((promise.limit / 1e9 for promise in promises if promise.metric == "latency"), default=math.inf)
    twin: Twin = fit.twin
    workers = max(machine_workers, twin.structure.workers * twin.structure.replicas)
    lines: list[dict[str, Any]] = [{"what": "as it is", "assumed": "",
                                    "prediction": predicted(fit, twin, rate, limit_s)}]
    for change, phrase in zip(changes, phrases, strict=True):
        twin, rate, assumed = changed(twin, rate, change, workers)
        lines.append({"what": phrase, "assumed": assumed, "prediction": predicted(fit, twin, rate, limit_s)})
    return lines


def verified(catalog: Catalog, asked: Asked, results: Path, slo: dict[str, str], changes: Sequence[Change],
             last: dict[str, Any], like: RunMeta) -> dict[str, Any]:
    """What a real run of the last prediction measures, on the device of the run that is `like` it. Raises UsageError
    for what one machine cannot show."""
    bench = this_bench(catalog, results)
    if last["assumed"]:
        raise UsageError("--verify: one machine cannot show a fleet", "leave the machines out, or leave --verify out")
    names = OWNED if like.device == "gpu" and OWNERS in like.knobs else KNOBS
    knobs = {names[change.subject]: change.to if change.subject == "wait_ms" else int(change.to)
             for change in changes if change.subject in names}
    request = probes.Asked(asked.setup, asked.workload, [], None, {**knobs}, 11, VERIFY_S, None, like.device)
    first = probes.first_attempt(catalog, bench, request, slo)
    prediction: Prediction = last["prediction"]
    attempt = probes.probing(first, Probe("load", prediction.rate, VERIFY_S, 11))
    with LiveView(screen(stderr=True), 1, f"verifying {asked.setup} on {asked.workload}") as view, \
            racing(bench, view) as run:
        stored = run(attempt, None)
    result = probes.believed(stored)
    p50, p95, p99 = (float(value) * 1e3 for value in result.seen.quantiles_s((0.5, 0.95, 0.99)))
    return {"run": stored.meta.run_id, "refused": result.refused, "rate": result.seen.rate, "p50_ms": p50,
            "p95_ms": p95, "p99_ms": p99, "p99_error": prediction.p99_ms / p99 - 1 if p99 else math.nan}


def show(asked: Asked, fit: Fitted, lines: Sequence[dict[str, Any]], measured: dict[str, Any] | None) -> None:
    """The table and what stands behind it."""
    page = screen()
    rows = []
    for line in lines:
        each: Prediction = line["prediction"]
        rows.append([line["what"], plain(each.rate), plain(each.p50_ms), plain(each.p95_ms), plain(each.p99_ms),
                     f"{each.good:.2%}", f"{each.busy:.0%}",
                     "abstains" if each.abstains else f"±{each.error:.0%}"])
    if measured:
        rows.append(["measured", plain(measured["rate"]), plain(measured["p50_ms"]), plain(measured["p95_ms"]),
                     plain(measured["p99_ms"]), "", "", f"{measured['p99_error']:+.0%}"])
    page.print(grid(f"{asked.setup} on {asked.workload}, predicted",
                    ["", "req/s", "p50 ms", "p95 ms", "p99 ms", "in time", "busy", "p99 error"], rows))
    said = [f"Fitted to {len(fit.run_ids)} runs at {plain(fit.range.rate_low)} to {plain(fit.range.rate_high)} req/s; "
            + (f"held out, its p99 was off by {fit.error:.0%} (median) and {fit.worst:.0%} (most)."
               if math.isfinite(fit.error) else "too few to hold one out.")]
    said += [f"{line['what']}: assumed {line['assumed']}." for line in lines if line["assumed"]]
    said += [f"{line['what']}: it abstains, for {line['prediction'].abstains}." for line in lines
             if line["prediction"].abstains]
    if measured and measured["refused"]:
        said.append(f"The measured run is not believed: {measured['refused']}.")
    for text in said:
        page.print(text, markup=False, highlight=False)
