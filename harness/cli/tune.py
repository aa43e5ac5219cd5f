"""`tailrace tune`: which knobs serve best on this machine, at a promise; kept as the setup's profile."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.analyse.compare import TELLING
from harness.analyse.figures import figures
from harness.analyse.frames import read_view
from harness.analyse.model import Check, Interval
from harness.catalog.device import arm, device_of
from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.setup import Knob
from harness.cli.ask import asked_plan, promised
from harness.cli.kept import kept_first
from harness.cli.live import LiveView
from harness.cli.show import dump, screen
from harness.cli.tuned import promise
from harness.errors import RunFailedError, UsageError
from harness.plan.attempt import Attempt
from harness.plan.expand import expand, resolve_knobs
from harness.record.profiles import Profile, write_profile
from harness.record.read import StoredRun
from harness.report.words import figure
from harness.run.bench import this_bench
from harness.run.provenance import nouns
from harness.run.race import racing
from harness.tune.ramp import MOST_STEPS, Scored, ramp, through_capacity
from harness.tune.search import FRESH, Found, candidates, most_runs, search

SETTINGS = 8
RUNS_BELOW = "tuning"  # a search's runs are no results: they lie one level deeper, where no report looks
_REPETITIONS = 64
_CALIBRATION = 50      # repetitions from here on are the calibration's own
_TRIES = 2             # of a run whose measurement is invalid; then its pair is dropped


@dataclass(frozen=True)
class Asked:
    """What to tune, for which promise, with which knobs pinned, and how hard to try."""

    setup: str
    workload: str
    scenario: str | None
    slo: list[str]
    settings: int = SETTINGS
    seconds: float = 5.0
    fresh: int = FRESH
    seed: int = 1
    device: str = "cpu"
    pinned: dict[str, Knob] = field(default_factory=dict)
    resume: bool = False


def tune(asked: Asked, results: Path, as_json: bool) -> int:
    """Searches, stores the profile and says how much better it is. Returns the exit code; raises TailraceError."""
    catalog = find_catalog()
    bench = this_bench(catalog, results / RUNS_BELOW)
    attempts = _attempts(catalog, asked, len(bench.cores.server))
    setup = attempts[0].setup
    if not setup.tune:
        raise UsageError(f"setup {setup.name} declares no knobs to search",
                         f"add a [tune] table to {setup.folder / 'setup.toml'}")
    choices = _choices(attempts[0], len(bench.cores.server), asked.pinned)
    settings = candidates(choices, attempts[0].knobs, asked.settings, asked.seed)
    if len(settings) == 1:
        raise UsageError(f"setup {setup.name}: nothing is left to search", "pin fewer knobs")
    console = screen(stderr=as_json)
    most = MOST_STEPS + most_runs(len(settings), asked.fresh)
    with LiveView(console, most, f"tuning {setup.name} on {asked.workload}") as view, racing(bench, view) as run:
        found = _searched(asked, attempts, settings, kept_first(run, bench.folder) if asked.resume else run, view)
    profile = _profile(attempts[0], found)
    path = write_profile(results / bench.machine.id, profile)
    if as_json:
        dump(asdict(profile))
    else:
        console.print(_sentence(profile, found, attempts[0].knobs, path), markup=False, highlight=False)
    return 0


def refuse_strangers(setup: str, pinned: Mapping[str, object]) -> None:
    """Raises UsageError for a knob of another setup than the one that is tuned."""
    for name in pinned:
        if name != setup:
            raise UsageError(f"--knob {name}.…: only {setup} is tuned", f"write --knob {setup}.KNOB=VALUE")


def _attempts(catalog: Catalog, asked: Asked, cores: int) -> list[Attempt]:
    """One attempt per repetition, each with the seed that all settings share in it."""
    plan = asked_plan(catalog, [asked.setup], [asked.workload], asked.scenario, [],
                      {asked.setup: asked.pinned} if asked.pinned else {}, slo=promised(asked.slo),
                      repetitions=_REPETITIONS, seed=asked.seed, device=device_of(asked.device))
    return expand(plan.model_copy(update={"name": f"tune-{asked.setup}-{asked.workload}"}), catalog, cores)


def _choices(attempt: Attempt, cores: int, pinned: Mapping[str, Knob]) -> dict[str, list[Knob]]:
    """The declared values of every knob that is not pinned, "cores" as a number, and the default among them."""
    resolved = {name: [resolve_knobs(attempt.setup, {name: value}, cores)[name] for value in values]
                for name, values in attempt.setup.tune.items() if name not in pinned}
    return {name: list(dict.fromkeys([attempt.knobs[name], *values])) for name, values in resolved.items()}


def _searched(asked: Asked, attempts: list[Attempt], settings: list[dict[str, Knob]],
              run: Callable[[Attempt, Attempt | None], StoredRun], view: LiveView) -> Found:
    def scored(knobs: dict[str, Knob], repetition: int, times: float) -> Scored:
        attempt = attempts[repetition]
        scenario = ramp(attempt.scenario, asked.seconds, times)
        tuned = replace(attempt, setup=attempt.setup.with_knobs(knobs), knobs=knobs, scenario=scenario,
                        load=round(times, 3))
        return _score(run(tuned, None))

    def goodput(knobs: dict[str, Knob], repetition: int) -> float:
        for _ in range(_TRIES):
            found = scored(knobs, repetition, times)
            if not found.invalid:
                return found.goodput
            view.say(f"not counted, the measurement is invalid: {found.invalid}")
        return math.nan

    tried = iter(range(_CALIBRATION, _REPETITIONS))
    times = through_capacity(lambda multiple: _known(scored(settings[0], next(tried), multiple)))
    view.say(f"the ramp goes to {figure(times * 2)} times the scenario's rate")
    return search(settings, goodput, fresh=asked.fresh, say=view.say)


def _score(stored: StoredRun) -> Scored:
    """The run's goodput, and why it does not count; nothing where it failed. Raises RunFailedError where it could not
    be tried."""
    if stored.meta.status == "skipped":
        raise RunFailedError(f"{stored.meta.setup}: {stored.meta.reason}", "tune it on a machine that has it")
    if stored.meta.status != "ok" or not stored.has_rows:
        return Scored(0.0, 0.0)
    seen = figures(read_view(stored), stored.probes())
    return Scored(seen.goodput, seen.goodput / seen.offered_rate if seen.offered_rate else 0.0, invalid(seen.checks))


def invalid(checks: Sequence[Check]) -> str:
    """Why a run's goodput says nothing of its setting, "" where it does: what a check that is invalid says, unless it
    blames the setup, whose own doing is what is judged here."""
    return next((check.message for check in checks if check.severity == "invalid" and check.blames != "setup"), "")


def _known(scored: Scored) -> Scored:
    """Raises RunFailedError where the defaults themselves answered nothing well."""
    if scored.goodput <= 0:
        raise RunFailedError("the setup's defaults gave no good answer", "look at its server.log, or promise less")
    return scored


def _profile(attempt: Attempt, found: Found) -> Profile:
    ratio = found.ratio if found.better else Interval(1.0, 1.0, 1.0)
    return Profile(attempt.setup.name, attempt.workload.name, attempt.scenario.name, promise(attempt),
                   datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), found.knobs,
                   nouns(attempt.setup, attempt.workload), found.default_score,
                   found.score if found.better else found.default_score, ratio.value, ratio.low, ratio.high,
                   found.fresh, found.runs, found.why, attempt.device, attempt.setup.behind)


def _sentence(profile: Profile, found: Found, default: dict[str, Knob], path: Path) -> str:
    who = f"{arm(profile.setup, profile.device)} on {profile.workload}"
    changed = {name: value for name, value in profile.knobs.items() if default.get(name) != value}
    said = ", ".join(f"{name} = {value}" for name, value in changed.items()) or "the defaults"
    if found.fresh < 2:
        return f"{who}: {said}; {found.why} ({found.runs} runs). Kept in {path}."
    least = "" if found.better or not found.detectable <= TELLING else \
        f"; a gain of {figure(found.detectable)} times would have been told four times in five"
    return (f"{who}: {said}; {found.why}, {figure(found.ratio.value)} times the "
            f"default's goodput at {profile.promise} on a ramp through saturation (95 % interval "
            f"{figure(found.ratio.low)} to {figure(found.ratio.high)}, {found.fresh} fresh pairs, {found.runs} runs"
            f"{least}). Kept in {path}.")
