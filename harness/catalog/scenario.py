"""Scenario: arrivals over time, and the promise that analysis reads."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from harness.catalog.slo import Promise, normal_slo, parse_promises
from harness.catalog.toml import Noun, read_noun
from harness.errors import TailraceError

Arrivals = Literal["constant", "poisson", "burst", "closed"]


class Stage(Noun):
    """One stretch of load.

    `rate` is requests per second over all generators; `rate_per_core` multiplies by the server's cores, so that a
    scenario is the same pressure on a small and on a large machine. `rate_end` (or `rate_end_per_core`) makes the
    stage a linear ramp. `burst` requests arrive at once. `closed` has `users` instead of a rate: each sends its next
    request when its last one is answered.
    """

    arrivals: Arrivals
    duration_s: PositiveFloat = Field(le=3600)
    rate: PositiveFloat | None = Field(default=None, le=1e6)
    rate_per_core: PositiveFloat | None = Field(default=None, le=1e6)
    rate_end: PositiveFloat | None = Field(default=None, le=1e6)
    rate_end_per_core: PositiveFloat | None = Field(default=None, le=1e6)
    burst: PositiveInt = Field(default=10, le=10_000)
    users: PositiveInt | None = Field(default=None, le=10_000)

    @model_validator(mode="after")
    def _consistent(self) -> "Stage":
        rates = [self.rate, self.rate_per_core]
        if self.arrivals == "closed":
            if self.users is None or any(r is not None for r in [*rates, self.rate_end, self.rate_end_per_core]):
                raise ValueError("a closed stage has `users` and no rate")
            return self
        if self.users is not None:
            raise ValueError("only a closed stage has `users`")
        if sum(r is not None for r in rates) != 1:
            raise ValueError("a stage has either `rate` or `rate_per_core`")
        if self.arrivals == "burst" and (self.rate_end or self.rate_end_per_core):
            raise ValueError("a burst stage has no ramp; use several stages")
        return self

    def resolved(self, cores: int, times: float = 1.0) -> "Stage":
        """The stage with absolute rates for `cores` server cores, all rates multiplied by `times`."""
        if self.arrivals == "closed":
            return self
        start = self.rate if self.rate is not None else (self.rate_per_core or 0.0) * cores
        end = self.rate_end if self.rate_end is not None else (
            self.rate_end_per_core * cores if self.rate_end_per_core is not None else None)
        return self.model_copy(update={
            "rate": start * times, "rate_per_core": None,
            "rate_end": None if end is None else end * times, "rate_end_per_core": None,
        })


class Scenario(Noun):
    """Arrivals over time and a promise. `warmup_s` is sent first at the first stage's load, recorded with stage −1
    and never counted. `deadline_ms` travels with every request as `x-request-timeout-ms`; `timeout_s` is when the
    generator gives an answer up. `profile` names one of the workload's payload profiles. `locustfile`, a path, replaces
    the payload stream by a user's own Locust users; its one stage is closed, and it knows no warm-up."""

    name: str
    title: str
    question: str
    seed: int = Field(ge=0, lt=2**31)
    warmup_s: float = Field(default=1.0, ge=0, le=600)
    timeout_s: PositiveFloat = Field(default=10.0, le=600)
    deadline_ms: PositiveFloat | None = None
    profile: str = "default"
    locustfile: str = ""
    stage: tuple[Stage, ...] = Field(min_length=1)
    slo: dict[str, str] = Field(default_factory=dict)

    @field_validator("slo", mode="before")
    @classmethod
    def _parse(cls, slo: object) -> object:
        return normal_slo(slo) if isinstance(slo, dict) else slo

    @model_validator(mode="after")
    def _one_loop(self) -> "Scenario":
        if len({stage.arrivals == "closed" for stage in self.stage}) != 1:
            raise ValueError("closed and open stages do not mix in one scenario; write two scenarios")
        if self.locustfile and (len(self.stage) != 1 or not self.closed or self.warmup_s):
            raise ValueError("a scenario with a `locustfile` has one closed stage and `warmup_s = 0`")
        return self

    @property
    def closed(self) -> bool:
        """Whether the load waits for answers (closed loop)."""
        return self.stage[0].arrivals == "closed"

    @property
    def duration_s(self) -> float:
        """Seconds of counted load."""
        return sum(stage.duration_s for stage in self.stage)

    @cached_property
    def promises(self) -> tuple[Promise, ...]:
        """The SLO's clauses."""
        return parse_promises(self.slo)

    def resolved(self, cores: int, times: float = 1.0) -> "Scenario":
        """The scenario with absolute rates: see Stage.resolved."""
        return self.model_copy(update={"stage": tuple(stage.resolved(cores, times) for stage in self.stage)})


def read_scenario(path: Path) -> Scenario:
    """The scenario in a TOML file. Raises TailraceError."""
    scenario = read_noun(Scenario, path, name=path.stem)
    if not scenario.locustfile:
        return scenario
    locustfile = (path.parent / scenario.locustfile).resolve()
    if not locustfile.is_file():
        raise TailraceError(f"{path}: 'locustfile' is '{scenario.locustfile}', and no such file is there",
                            "give its path from the scenario's folder")
    return scenario.model_copy(update={"locustfile": str(locustfile)})
