"""Setup: one way to serve any workload."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from harness.catalog.device import Device
from harness.catalog.toml import Noun, nearest, read_noun
from harness.errors import TailraceError
from harness.protocols.codec import MODEL, Codec
from harness.protocols.table import CODECS

Knob = bool | int | float | str
BEHIND_KNOBS = "engine_knobs"


class Needs(Noun):
    """What a machine must have; a machine that lacks it skips the setup and says so. `packages` are requirements that
    not every index has, as a lock names them; `shared_python` is this Python as a library; `image` is the container's,
    `name:tag`, told with the versions and not looked for. `unless` is a knob that,
    when given, names what stands elsewhere in the programs' place. `when` maps a knob and a value of it to the needs
    that are others then."""

    gpu: bool = False
    java: bool = False
    docker: bool = False
    programs: tuple[str, ...] = ()
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    packages: tuple[str, ...] = ()
    shared_python: bool = False
    image: str = ""
    unless: str = ""
    when: dict[str, dict[str, "Needs"]] = Field(default_factory=dict)


class Modelled(Noun):
    """What the twin must know of how requests wait. `wait` names the knob, in milliseconds, for which a batch is kept
    open; it is an upper bound alone where `adaptive`: the setup learns how long waiting pays. `queue_per_worker`: each
    worker gathers batches from requests of its own."""

    wait: str = "max_wait_ms"
    adaptive: bool = False
    queue_per_worker: bool = False


class Setup(Noun):
    """One way to serve a workload.

    `command` may use {host}, {port}, {python} and any knob in braces; its first word is looked up in the setup's own
    environment. A knob whose value is "cores" becomes the number of server cores. `shares` names sibling folders
    whose code the setup imports. `limits` maps a workload (or a word like "batch") to why the engine cannot do it.
    `protocol` names a codec, or a knob in braces that does; `predict` and `ready` are the codec's usual routes unless
    given. `displaces` names packages of the workload's lock in whose stead the setup's own lock is followed.
    `tune` maps knobs to the values worth searching (`tailrace tune`). `behind` names a sibling setup that this
    one starts itself and stands in front of, or a knob that does.
    `passes` names variables of the user's environment, secrets for example, that its server gets and no record does.
    `must_name` lists knobs that only the user can give; without them it is skipped. `devices` are those on which its
    models can compute; `gpu` holds the defaults of knobs that are others on a GPU. `statistics` is the route of its
    model's own counters, as Triton has them. `twin` is for `tailrace predict`.
    """

    name: str
    folder: Path
    title: str
    idea: str
    tier: Literal["basic", "intermediate", "advanced", "edge", "remote"]
    engine: str
    command: tuple[str, ...] = Field(min_length=1)
    protocol: str = "json"
    ready: str
    predict: str
    statistics: str = ""
    ready_timeout_s: PositiveFloat = Field(default=60.0, le=600)
    stop_timeout_s: PositiveFloat = Field(default=10.0, le=600)
    requirements: str = "requirements.txt"
    devices: tuple[Device, ...] = Field(default=("cpu",), min_length=1)
    displaces: tuple[str, ...] = ()
    behind: str = ""
    passes: tuple[str, ...] = ()
    must_name: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    knobs: dict[str, Knob] = Field(default_factory=dict)
    gpu: dict[str, Knob] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)
    needs: Needs = Needs()
    mlops: dict[str, bool | str] = Field(default_factory=dict)
    tune: dict[str, tuple[Knob, ...]] = Field(default_factory=dict)
    twin: Modelled = Modelled()

    @model_validator(mode="before")
    @classmethod
    def _usual_routes(cls, table: dict[str, Any]) -> dict[str, Any]:
        codec = CODECS.get(str(_spoken(table.get("protocol", "json"), table.get("knobs", {}))))
        if codec is None:
            return {"ready": "/", "predict": "/", **table}  # `protocol` is refused below
        return {"ready": codec.ready(MODEL), "predict": codec.path(MODEL), **table}

    @model_validator(mode="after")
    def _known_protocol(self) -> Self:
        spoken = str(_spoken(self.protocol, self.knobs))
        if spoken not in CODECS:
            raise ValueError(f"the protocol '{spoken}' is not known; {nearest(spoken, list(CODECS))}")
        return self

    @model_validator(mode="after")
    def _known_knobs(self) -> Self:
        lifts = {self.needs.unless, *self.needs.when} - {""}
        for table, named in (("tune", set(self.tune)), ("gpu", set(self.gpu)), ("needs", lifts)):
            stranger = sorted(named - set(self.knobs))
            if stranger:
                hint = nearest(stranger[0], list(self.knobs))
                raise ValueError(f"[{table}] names '{stranger[0]}', which is no knob; {hint}")
        if "wait" in self.twin.model_fields_set and self.twin.wait not in self.knobs:
            hint = nearest(self.twin.wait, list(self.knobs))
            raise ValueError(f"[twin] names '{self.twin.wait}', which is no knob; {hint}")
        return self

    def knobs_on(self, device: str) -> dict[str, Knob]:
        """The knobs' defaults on that device."""
        return {**self.knobs, **(self.gpu if device == "gpu" else {})}

    @field_validator("ready", "predict")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("a path starts with '/'")
        return value

    @property
    def codec(self) -> Codec:
        """How it is spoken to, at its knobs' defaults: see `with_knobs`."""
        return CODECS[str(_spoken(self.protocol, self.knobs))]

    def with_knobs(self, knobs: Mapping[str, Knob]) -> Self:
        """The setup with those knobs as defaults and what follows from them: the protocol and its routes. Raises
        TailraceError when the knobs name a protocol that is not known."""
        knobs = {**self.knobs, **knobs}
        spoken = str(_spoken(self.protocol, knobs))
        if spoken not in CODECS:
            raise TailraceError(f"setup {self.name}: the protocol '{spoken}' is not known",
                                nearest(spoken, list(CODECS)))
        before, after = self.codec, CODECS[spoken]
        changed: dict[str, object] = {"knobs": knobs, "protocol": spoken,
                                      "behind": _spoken(self.behind, knobs)}
        if self.predict == before.path(MODEL):
            changed["predict"] = after.path(MODEL)
        if self.ready == before.ready(MODEL):
            changed["ready"] = after.ready(MODEL)
        return self.model_copy(update=changed)

    @property
    def parts(self) -> tuple["Setup", ...]:
        """The setup itself, and the one behind it with the knobs that `engine_knobs` gives it. Raises TailraceError
        when that is not there, does not have such a knob, or stands in front of another."""
        name = str(_spoken(self.behind, self.knobs))
        if not name:
            return (self,)
        others = sorted(path.parent.name for path in self.folder.parent.glob("*/setup.toml"))
        if name not in others:
            raise TailraceError(f"setup {self.name}: the setup '{name}' behind it is not known", nearest(name, others))
        other = read_setup(self.folder.parent / name)
        if other.behind:
            raise TailraceError(f"setup {self.name}: '{name}' stands in front of another setup itself",
                                "name an engine")
        return (self, other.with_knobs(self.behind_knobs(other)))

    def behind_knobs(self, other: "Setup") -> dict[str, Knob]:
        """The values that `engine_knobs` gives knobs of the setup behind it. Raises TailraceError."""
        return dict(_pair(pair, other) for pair in str(self.knobs.get(BEHIND_KNOBS, "")).split())

    @property
    def unnamed(self) -> str:
        """Why it cannot run as its knobs are: which one only the user can give, in it or in the setup behind it; ""
        when none is missing."""
        for part in self.parts:
            absent = [name for name in part.must_name if part.knobs.get(name) in (None, "")]
            if absent and part is self:
                return f"it asks for its knob: --knob {self.name}.{absent[0]}=…"
            if absent:
                return f"{part.name} asks for its knob: --knob {self.name}.{BEHIND_KNOBS}={absent[0]}=…"
        return ""

    @property
    def needed(self) -> Needs:
        """What a machine must have for it, as its knobs are."""
        elsewhere = self.needs.unless and self.knobs[self.needs.unless] not in ("", False)
        others: dict[str, object] = {"programs": ()} if elsewhere else {}
        for knob, values in self.needs.when.items():
            if then := values.get(knob_text(self.knobs[knob])):
                others |= {name: getattr(then, name) for name in then.model_fields_set}
        return self.needs.model_copy(update=others)

    @property
    def lock(self) -> Path:
        """Exact, hashed requirements of the engine."""
        return (self.folder / self.requirements).resolve()

    @property
    def code(self) -> tuple[Path, ...]:
        """The folders whose content makes the setup what it is."""
        return tuple(dict.fromkeys(folder for part in self.parts for folder in (
            part.folder, *(part.folder.parent / name for name in part.shares))))


def knob_text(value: Knob) -> str:
    """A knob's value as servers and keys of `[needs.when]` have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pair(pair: str, part: Setup) -> tuple[str, Knob]:
    """`name=value` with the value of the type of the knob's default. Raises TailraceError."""
    name, found, value = pair.partition("=")
    if not found or name not in part.knobs:
        raise TailraceError(f"knob '{BEHIND_KNOBS}': '{pair}' is not like name=value",
                            f"knobs of {part.name}: {', '.join(part.knobs)}")
    try:
        words = isinstance(part.knobs[name], str) and part.knobs[name] not in ("cores", "auto")
        return name, value if words else json.loads(value)
    except ValueError:
        return name, value


def _spoken(word: object, knobs: Mapping[str, Any]) -> object:
    """The word itself, or what the knob says where it is one in braces."""
    if isinstance(word, str) and word.startswith("{") and word.endswith("}"):
        return knobs.get(word[1:-1], word)
    return word


def read_setup(folder: Path) -> Setup:
    """The setup in a folder. Raises TailraceError."""
    return read_noun(Setup, folder / "setup.toml", name=folder.name, folder=folder.resolve())
