"""From a team's situation to a way of serving, and to the plan that would settle the choice of a setup.

The questions are those of any guide to model serving: does somebody wait, how fresh must answers be, how much traffic
and how spiky, which model and how custom, what is there already?
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, PositiveFloat

from harness.catalog.setup import Setup
from harness.catalog.toml import Noun

Mode = Literal["batch", "streaming", "interactive", "edge"]
SECONDS_PER_DAY = 86_400
HOUR_S = 3600.0
SPIKY, BUSY, QUIET = 4.0, 50.0, 1.0
TRIED_RATE = 60.0  # requests a second that a first plan sends at most; a capacity search goes on from there

EXPLAINED: dict[Mode, str] = {
    "batch": "Batch: a job reads many inputs, predicts in large batches and writes answers down before anybody asks. "
             "The cheapest way, since machines run full and only while the job lasts; answers are as old as the job, "
             "and inputs not known beforehand have none.",
    "streaming": "Streaming: inputs arrive on a queue or a log, workers take them when they can, answers go on to "
                 "another. Nobody waits, so a queue may grow for a while and machines can run fuller; what matters is "
                 "how far behind the workers fall, and that nothing is lost.",
    "interactive": "Interactive: somebody waits for each answer, so the slowest percent decides, machines keep room "
                   "for bursts, and an answer that comes too late is worth nothing.",
    "edge": "Edge: the model runs where the input arises, without a network between. No round trip and no data leave; "
            "memory and cores are small, and a new model has to be brought to every device.",
}


class Answers(Noun):
    """What a team says about its situation.

    `waits`: who waits for an answer. `fresh_s`: how old an answer may be. `offline`: whether it has to work without a
    network. `requests_per_day` and `peak_over_mean`: how much traffic, how spiky. `custom`: `standard` for a model that
    an inference server reads as a file, `python` for one with code around it. `has`: what runs already (`redis`, `ray`,
    `kubernetes`, `gpu`, …).
    """

    workload: str
    waits: Literal["user", "system", "nobody"] = "user"
    fresh_s: PositiveFloat = 1.0
    offline: bool = False
    requests_per_day: PositiveFloat = Field(le=1e12)
    peak_over_mean: float = Field(default=2.0, ge=1, le=1000)
    latency_ms: PositiveFloat = Field(default=200.0, le=600_000)
    custom: Literal["standard", "python"] = "python"
    has: tuple[str, ...] = ()

    @property
    def mean_rate(self) -> float:
        """Requests a second over the day."""
        return self.requests_per_day / SECONDS_PER_DAY

    @property
    def peak_rate(self) -> float:
        """Requests a second when it is busiest."""
        return self.mean_rate * self.peak_over_mean


@dataclass(frozen=True)
class Advice:
    """The way of serving, why, and the setups worth measuring, each with its reason; the first one is the baseline."""

    mode: Mode
    reasons: tuple[str, ...]
    setups: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def explained(self) -> str:
        """What the mode is."""
        return EXPLAINED[self.mode]


def advise(answers: Answers, setups: Sequence[Setup]) -> Advice:
    """The advice for a situation, from the setups of a catalog."""
    mode, reasons = mode_of(answers)
    if mode == "edge" and not any(setup.tier == "edge" for setup in setups):
        reasons += ("No setup here is made for small machines: these are the plainest ones, and what is there already. "
                    "Measure them on the device itself, or add a setup of tier 'edge'.",)
    tried, left = [], []
    for setup in setups:
        why_not = _unfit(setup, answers)
        why = "" if why_not else _worth(setup, answers, mode)
        if why:
            tried.append((setup, why))
        else:
            left.append((setup.name, why_not or "more machinery than this traffic asks for"))
    order = {"basic": 0, "edge": 0, "intermediate": 1, "advanced": 2, "remote": 3}
    tried.sort(key=lambda each: (order[each[0].tier], each[0].name))
    return Advice(mode, reasons, tuple((setup.name, why) for setup, why in tried), tuple(left))


def mode_of(answers: Answers) -> tuple[Mode, tuple[str, ...]]:
    """The way of serving and its reasons."""
    if answers.offline:
        return "edge", ("It has to answer without a network.",)
    if answers.waits == "nobody" and answers.fresh_s >= HOUR_S:
        return "batch", (f"Nobody waits, and an answer may be {answers.fresh_s / HOUR_S:.3g} hours old.",)
    if answers.waits == "nobody":
        return "streaming", (f"Nobody waits, but an answer may be no older than {answers.fresh_s:.3g} s.",)
    who = "A user waits" if answers.waits == "user" else "Another system waits"
    reasons = [f"{who} for each answer."]
    if answers.fresh_s >= HOUR_S:
        reasons.append("Answers may be old, though: where the inputs are known beforehand, a batch job and a table of "
                       "its answers would be cheaper than any server.")
    if answers.peak_over_mean >= SPIKY:
        reasons.append("Traffic is spiky: look at what happens past saturation (a full queue that refuses, deadlines), "
                       "and at how fast replicas start.")
    return "interactive", tuple(reasons)


def scenario_toml(answers: Answers, mode: Mode) -> str:
    """The load that would settle it: for batch as fast as answers come, else the busiest traffic that one machine is
    first asked for, with the promise."""
    if mode == "batch":
        return _lines('title = "As fast as answers come (closed loop)"',
                      'question = "How much does a machine get done?"', "seed = 7", "warmup_s = 1", "",
                      "[[stage]]", 'arrivals = "closed"', "users = 32", "duration_s = 10", "", "[slo]",
                      '"errors" = "< 0.1%"')
    limit = answers.latency_ms if mode in ("interactive", "edge") else 1e3 * answers.fresh_s
    rate = min(max(answers.peak_rate, QUIET), TRIED_RATE)
    seconds = min(max(10.0, math.ceil(400 / rate)), 120.0)
    return _lines('title = "The busiest traffic, as far as one machine is first asked for"',
                  'question = "Is it served within the promise?"', "seed = 7", "warmup_s = 1", "", "[[stage]]",
                  'arrivals = "poisson"', f"rate = {rate:.6g}", f"duration_s = {seconds:g}", "", "[slo]",
                  f'"p(99)" = "< {limit:g}ms"', '"errors" = "< 0.1%"')


def demand_toml(answers: Answers) -> str:
    """The traffic as a demand: a day's wave, or bursts where it is spiky."""
    shape = "bursty" if answers.peak_over_mean >= SPIKY else "diurnal"
    return _lines('title = "The traffic as it was told"', f'shape = "{shape}"', f"mean = {answers.mean_rate:.6g}",
                  f"peak_over_mean = {answers.peak_over_mean:g}")


