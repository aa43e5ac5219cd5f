"""Reading a TOML file into a frozen model, with errors a person can act on."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import TailraceError


class Noun(BaseModel):
    """A frozen value read from a file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


N = TypeVar("N", bound=Noun)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's table. Raises TailraceError when it is missing or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TailraceError(f"{path}: no such file", "check the name with `tailrace list`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TailraceError(f"{path}: not valid TOML: {error}", "correct the file at that place") from None
    except OSError as error:
        raise TailraceError(f"{path}: cannot be read: {error.strerror}", "check its permissions") from None


def read_noun(model: type[N], path: Path, **derived: Any) -> N:
    """The validated noun in `path`; `derived` are the fields that come from the file's place.

    Raises TailraceError naming the first offending key and, for an unknown key, the nearest known one.
    """
    table = read_toml(path)
    clash = sorted(set(table) & set(derived))
    if clash:
        raise TailraceError(f"{path}: key '{clash[0]}' is not to be set", "it comes from the folder's name; remove it")
    return validate(model, {**table, **derived}, str(path))


def validate(model: type[N], table: dict[str, Any], where: str) -> N:
    """`table` as a `model`; `where` leads the message. Raises TailraceError with one sentence."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise TailraceError(*_sentence(model, error, where)) from None


def nearest(name: str, known: list[str]) -> str:
    """`did you mean 'x'?`, or the list of known names when nothing is near."""
    match = difflib.get_close_matches(name, known, n=1)
    if match:
        return f"did you mean '{match[0]}'?"
    return f"known: {', '.join(sorted(known))}" if known else "none is known here"


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> tuple[str, str]:
    # An unknown key is the likely cause of a missing one, so it is told first.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in first["loc"]]
    place = ".".join(path[:-1])
    section = f" in [{place}]" if place else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key '{path[-1]}'{section}", nearest(path[-1], _keys(model, path[:-1]))
    if first["type"] == "missing":
        return f"{where}: key '{path[-1]}' is missing{section}", "add it (see docs/design.md)"
    message = first["msg"].removeprefix("Value error, ")
    if not path:
        return f"{where}: {message}", "correct the file"
    given = first["input"]
    shown = repr(given) if isinstance(given, str | int | float | bool) else type(given).__name__
    return f"{where}: '{path[-1]}'{section} is {shown}: {message}", "correct the value"


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that are allowed at `path` inside `model`."""
    for part in path:
        if part.isdigit():
            continue
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
