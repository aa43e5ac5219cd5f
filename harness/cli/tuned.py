"""`tailrace run --tuned`: a plan with the knobs that `tailrace tune` found for its setups, and what is said of them."""

from collections.abc import Callable, Mapping, Sequence

from harness.catalog.device import arm
from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan
from harness.catalog.setup import Knob
from harness.plan.attempt import Attempt
from harness.plan.expand import expand
from harness.record.profiles import Profile, read_profiles
from harness.report.words import figure
from harness.run.bench import Bench
from harness.run.provenance import nouns


def with_profiles(plan: Plan, catalog: Catalog, bench: Bench, say: Callable[[str], None]) -> Plan:
    """The plan with the tuned knobs of every setup that has a profile here of its code, its promise and the engine
    behind it; knobs that the plan or a flag gives stay. Says of each setup what is used, or why its defaults race."""
    races = []
    for race in plan.race:
        knobs = dict(race.knobs)
        alone = plan.model_copy(update={"race": (race.model_copy(update={"loads": race.loads[:1]}),), "repetitions": 1})
        for attempt in expand(alone, catalog, len(bench.cores.server)):
            name = attempt.setup.name
            given = race.knobs.get(name, {})
            found = read_profiles(bench.folder, name, attempt.workload.name, attempt.device)
            profile, why = chosen(found, attempt, given)
            if profile is not None:
                knobs[name] = {**profile.knobs, **given}
                why = told(profile, attempt.knobs, given)
            say(f"{arm(name, attempt.device)} on {attempt.workload.name}: {why}")
        races.append(race.model_copy(update={"knobs": knobs}))
    return plan.model_copy(update={"race": tuple(races)})


def promise(attempt: Attempt) -> str:
    """What is promised, as a profile names it."""
    return " and ".join(clause.text for clause in attempt.scenario.promises)


def chosen(found: Sequence[Profile], attempt: Attempt, given: Mapping[str, Knob]) -> tuple[Profile | None, str]:
    """The newest profile of that promise, that engine behind, that code and what the race gives; else none, and why."""
    if not found:
        return None, "no profile, so its defaults race"
    fronting = [each for each in found if each.behind == attempt.setup.behind]
    if not fronting:
        others = ", ".join(dict.fromkeys(each.behind or "nothing" for each in found))
        return None, f"tuned in front of {others}, not of {attempt.setup.behind or 'nothing'}, so its defaults race"
    asked = promise(attempt)
    promised = [each for each in fronting if each.promise == asked]
    if not promised:
        others = "; ".join(dict.fromkeys(each.promise or "nothing" for each in fronting))
        return None, f"tuned for {others}, not for {asked or 'nothing'}, so its defaults race"
    hashes = nouns(attempt.setup, attempt.workload)
    fitting = [each for each in promised if each.fits(hashes)]
    if not fitting:
        return None, "tuned with other code, so its defaults race; tune it again"
    alike = next((each for each in fitting if not _unlike(each, attempt, given)), None)
    return alike, "" if alike else (f"tuned with another {_unlike(fitting[0], attempt, given)} than this race gives, "
                                    "so its defaults race")


def _unlike(profile: Profile, attempt: Attempt, given: Mapping[str, Knob]) -> str:
    """A knob that the race gives, that was not searched, and that had another value then; "" where there is none."""
    return next((name for name, value in given.items()
                 if name not in attempt.setup.tune and profile.knobs.get(name, value) != value), "")


def told(profile: Profile, default: Mapping[str, Knob], given: Mapping[str, Knob]) -> str:
    """Which knobs a profile changes, and how much better they were where that was shown."""
    changed = [f"{name} = {value}" for name, value in profile.knobs.items()
               if default.get(name) != value and name not in given]
    if not changed:
        return f"its profile keeps the defaults ({profile.why})"
    return (f"tuned, {', '.join(changed)}; {figure(profile.ratio)} times the default's goodput at {profile.promise} "
            f"(95 % interval {figure(profile.low)} to {figure(profile.high)}, {profile.found_utc[:10]})")