def plan_toml(answers: Answers, advice: Advice, scenario: str) -> str:
    """The plan; `scenario` is the path of its scenario."""
    names = [name for name, _ in advice.setups]
    return _lines(f'title = "{answers.workload}: {advice.mode} serving"',
                  'question = "Which of these setups should serve it?"', "repetitions = 10",
                  f'baseline = "{names[0]}"', "seed = 1", "", "[[race]]", f'workload = "{answers.workload}"',
                  f"setups = [{', '.join(map(json.dumps, names))}]", f"scenario = {json.dumps(scenario)}")


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _unfit(setup: Setup, answers: Answers) -> str:
    if answers.workload in setup.limits:
        return setup.limits[answers.workload]
    if setup.needs.gpu and "gpu" not in answers.has:
        return "needs a GPU, and there is none"
    return ""


def _worth(setup: Setup, answers: Answers, mode: Mode) -> str:
    """Why a setup is worth measuring here; "" where it is not."""
    parts = f"{setup.name} {setup.engine} {setup.needs.programs}".lower()
    own = [name for name in answers.has if name.lower() in parts]
    if own:
        return f"{own[0]} is there already"
    if setup.tier == "edge":
        return "made for small machines" if mode == "edge" else ""
    if setup.tier == "basic":
        return "the least machinery: what all else has to beat"
    if setup.tier == "intermediate" and mode != "edge" and answers.peak_rate >= QUIET:
        return "batches requests that wait together, and bounds its queue" if mode == "interactive" else \
            "workers pull from a queue: large batches, nothing refused early"
    if setup.tier == "advanced" and mode != "edge" and (answers.peak_rate >= BUSY or answers.custom == "standard"):
        return "an inference server: pays where traffic is large" if answers.peak_rate >= BUSY else \
            "reads a standard model as a file: little code of your own"
    return ""
