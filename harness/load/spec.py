"""What one generator process is told; a JSON file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import TailraceError


@dataclass(frozen=True)
class LoadSpec:
    """One run's load as generator process `worker` of `workers` sees it; written as JSON.

    The stages are resolved (absolute rates). `payloads` is the prefix of `<prefix>.bin` (bodies end to end) and
    `<prefix>.offsets.npy` (int64[pool+1]); request seq sends body seq mod pool. `answers_every`: keep the answer's
    body of every request whose seq is a multiple of it (0: none). `out` is the prefix of the files it writes; with
    `live`, ended requests are appended to `<out>.live` meanwhile.
    """

    host: str
    port: int
    path: str
    content_type: str
    headers: dict[str, str]
    stages: list[dict[str, object]]
    warmup_s: float
    seed: int
    payloads: str
    timeout_s: float
    answers_every: int
    worker: int
    workers: int
    cpu: int | None
    realtime: bool
    out: str
    web_port: int | None = None
    transport: Literal["http", "grpc"] = "http"
    live: bool = False


@dataclass(frozen=True)
class UserSpec:
    """A user's own locustfile to run for `duration_s` with `users` users: a closed loop. `out` as in LoadSpec."""

    locustfile: str
    host: str
    users: int
    spawn_rate: float
    duration_s: float
    out: str
    cpu: int | None = None


S = TypeVar("S", LoadSpec, UserSpec)


def write_spec(spec: LoadSpec | UserSpec, path: Path) -> None:
    """The spec as JSON in `path`."""
    path.write_bytes(TypeAdapter(dict[str, object]).dump_json(asdict(spec), indent=1))


def read_spec(kind: type[S], path: Path) -> S:
    """The spec in `path`. Raises TailraceError for a missing file or one that is no such spec."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise TailraceError(f"{path}: cannot be read: {error.strerror}", "give the path of a spec file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TailraceError(f"{path}: {where or 'the file'}: {first['msg']}", "see harness/load/spec.py") from None
