"""The protocols that travel in HTTP, both ways: as clients speak them to the gateway and as it speaks them to engines.

They are what docs/protocols.md says. Functions raise ValueError with a sentence for what is not of the protocol.
"""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Header = tuple[bytes, bytes]
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
LENGTH = struct.Struct("<I")
SIZE_DIGITS = 10


@dataclass(frozen=True)
class Tongue:
    """`item` and `answered` are the server's side: an item out of a request, an answer (with its headers) into a
    response. `asked` and `answer` are the client's: an item into a request, an answer out of a response. `types` are
    the Content-Types of request and response, "" for the workload's own."""

    predict: str
    ready: str
    types: tuple[str, str]
    item: Callable[[bytes], bytes]
    answered: Callable[[bytes], tuple[bytes, list[Header]]]
    asked: Callable[[bytes], bytes]
    answer: Callable[[bytes], bytes]
    headers: tuple[Header, ...] = ()


def same(body: bytes) -> bytes:
    return body


def same_answered(answer: bytes) -> tuple[bytes, list[Header]]:
    return answer, []


def instance(request: bytes) -> bytes:
    instances = _object(request).get("instances")
    if not isinstance(instances, list) or len(instances) != 1:
        raise ValueError("the request holds no list of one instance")
    return _decoded(instances[0]["b64"] if isinstance(instances[0], dict) else None)


def predictions(answer: bytes) -> tuple[bytes, list[Header]]:
    return b'{"predictions":[{"b64":"%s"}]}' % base64.b64encode(answer), []


def as_instance(item: bytes) -> bytes:
    return b'{"instances":[{"b64":"%s"}]}' % base64.b64encode(item)


def prediction(response: bytes) -> bytes:
    found = _object(response).get("predictions")
    if not isinstance(found, list) or len(found) != 1:
        raise ValueError("the engine's answer holds no list of one prediction")
    only = found[0]
    if isinstance(only, dict) and set(only) == {"b64"}:
        return _decoded(only["b64"])
    return only.encode() if isinstance(only, str) else json.dumps(only).encode()


def text_item(request: bytes) -> bytes:
    tensor = _named(_object(request), "inputs", "body")
    return _element(tensor)


def text_answered(answer: bytes) -> tuple[bytes, list[Header]]:
    return _tensor("outputs", "answer", {"content_type": "base64"}, _base64(answer)), []


def as_text(item: bytes) -> bytes:
    return _tensor("inputs", "body", {"content_type": "base64"}, _base64(item))


def text_answer(response: bytes) -> bytes:
    return _element(_named(_object(response), "outputs", "answer"))


def binary_item(request: bytes) -> bytes:
    return _binary_element(request, "inputs", "body")


def binary_answered(answer: bytes) -> tuple[bytes, list[Header]]:
    head = _tensor("outputs", "answer", {"binary_data_size": LENGTH.size + len(answer)})
    return (head + LENGTH.pack(len(answer)) + answer,
            [(b"inference-header-content-length", b"%d" % len(head))])


def as_binary(item: bytes) -> bytes:
    return _BEFORE + b"%*d" % (SIZE_DIGITS, LENGTH.size + len(item)) + _AFTER + LENGTH.pack(len(item)) + item


def binary_answer(response: bytes) -> bytes:
    return _binary_element(response, "outputs", "answer")


def _tensor(place: str, name: str, parameters: dict[str, Any], data: str | None = None) -> bytes:
    tensor = {"name": name, "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
    more = {} if data is None else {"data": [data]}
    return json.dumps({"model_name": "model", place: [{**tensor, **more}]}).encode()


def _binary_element(message: bytes, place: str, name: str) -> bytes:
    try:
        # In latin-1 a position in the text is one in the bytes.
        _, end = json.JSONDecoder().raw_decode(message.decode("latin-1"))
    except ValueError as error:
        raise ValueError(f"no JSON before the tensors: {error}") from None
    found = _object(message[:end])
    tensor = _named(found, place, name)
    sizes = [_parameters(each).get("binary_data_size", 0) for each in found[place]]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError("a tensor's binary_data_size is no size")
    at = found[place].index(tensor)
    if not sizes[at]:
        return _element(tensor)
    data = message[end + sum(sizes[:at]):][:sizes[at]]
    if len(data) != sizes[at] or len(data) < LENGTH.size or LENGTH.unpack_from(data)[0] != len(data) - LENGTH.size:
        raise ValueError(f"the tensor '{name}' does not hold one element of the size it says")
    return data[LENGTH.size:]


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  the promise of every tongue
    return found


def _named(found: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    tensors = found.get(place)
    for tensor in tensors if isinstance(tensors, list) else []:
        if isinstance(tensor, dict) and tensor.get("name") == name:
            return tensor
    raise ValueError(f"there is no tensor '{name}' in '{place}'")


def _parameters(tensor: Any) -> dict[str, Any]:
    found = tensor.get("parameters") if isinstance(tensor, dict) else None
    return found if isinstance(found, dict) else {}


def _element(tensor: dict[str, Any]) -> bytes:
    data = tensor.get("data")
    while isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, str):
        raise ValueError(f"the tensor '{tensor.get('name')}' does not hold one string")  # noqa: TRY004  as above
    return _decoded(data) if _parameters(tensor).get("content_type") == "base64" else data.encode()


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ValueError("an element is no base64") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_ASKED = {"inputs": [{"name": "body", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 0}}],
          "outputs": [{"name": "answer", "parameters": {"binary_data": True}}]}
_BEFORE, _AFTER = json.dumps(_ASKED, separators=(",", ":")).encode().split(b"0", 1)
_HEAD_BYTES = len(_BEFORE) + SIZE_DIGITS + len(_AFTER)
_RAW = ("", "")
TONGUES = {
    "json": Tongue("/predict", "/healthz", _RAW, same, same_answered, same, same),
    "torchserve": Tongue("/predictions/model", "/ping", _RAW, same, same_answered, same, same),
    "sagemaker": Tongue("/invocations", "/ping", _RAW, same, same_answered, same, same),
    "tfserving": Tongue("/v1/models/model:predict", "/v1/models/model", (JSON_TYPE, JSON_TYPE),
                        instance, predictions, as_instance, prediction),
    "vertex": Tongue("/predict", "/health", (JSON_TYPE, JSON_TYPE), instance, predictions, as_instance, prediction),
    "oip-http": Tongue("/v2/models/model/infer", "/v2/models/model/ready", (JSON_TYPE, JSON_TYPE),
                       text_item, text_answered, as_text, text_answer),
    "oip-http-binary": Tongue("/v2/models/model/infer", "/v2/models/model/ready", (BINARY_TYPE, BINARY_TYPE),
                              binary_item, binary_answered, as_binary, binary_answer,
                              ((b"inference-header-content-length", b"%d" % _HEAD_BYTES),)),
}
