"""ONNX Runtime's session, as far as workloads use one, with the model in a Triton that is asked over HTTP.

Source of the wire format: the Open Inference Protocol's REST specification and Triton's "Binary Tensor Data Extension".
"""

import http.client
import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

PATH = "/v2/models/model"
LENGTH = "Inference-Header-Content-Length"
TIMEOUT_S = 30
TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


class Output(NamedTuple):
    """What a session tells of an output."""

    name: str


class Session:
    """Stands in for `onnxruntime.InferenceSession`; what it is given besides is Triton's to know. Raises RuntimeError
    with Triton's words, or OSError where it does not answer."""

    def __init__(self, _path: str, _options: object = None, **_more: object) -> None:
        self._address = ("127.0.0.1", int(os.environ["TRITON_PORT"]))
        self._own = threading.local()
        told = json.loads(self._asked("GET", PATH, b"", {})[0])
        self._outputs = [Output(each["name"]) for each in told["outputs"]]

    def get_outputs(self) -> list[Output]:
        """The model's outputs, in its order."""
        return self._outputs

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names."""
        body, length = request(names, feeds)
        answer, head = self._asked("POST", f"{PATH}/infer", body, {LENGTH: str(length)})
        found = outputs(answer, int(head or len(answer)))
        return [found[name] for name in names]

    def _asked(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, str | None]:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            self._own.connection.request(method, path, body, headers)
            answer = self._own.connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self._own.connection.close()
            raise
        if answer.status != 200:
            raise RuntimeError(f"Triton says {answer.status}: {said[:200].decode(errors='replace')}")
        return said, answer.getheader(LENGTH)


def request(names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> tuple[bytes, int]:
    """The body, and the length of the JSON that it begins with."""
    tensors = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    head = json.dumps({
        "inputs": [{"name": name, "shape": list(array.shape), "datatype": NAMES[array.dtype],
                    "parameters": {"binary_data_size": array.nbytes}} for name, array in tensors.items()],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in names]},
        separators=(",", ":")).encode()
    return b"".join([head, *(array.tobytes() for array in tensors.values())]), len(head)


def outputs(body: bytes, length: int) -> dict[str, np.ndarray]:
    """The tensors of an answer whose JSON has that length, by name."""
    found, at = {}, length
    for each in json.loads(body[:length])["outputs"]:
        size = each["parameters"]["binary_data_size"]
        found[each["name"]] = np.frombuffer(body[at:at + size], TYPES[each["datatype"]]).reshape(each["shape"])
        at += size
    return found
