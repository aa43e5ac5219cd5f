"""A plan as the ordered list of attempts, pure.

Order: one block per repetition holds every cell once. Blocks come in pairs, the second being the first's mirror image
(ABBA), so that a linear drift of the machine falls on every cell alike; each pair is shuffled anew. Within a repetition
every setup meets the same seed, hence the same schedule and payloads (common random numbers).
"""

import hashlib
import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from harness.catalog.discover import Catalog
from harness.catalog.plan import Plan, Race
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob, Setup
from harness.catalog.toml import nearest, validate
from harness.errors import TailraceError
from harness.plan.attempt import Attempt

Content = Mapping[str, str]
_URL = re.compile(r"https?://[^\s/]\S*")
_SECRET = re.compile(r"^code$|key|token|sig|secret|pass|auth|cred", re.IGNORECASE)


@dataclass(frozen=True)
class Key:
    """What makes an attempt the same measurement as a recorded run: the cell, the device, the seed, and the content
    hashes of setup, workload, lock and scenario."""

    setup: str
    workload: str
    scenario: str
    load: float
    repetition: int
    knobs: tuple[tuple[str, Knob], ...]
    seed: int
    content: tuple[tuple[str, str], ...]
    device: str = "cpu"


def expand(plan: Plan, catalog: Catalog, server_cores: int) -> list[Attempt]:
    """Every attempt of the plan in the order to run them; rates are resolved for `server_cores`.

    Raises TailraceError for an unknown name, an unknown knob or a profile the workload lacks.
    """
    cells = [cell for race in plan.race for cell in _cells(plan, race, catalog, server_cores)]
    attempts: list[Attempt] = []
    forward: list[Attempt] = []
    for repetition in range(plan.repetitions):
        if repetition % 2 == 0:
            forward = random.Random(f"{plan.seed}/{repetition}").sample(cells, len(cells))
        for cell in forward if repetition % 2 == 0 else reversed(forward):
            attempts.append(replace(cell, repetition=repetition, block=repetition, order=len(attempts),
                                    seed=_seed(plan.seed, cell, repetition)))
    return attempts


def missing(attempts: Iterable[Attempt], done: Collection[Key], content: Callable[[Attempt], Content]) -> list[Attempt]:
    """The attempts that no key in `done` has measured yet, order kept; `content` gives an attempt's hashes."""
    return [attempt for attempt in attempts if key(attempt, content(attempt)) not in done]


def key(attempt: Attempt, content: Content) -> Key:
    """The attempt's identity for resuming."""
    return Key(attempt.setup.name, attempt.workload.name, attempt.scenario.name, attempt.load, attempt.repetition,
               tuple(sorted(attempt.knobs.items())), attempt.seed, tuple(sorted(content.items())),
               attempt.device)


def _seed(plan_seed: int, cell: Attempt, repetition: int) -> int:
    """31 bits, the same for every setup that meets this load in this repetition."""
    text = f"{plan_seed}/{cell.scenario.seed}/{cell.workload.name}/{cell.scenario.name}/{cell.load!r}/{repetition}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _cells(plan: Plan, race: Race, catalog: Catalog, cores: int) -> list[Attempt]:
    workload, scenario = catalog.workload(race.workload), catalog.scenario(race.scenario)
    if scenario.profile not in workload.profiles:
        raise TailraceError(f"scenario {scenario.name}: workload {workload.name} has no payload profile "
                            f"'{scenario.profile}'", nearest(scenario.profile, list(workload.profiles)))
    stranger = sorted(set(race.knobs) - set(race.setups))
    if stranger:
        raise TailraceError(f"plan {plan.name}: knobs are given for '{stranger[0]}', which does not race there",
                            nearest(stranger[0], list(race.setups)))
    duration_s = race.duration_s or plan.duration_s
    if duration_s is not None and len(scenario.stage) == 1:
        stage = scenario.stage[0].model_copy(update={"duration_s": duration_s})
        scenario = scenario.model_copy(update={"stage": (stage,)})
    if plan.slo is not None:
        scenario = validate(Scenario, {**scenario.model_dump(), "slo": plan.slo}, f"plan {plan.name}")
    if plan.baseline is None and any(promise.relative for promise in scenario.promises):
        raise TailraceError(f"plan {plan.name}: scenario {scenario.name} promises something against a baseline, and "
                            "none is named", "name a setup with `baseline` or --baseline")
    setups = [catalog.setup(name) for name in race.setups]
    knobs = {setup.name: resolve_knobs(setup, race.knobs.get(setup.name, {}), cores, race.device or plan.device)
             for setup in setups}
    return [Attempt(plan.name, plan.baseline or "", setup.with_knobs(knobs[setup.name]), workload,
                    scenario.resolved(cores, load), load, knobs[setup.name], device=race.device or plan.device)
            for load in race.loads for setup in setups]


def resolve_knobs(setup: Setup, changed: Mapping[str, Knob], cores: int, device: str = "cpu") -> dict[str, Knob]:
    """Every knob's value: the plan's over the setup's default on the device; "cores" becomes the number of server
    cores.

    Raises TailraceError for a knob the setup does not have, a value of another type or with a secret in a URL.
    """
    for name, value in changed.items():
        if name not in setup.knobs:
            raise TailraceError(f"setup {setup.name} has no knob '{name}'", nearest(name, list(setup.knobs)))
        default = setup.knobs[name]
        if isinstance(value, str) != isinstance(default, str) and "cores" not in (value, default) \
                and "auto" not in (value, default):
            raise TailraceError(f"setup {setup.name}: knob '{name}' is {value!r}, its default is {default!r}",
                                "give a value of the same type")
        if isinstance(value, str):
            _refuse_secrets(f"setup {setup.name}: knob '{name}'", value)
    knobs = {**setup.knobs_on(device), **changed}
    return {name: cores if value == "cores" else value for name, value in knobs.items()}


def _refuse_secrets(where: str, value: str) -> None:
    """Raises TailraceError for a URL that holds a password or what looks like a token: records keep knobs."""
    for url in _URL.findall(value):
        place, _, query = url.partition("?")
        if "@" in place.split("/")[2]:
            raise TailraceError(f"{where} holds a name or a password, which records would keep", "use the knob auth")
        if found := next((name for name in (pair.partition("=")[0] for pair in query.split("&"))
                          if _SECRET.search(name)), ""):
            raise TailraceError(f"{where} holds '{found}' in its query, which records would keep",
                                "put that part of the query into $TAILRACE_REMOTE_QUERY")
