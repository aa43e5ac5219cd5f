"""When to decide again: the triggers that a decision record carries, and whether one has fired."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from harness.analyse.figures import figures
from harness.analyse.frames import read_view
from harness.analyse.quantiles import pooled_quantile
from harness.decide.bill import Offer
from harness.decide.bill_measured import place_of, setting_of
from harness.errors import TailraceError
from harness.record.layout import RUN, run_folders
from harness.record.read import StoredRun, find_runs, open_run
from harness.record.schema import RunMeta
from harness.record.verify import verify

KEY = "tailrace: "
SCHEMA = 1
DEMAND_GROWTH, PRICE_CHANGE, P99_GROWTH, OLD_DAYS = 1.5, 0.3, 1.3, 90


@dataclass(frozen=True)
class Decided:
    """The machine-readable part of a decision record: the question, what was chosen, and what would change it.

    `question` is what the command line said, key by key. `p99_above_ms` and `versions` (of its engine, with the
    `python` and `knobs` they ran with) are the chosen setup's; NaN and empty where they are not known. `p99_place` is
    the load of that p99. `measured` is the day of the newest run of the setup that was measured longest ago.
    """

    question: Mapping[str, Any]
    setup: str
    workload: str
    demand_above: float
    hourly_usd: float
    price_change: float
    p99_above_ms: float
    versions: Mapping[str, str]
    measured: str
    old_days: int
    runs: Sequence[str] = field(default_factory=list)
    p99_place: str = ""
    python: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Today:
    """What is known today to hold a record against.

    `hourly_usd` is the setup's price, and `price_words` say where it is from; NaN where it can no longer be told, and
    the words say why. `engines` are the versions that the setup's locks would install, by package; where they can no
    longer be told, `engines_lost` says why. `unlocked` names what no lock does.
    """

    day: date
    demand_mean: float
    hourly_usd: float
    price_words: str
    engines: Mapping[str, str]
    engines_lost: str = ""
    unlocked: Sequence[str] = ()


@dataclass(frozen=True)
class Trigger:
    """One reason to decide again: what was looked at, and whether it has come to pass, or can no longer be told."""

    code: str
    fired: bool
    words: str


def triggers_of(question: Mapping[str, Any], offer: Offer, runs: Sequence[StoredRun], demand_mean: float,
                old_days: int = OLD_DAYS) -> Decided:
    """What would make the choice of this offer a different question: see Decided."""
    newest: dict[str, str] = {}
    for run in runs:
        newest[run.meta.arm] = max(newest.get(run.meta.arm, ""), run.meta.finished_utc)
    seen = [each for each in offer.latencies if each.place == offer.p99_place] or sorted(
        (each for each in offer.latencies if each.verdict != "fail"), key=lambda each: -each.rate)
    p99, place = (seen[0].p99_ms.value, seen[0].place) if seen else (offer.p99_ms.value, "")
    own = max((run.meta for run in runs if run.meta.arm == offer.setup), key=lambda meta: meta.run_id, default=None)
    return Decided(question, offer.setup, offer.workload, demand_mean * DEMAND_GROWTH, offer.hourly_usd, PRICE_CHANGE,
                   p99 * P99_GROWTH, _engines(own) if own else {}, min(newest.values(), default="")[:10], old_days,
                   [run.meta.run_id for run in runs], place, own.versions.get("python", "") if own else "",
                   dict(own.knobs) if own else {})


def _engines(meta: RunMeta) -> dict[str, str]:
    """Versions of the engine that ran."""
    return {str(name): str(version) for name, version in meta.facts.get("engine_versions", {}).items()}


def front_matter(decided: Decided) -> str:
    """The line that `read_decided` reads: JSON, which is YAML too."""
    table = {"schema": SCHEMA, **vars(decided)}
    if not math.isfinite(decided.p99_above_ms):
        table["p99_above_ms"] = None
    return KEY + json.dumps(table, allow_nan=False)


def read_decided(path: Path) -> Decided:
    """The machine-readable part of a record. Raises TailraceError when it has none."""
    hint = "give a file that `tailrace decide --out` wrote"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TailraceError(f"{path}: cannot be read: {error}", hint) from None
    told = next((line.removeprefix(KEY) for line in lines if line.startswith(KEY)), None)
    if told is None:
        raise TailraceError(f"{path}: no line '{KEY.strip()}' in its front matter", hint)
    try:
        table = json.loads(told)
        if table.pop("schema") != SCHEMA:
            raise TailraceError(f"{path}: written by another version of tailrace", "decide again")
        table["p99_above_ms"] = math.nan if table["p99_above_ms"] is None else float(table["p99_above_ms"])
        return Decided(**table)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TailraceError(f"{path}: its front matter is damaged ({error})", hint) from None


def evidence(results: Path, ids: Sequence[str]) -> tuple[list[StoredRun], list[str]]:
    """The runs of these ids below `results`, and a sentence for each that is missing or altered."""
    folders = {folder.name: folder for folder in run_folders(results) if (folder / RUN).is_file()} \
        if results.is_dir() else {}
    runs, problems = [], []
    for name in ids:
        if name not in folders:
            problems.append(f"run {name} is not below {results}")
            continue
        run = open_run(folders[name])
        runs.append(run)
        problems += [f"run {name}: {line}" for line in verify(run)]
    return runs, problems


def recheck(decided: Decided, results: Path, today: Today) -> list[Trigger]:
    """Every trigger of a record against what is known today and the records below `results`. One that can no longer be
    evaluated has fired: what a decision rests on is not to go missing in silence."""
    runs, problems = evidence(results, decided.runs)
    days = (today.day - date.fromisoformat(decided.measured)).days
    return [
        Trigger("demand", today.demand_mean > decided.demand_above,
                f"mean demand {today.demand_mean:.4g}/s, allowed up to {decided.demand_above:.4g}/s"),
        _priced(decided, today),
        _slower(decided, results, runs),
        _other_engine(decided, today),
        Trigger("age", days > decided.old_days,
                f"the oldest setup's evidence is {days} days old, allowed up to {decided.old_days}"),
        Trigger("evidence", bool(problems), problems[0] if problems else f"all {len(decided.runs)} runs are unaltered"),
    ]


def _priced(decided: Decided, today: Today) -> Trigger:
    allowed = f"allowed ±{decided.price_change:.0%} of ${decided.hourly_usd:g} an hour"
    if math.isnan(today.hourly_usd):
        return Trigger("price", True, f"cannot be evaluated, {allowed}: {today.price_words}")
    change = today.hourly_usd / decided.hourly_usd - 1
    return Trigger("price", abs(change) > decided.price_change,
                   f"${today.hourly_usd:g} an hour ({today.price_words}), {change:+.0%}, {allowed}")


def _slower(decided: Decided, results: Path, old: Sequence[StoredRun]) -> Trigger:
    """The p99 of the setup's valid runs after those of the record, under the same load, with the same knobs and on the
    same machine, all together; infinite latencies count."""
    limit = f"allowed up to {decided.p99_above_ms:.4g} ms"
    runs = find_runs(results).runs if results.is_dir() else ()
    own = [run.meta for run in old if run.meta.arm == decided.setup]
    places = {decided.p99_place} if decided.p99_place else {place_of(meta) for meta in own}
    settings = {setting_of(meta) for meta in own}
    found = [run for run in runs if (run.meta.arm, run.meta.workload) == (decided.setup, decided.workload)
             and place_of(run.meta) in places and setting_of(run.meta) in settings and run.meta.status == "ok"
             and run.has_rows and run.meta.run_id > max(decided.runs)]
    if not math.isfinite(decided.p99_above_ms):
        return Trigger("p99", False, f"nothing to compare: the record has no finite p99 of {decided.setup}")
    newer = [view for view in map(read_view, found) if figures(view, view.probes).valid]
    if not newer:
        return Trigger("p99", False, f"no newer valid run of {decided.setup} under that load to tell its p99, {limit}")
    p99 = pooled_quantile([view.rows.ordered_ms for view in newer], 0.99)
    return Trigger("p99", p99 > decided.p99_above_ms, f"p99 {p99:.4g} ms in {len(newer)} newer runs, {limit}")


def _other_engine(decided: Decided, today: Today) -> Trigger:
    """Whether the locks would install another engine than was measured, newer or older: neither has been measured."""
    if today.engines_lost:
        return Trigger("engine", True, f"cannot be evaluated: {today.engines_lost}")
    if not decided.versions:
        return Trigger("engine", False, "nothing to compare: the runs do not tell their versions")
    was = {canonicalize_name(name): version for name, version in decided.versions.items()}
    for name, version in sorted(today.engines.items()):
        then = was.get(canonicalize_name(name), "")
        if then != version:
            return Trigger("engine", True, f"{name} {version} is locked, {then or 'none'} was measured")
    same = ", ".join(f"{name} {version}" for name, version in today.engines.items())
    apart = f"; not compared, for no lock names it: {', '.join(today.unlocked)}" if today.unlocked else ""
    return Trigger("engine", False, (f"locked as measured: {same}" if same else "no lock names its engine") + apart)
