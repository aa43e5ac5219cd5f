"""The load that a setting is judged by: a ramp through what it can carry, and the good answers a second along it.

A steady load below capacity cannot tell good settings apart and one above it drives every queue without a bound to
zero; a ramp passes through both, and who keeps its promise further up has more good answers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.catalog.scenario import Scenario, Stage

FROM, TO = 0.4, 2.0
STEP = 1.7
MOST_STEPS = 5
ENOUGH, TOO_MUCH = 0.9, 0.35


@dataclass(frozen=True)
class Scored:
    """Good answers a second, their share of the requests offered, and why they do not count, if so."""

    goodput: float
    share: float
    invalid: str = ""


def ramp(scenario: Scenario, seconds: float, times: float) -> Scenario:
    """From FROM to TO times the first stage's rate, times `times`, in `seconds`; the promise stays. Rates must have
    been resolved for a number of cores."""
    rate = (scenario.stage[0].rate or 0.0) * times
    stage = Stage(arrivals="poisson", rate=FROM * rate, rate_end=TO * rate, duration_s=seconds)
    return scenario.model_copy(update={"name": f"{scenario.name}-ramp", "stage": (stage,)})


def through_capacity(measure: Callable[[float], Scored]) -> float:
    """The multiple of the scenario's rate at which the ramp passes what the default can carry: up while nearly all is
    good, down while nearly nothing is; at most MOST_STEPS tries."""
    times, direction = 1.0, 0
    for _ in range(MOST_STEPS):
        share = measure(times).share
        wanted = 1 if share > ENOUGH else -1 if share < TOO_MUCH else 0
        if wanted in (0, -direction):
            break
        direction = wanted
        times *= STEP ** wanted
    return times
