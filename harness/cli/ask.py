"""What the command line asks for, as a Plan. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.catalog.device import arms
from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan, Race
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob
from harness.catalog.slo import slo_of
from harness.catalog.toml import nearest, validate
from harness.errors import UsageError
from harness.plan.attempt import Attempt


def names(values: Sequence[str] | None) -> list[str]:
    """`["a,b", "c"]` as `["a", "b", "c"]`."""
    return [name.strip() for value in values or [] for name in value.split(",") if name.strip()]


def parse_knobs(values: Sequence[str] | None) -> dict[str, dict[str, Knob]]:
    """`["flask.workers=2"]` as `{"flask": {"workers": 2}}`. Raises UsageError."""
    knobs: dict[str, dict[str, Knob]] = {}
    for value in values or []:
        place, equals, text = value.partition("=")
        setup, dot, knob = place.partition(".")
        if not (equals and dot and setup and knob):
            raise UsageError(f"--knob {value}: not understood", "write SETUP.KNOB=VALUE, for example flask.workers=2")
        knobs.setdefault(setup, {})[knob] = _value(text)
    return knobs


def promised(expressions: list[str]) -> dict[str, str] | None:
    """`["p(95)<200"]` as an [slo] table; None of none. Raises UsageError."""
    try:
        return slo_of(expressions) if expressions else None
    except ValueError as error:
        raise UsageError(f"--slo: {error}", "see docs/adding.md for what can be promised") from None


def _value(text: str) -> Knob:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def named_plan(catalog: Catalog, name: str, setups: list[str], workloads: list[str], **changes: object) -> Plan:
    """The plan of that name, narrowed to `setups` and `workloads` where given, with the `changes` that are not None.

    Raises UsageError when nothing is left to race.
    """
    plan = catalog.plan(name)
    for workload in workloads:
        known = [race.workload for race in plan.race]
        if workload not in known:
            raise UsageError(f"plan {name} does not race workload '{workload}'", nearest(workload, known))
    for setup in setups:
        if setup not in setups_of(plan):
            raise UsageError(f"plan {name} does not race setup '{setup}'", nearest(setup, setups_of(plan)))
    given = {key: value for key, value in changes.items() if value is not None}
    plan_against(setups_of(plan), given.get("baseline", plan.baseline), f"plan {name}")
    races = [race.model_copy(update={
                "setups": tuple(s for s in race.setups if not setups or s in setups),
                "knobs": {s: k for s, k in race.knobs.items() if not setups or s in setups}})
             for race in plan.race if not workloads or race.workload in workloads]
    races = [race.model_copy(update={"device": given.get("device", race.device)}) for race in races if race.setups]
    return validate(Plan, {**plan.model_dump(), **given, "race": races}, f"plan {name}")


def setups_of(plan: Plan) -> list[str]:
    """The names of the setups that the plan races."""
    return sorted({setup for race in plan.race for setup in race.setups})


def plan_against(setups: Sequence[str], baseline: object, where: str) -> None:
    """Raises UsageError for a baseline that is no arm of the setups."""
    if baseline is not None and baseline not in arms(setups):
        raise UsageError(f"{where} does not race the baseline '{baseline}'", nearest(str(baseline), list(setups)))


def asked_plan(catalog: Catalog, setups: list[str], workloads: list[str], scenario: str | None, loads: list[float],
               knobs: dict[str, dict[str, Knob]], **changes: object) -> Plan:
    """A plan made from flags alone, named by what it asks, whatever it runs on. Without a scenario each workload takes
    `<workload>-steady`.

    Raises UsageError for a missing or unknown name.
    """
    if not workloads:
        raise UsageError("nothing to run: name a plan, or a --workload",
                         f"plans here: {', '.join(catalog.plan_names()) or 'none'}")
    for name in setups:
        catalog.setup(name)
    for name in workloads:
        catalog.workload(name)
    races = [Race(workload=workload, setups=tuple(setups or catalog.setup_names()),
                  scenario=scenario or f"{workload}-steady", loads=tuple(loads or [1.0]), knobs=knobs)
             for workload in workloads]
    given = {key: value for key, value in changes.items() if value is not None}
    plan_against(setups or catalog.setup_names(), given.get("baseline"), "this race")
    asked = json.dumps([race.model_dump(mode="json", exclude={"device"}) for race in races]
                       + [{key: value for key, value in given.items() if key != "device"}], sort_keys=True)
    return validate(Plan, {
        "name": f"adhoc-{hashlib.sha256(asked.encode()).hexdigest()[:6]}",
        "title": f"{', '.join(setups) or 'every setup'} on {', '.join(workloads)}",
        "question": "Which of these setups keeps the promise at this load?", "race": races, **given}, "command line")


def with_locustfile(attempts: Sequence[Attempt], locustfile: Path, users: int, duration_s: float) -> list[Attempt]:
    """The attempts with a user's own locustfile as their load; promises stay. Raises UsageError when it is no file."""
    if not locustfile.is_file():
        raise UsageError(f"{locustfile}: no such locustfile", "give the path of a Python file with a User class")
    table = {"name": f"locustfile-{locustfile.stem}", "title": f"{locustfile.name}, {users} users (closed loop)",
             "locustfile": str(locustfile.resolve()), "warmup_s": 0.0,
             "stage": [{"arrivals": "closed", "users": users, "duration_s": duration_s}]}
    return [replace(attempt, scenario=validate(Scenario, {**attempt.scenario.model_dump(), **table}, str(locustfile)))
            for attempt in attempts]
