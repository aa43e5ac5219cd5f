"""Setup: one way to serve any workload."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, field_validator

from harness.catalog.toml import Noun, read_noun

Knob = bool | int | float | str


class Needs(Noun):
    """What a machine must have; a machine that lacks it skips the setup and says so."""

    gpu: bool = False
    java: bool = False
    docker: bool = False
    programs: tuple[str, ...] = ()
    memory_gb: float = 0.0
    disk_gb: float = 0.0


class Setup(Noun):
    """One way to serve a workload.

    `command` may use {host}, {port}, {python} and any knob in braces; its first word is looked up in the setup's own
    environment. A knob whose value is "cores" becomes the number of server cores. `shares` names sibling folders
    whose code the setup imports. `limits` maps a workload (or a word like "batch") to why the engine cannot do it.
    """

    name: str
    folder: Path
    title: str
    idea: str
    tier: Literal["basic", "intermediate", "advanced", "edge", "remote"]
    engine: str
    command: tuple[str, ...] = Field(min_length=1)
    ready: str = "/healthz"
    predict: str = "/predict"
    protocol: Literal["json"] = "json"
    ready_timeout_s: PositiveFloat = Field(default=60.0, le=600)
    stop_timeout_s: PositiveFloat = Field(default=10.0, le=600)
    requirements: str = "requirements.txt"
    shares: tuple[str, ...] = ()
    knobs: dict[str, Knob] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)
    needs: Needs = Needs()
    mlops: dict[str, bool | str] = Field(default_factory=dict)

    @field_validator("ready", "predict")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("a path starts with '/'")
        return value

    @property
    def lock(self) -> Path:
        """Exact, hashed requirements of the engine."""
        return (self.folder / self.requirements).resolve()

    @property
    def code(self) -> tuple[Path, ...]:
        """The folders whose content makes the setup what it is."""
        return (self.folder, *(self.folder.parent / name for name in self.shares))


def read_setup(folder: Path) -> Setup:
    """The setup in a folder. Raises TailraceError."""
    return read_noun(Setup, folder / "setup.toml", name=folder.name, folder=folder.resolve())
