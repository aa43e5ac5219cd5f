"""Open Inference Protocol (KServe v2) over HTTP, as JSON and with Triton's binary tensors.

Input tensor `body` and output tensor `answer`, BYTES of shape [1, 1]. JSON cannot carry any bytes as they are, so there
the element is base64 and the tensor says so by `parameters.content_type`, as MLServer's codecs do. Sources: the Open
Inference Protocol's REST specification; Triton's "Binary Tensor Data Extension"; MLServer's "Content Types".
"""

import base64
import binascii
import json
import struct
from typing import Any

from harness.protocols.codec import Codec, Headers, always_json, json_object

INPUT, OUTPUT = "body", "answer"
BASE64 = "base64"
LENGTH = struct.Struct("<I")
_SIZE_DIGITS = 10
_TENSOR = {"name": INPUT, "shape": [1, 1], "datatype": "BYTES"}
_BEFORE_JSON, _AFTER_JSON = json.dumps({
    "inputs": [{**_TENSOR, "parameters": {"content_type": BASE64}, "data": ["HERE"]}],
    "outputs": [{"name": OUTPUT}]}, separators=(",", ":")).encode().split(b"HERE")
_BEFORE, _AFTER = json.dumps({
    "inputs": [{**_TENSOR, "parameters": {"binary_data_size": 0}}],
    "outputs": [{"name": OUTPUT, "parameters": {"binary_data": True}}]}, separators=(",", ":")).encode().split(b"0", 1)
HEAD_BYTES = len(_BEFORE) + _SIZE_DIGITS + len(_AFTER)


def wrap(body: bytes, _content_type: str) -> bytes:
    """The request with the element as base64."""
    return _BEFORE_JSON + base64.b64encode(body) + _AFTER_JSON


def unwrap(answer: bytes, _headers: Headers) -> bytes:
    """The one element of the output, decoded where the tensor says it is base64. Raises ValueError."""
    output = _output(json_object(answer))
    return _element(output)


def wrap_binary(body: bytes, _content_type: str) -> bytes:
    """The request's JSON, HEAD_BYTES long whatever the body's size (blanks before a number are JSON), then the
    tensor."""
    return _BEFORE + b"%*d" % (_SIZE_DIGITS, LENGTH.size + len(body)) + _AFTER + tensor(body)


def unwrap_binary(answer: bytes, headers: Headers) -> bytes:
    """The one element of the output. Where the header with the JSON's length is not known, the JSON itself says where
    it ends. Raises ValueError."""
    head, data = _split(answer, headers.get("inference-header-content-length"))
    output = _output(head)
    sizes = [_parameters(each).get("binary_data_size", 0) for each in head["outputs"]]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError("a tensor's binary_data_size is no size")
    at = head["outputs"].index(output)
    if not sizes[at]:
        return _element(output)
    start = sum(sizes[:at])
    return element(data[start:start + sizes[at]])


def element(tensor: bytes) -> bytes:
    """The one element of a BYTES tensor in Triton's layout: its length (4 bytes, little endian), then itself. Raises
    ValueError."""
    if len(tensor) < LENGTH.size or LENGTH.unpack_from(tensor)[0] != len(tensor) - LENGTH.size:
        raise ValueError(f"the tensor '{OUTPUT}' of {len(tensor)} bytes does not hold one element")
    return tensor[LENGTH.size:]


def tensor(body: bytes) -> bytes:
    """A BYTES tensor of that one element."""
    return LENGTH.pack(len(body)) + body


def _split(answer: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON at the answer's beginning, and what follows it."""
    if length is not None:
        if not length.isdigit() or int(length) > len(answer):
            raise ValueError(f"Inference-Header-Content-Length is {length!r}, the answer has {len(answer)} bytes")
        return json_object(answer[:int(length)]), answer[int(length):]
    try:
        # In latin-1 a position in the text is one in the bytes; the end of the JSON does not depend on its letters.
        _, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    except ValueError as error:
        raise ValueError(f"the answer does not begin with JSON: {error}") from None
    return json_object(answer[:end]), answer[end:]


def _output(found: dict[str, Any]) -> dict[str, Any]:
    outputs = found.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        said = f": {found['error']}" if "error" in found else ""
        raise ValueError(f"the answer holds no outputs{said}")
    named: list[dict[str, Any]] = [each for each in outputs if each.get("name") == OUTPUT]
    if len(named) != 1:
        raise ValueError(f"the answer holds {len(named)} outputs named '{OUTPUT}'")
    return named[0]


def _parameters(output: Any) -> dict[str, Any]:
    found = output.get("parameters") if isinstance(output, dict) else None
    return found if isinstance(found, dict) else {}


def _element(output: dict[str, Any]) -> bytes:
    data = output.get("data")
    while isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, str):
        raise ValueError(f"the output '{OUTPUT}' does not hold one string")  # noqa: TRY004 -- the promise of unwrap
    if _parameters(output).get("content_type") != BASE64:
        return data.encode()
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the output '{OUTPUT}' is no base64: {error}") from None


def server(answer: bytes) -> tuple[str, str]:
    """Name and version from the server's metadata. Raises ValueError."""
    told = json_object(answer)
    return str(told.get("name") or ""), str(told.get("version") or "")


HTTP = Codec("oip-http", always_json, lambda model: f"/v2/models/{model}/infer", wrap, unwrap,
             ready=lambda model: f"/v2/models/{model}/ready", metadata="/v2", server=server)
BINARY = Codec("oip-http-binary", lambda _type: "application/octet-stream", HTTP.path, wrap_binary, unwrap_binary,
               ready=HTTP.ready, headers={"Inference-Header-Content-Length": str(HEAD_BYTES)}, metadata=HTTP.metadata,
               server=server)
