"""One cell of a plan, to be run once."""

from dataclasses import dataclass, field

from harness.catalog.device import Device
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Knob, Setup
from harness.catalog.workload import Workload


@dataclass(frozen=True)
class Attempt:
    """What to run: every knob and rate is resolved. `load` is the multiple of the scenario's own rates; `seed` feeds
    the schedule and the payloads and is the same for every setup of one repetition; `block` and `order` say where in
    the plan's interleaving it stands. `device` is what the model computes on. `until` is "verdict" for a run that ends
    once its promises are judged, "" for one that goes to its end."""

    plan: str
    baseline: str
    setup: Setup
    workload: Workload
    scenario: Scenario
    load: float
    knobs: dict[str, Knob] = field(default_factory=dict)
    repetition: int = 0
    block: int = 0
    order: int = 0
    seed: int = 0
    until: str = ""
    device: Device = "cpu"
