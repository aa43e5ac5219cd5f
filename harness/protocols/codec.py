"""What a protocol is to us: how a workload's body becomes a request, and an answer becomes the workload's answer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MODEL = "model"
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Codec:
    """One protocol; every function is pure, and one request carries one item.

    `wrap(body, content_type)` gives the request's body, `content_type(workload's)` its Content-Type and `headers` what
    else every request carries. `unwrap(answer, headers)` gives the workload's answer from a 200's body and its headers
    by lower-case name (none where they were not kept); it raises ValueError with a sentence. `path` and `ready` give
    the usual routes for a model's name; over gRPC they are full method names, and `probe` is the readiness request.
    `metadata` is the route that tells what the server is, "" where the protocol has none, and `server` reads its name
    and version from the answer; it raises ValueError.
    """

    name: str
    content_type: Callable[[str], str]
    path: Callable[[str], str]
    wrap: Callable[[bytes, str], bytes]
    unwrap: Callable[[bytes, Headers], bytes]
    ready: Callable[[str], str] = lambda _model: "/healthz"
    headers: Headers = field(default_factory=dict)
    transport: Literal["http", "grpc"] = "http"
    probe: bytes = b""
    metadata: str = ""
    server: Callable[[bytes], tuple[str, str]] = lambda _answer: ("", "")

    @property
    def is_identity(self) -> bool:
        """Whether bodies travel as they are."""
        return self.wrap is unchanged


def unchanged(body: bytes, _content_type: str) -> bytes:
    """The body itself."""
    return body


def unchanged_answer(answer: bytes, _headers: Headers) -> bytes:
    """The answer itself."""
    return answer


def same_type(content_type: str) -> str:
    """The workload's own type."""
    return content_type


def always_json(_content_type: str) -> str:
    """JSON, whatever is in it."""
    return "application/json"


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValueError with a sentence for anything else."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"the answer is a JSON {type(found).__name__}, not an object")  # noqa: TRY004 -- the promise of unwrap
    return found
