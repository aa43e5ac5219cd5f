"""Workload: a model, its payload stream, its golden answers."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from harness.catalog.device import Device
from harness.catalog.toml import Noun, read_noun


class Workload(Noun):
    """What is served. The code contract of its folder is in docs/design.md.

    `pool` is how many distinct payloads a run cycles through at most. `sources` names the packages the model's files
    come from, with their licences, for the report. `devices` are those that it gains from.
    `shares` names sibling folders whose code it imports.
    """

    name: str
    folder: Path
    title: str
    idea: str
    modality: Literal["tabular", "text", "vision", "other"]
    requirements: str = "requirements.txt"
    prepare_requirements: str | None = None
    profiles: tuple[str, ...] = ("default",)
    pool: PositiveInt = Field(default=4096, le=1_000_000)
    devices: tuple[Device, ...] = Field(default=("cpu",), min_length=1)
    shares: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sharing(self) -> Self:
        absent = [name for name in self.shares if not (self.folder.parent / name).is_dir()]
        if absent:
            raise ValueError(f"shares names '{absent[0]}', which is no folder beside {self.folder.name}")
        return self

    @property
    def code(self) -> tuple[Path, ...]:
        """The folders whose content makes the workload what it is."""
        return (self.folder, *(self.folder.parent / name for name in self.shares))

    @property
    def imports(self) -> tuple[Path, ...]:
        """Where Python finds its modules."""
        return (self.folder, self.folder.parent) if self.shares else (self.folder,)

    @property
    def lock(self) -> Path:
        """Exact, hashed requirements that serving it needs."""
        return (self.folder / self.requirements).resolve()

    @property
    def prepare_lock(self) -> Path | None:
        """Exact, hashed requirements of prepare.py; None when it needs nothing more than serving."""
        return (self.folder / self.prepare_requirements).resolve() if self.prepare_requirements else None


def read_workload(folder: Path) -> Workload:
    """The workload in a folder. Raises TailraceError."""
    return read_noun(Workload, folder / "workload.toml", name=folder.name, folder=folder.resolve())
