"""Plan: workloads × setups × scenarios × knobs × loads × repetitions."""

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from harness.catalog.device import Device
from harness.catalog.setup import Knob
from harness.catalog.slo import normal_slo
from harness.catalog.toml import Noun, read_noun

EVERY = "every"


class Race(Noun):
    """One grid of a plan: every setup serves the workload under the scenario at each multiple of its load. `setups` are
    names, or EVERY alone for all there are; `device` and `duration_s` replace the plan's."""

    workload: str
    setups: tuple[str, ...] = Field(min_length=1)
    scenario: str
    loads: tuple[PositiveFloat, ...] = (1.0,)
    knobs: dict[str, dict[str, Knob]] = Field(default_factory=dict)
    device: Device | None = None
    duration_s: PositiveFloat | None = None


class Plan(Noun):
    """What to measure, how often, and against what. `knobs` of a race maps a setup to its changed knobs;
    `device` is what models compute on; `duration_s`, when set, replaces the duration of every single-stage scenario,
    and `slo` every scenario's promise."""

    name: str
    title: str
    question: str
    repetitions: PositiveInt = Field(default=5, le=1000)
    baseline: str | None = None
    device: Device = "cpu"
    duration_s: PositiveFloat | None = None
    seed: int = Field(default=1, ge=0, lt=2**31)
    slo: dict[str, str] | None = None
    race: tuple[Race, ...] = Field(min_length=1)

    @field_validator("slo", mode="before")
    @classmethod
    def _parse(cls, slo: object) -> object:
        return normal_slo(slo) if isinstance(slo, dict) else slo


def read_plan(path: Path) -> Plan:
    """The plan in a TOML file. Raises TailraceError."""
    return read_noun(Plan, path, name=path.stem)
