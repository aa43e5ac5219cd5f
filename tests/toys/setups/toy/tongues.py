"""Protocols as a server has them: (route to predict, route to ready, body of a request, answer of an answer)."""

import base64
import json
import struct
from collections.abc import Callable
from typing import NamedTuple


class Tongue(NamedTuple):
    predict: str
    ready: str
    body: Callable[[bytes], bytes]
    answer: Callable[[bytes], bytes]


def b64(answer: bytes) -> str:
    return base64.b64encode(answer).decode()


def instance(request: bytes) -> bytes:
    return base64.b64decode(json.loads(request)["instances"][0]["b64"])


def predictions(answer: bytes) -> bytes:
    return json.dumps({"predictions": [{"b64": b64(answer)}]}).encode()


def text_tensor(request: bytes) -> bytes:
    return base64.b64decode(json.loads(request)["inputs"][0]["data"][0])


def text_output(answer: bytes) -> bytes:
    return json.dumps({"outputs": [{"name": "answer", "datatype": "BYTES", "shape": [1, 1],
                                    "parameters": {"content_type": "base64"}, "data": [b64(answer)]}]}).encode()


def binary_tensor(request: bytes) -> bytes:
    head = json.JSONDecoder().raw_decode(request.decode("latin-1"))[0]
    size = head["inputs"][0]["parameters"]["binary_data_size"]
    return request[len(request) - size + 4:]


def binary_output(answer: bytes) -> bytes:
    tensor = struct.pack("<I", len(answer)) + answer
    return json.dumps({"outputs": [{"name": "answer", "datatype": "BYTES", "shape": [1, 1],
                                    "parameters": {"binary_data_size": len(tensor)}}]}).encode() + tensor


def same(body: bytes) -> bytes:
    return body


JSON = Tongue("/predict", "/healthz", same, same)
TONGUES = {
    "json": JSON,
    "torchserve": Tongue("/predictions/model", "/ping", same, same),
    "sagemaker": Tongue("/invocations", "/ping", same, same),
    "vertex": Tongue("/predict", "/health", instance, predictions),
    "tfserving": Tongue("/v1/models/model:predict", "/v1/models/model", instance, predictions),
    "oip-http": Tongue("/v2/models/model/infer", "/v2/models/model/ready", text_tensor, text_output),
    "oip-http-binary": Tongue("/v2/models/model/infer", "/v2/models/model/ready", binary_tensor, binary_output),
}
