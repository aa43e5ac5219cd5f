"""Protocols of instances and predictions: TensorFlow Serving's REST and Vertex AI's.

Sources: TensorFlow Serving's RESTful API, row format, binary values as {"b64": …}; Vertex AI's requirements of a custom
container for prediction.
"""

import base64
import binascii
import json
from typing import Any

from harness.protocols.codec import Codec, Headers, always_json, json_object


def wrap(body: bytes, _content_type: str) -> bytes:
    """One instance, base64."""
    return b'{"instances":[{"b64":"%s"}]}' % base64.b64encode(body)


def unwrap(answer: bytes, _headers: Headers) -> bytes:
    """The one prediction: {"b64": …} is its bytes, a string its text, any other value is written as JSON. Raises
    ValueError."""
    found = json_object(answer)
    predictions = found.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != 1:
        said = f": {found['error']}" if "error" in found else ""
        raise ValueError(f"the answer holds no list of one prediction{said}")
    return _bytes_of(predictions[0])


def _bytes_of(prediction: Any) -> bytes:
    if isinstance(prediction, list) and len(prediction) == 1 and _is_text(prediction[0]):
        prediction = prediction[0]  # a tensor of shape [1, 1]
    if isinstance(prediction, str):
        return prediction.encode()
    if _is_text(prediction):
        try:
            return base64.b64decode(prediction["b64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError(f"the prediction's b64 is no base64: {error}") from None
    return json.dumps(prediction).encode()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"})


TFSERVING = Codec("tfserving", always_json, lambda model: f"/v1/models/{model}:predict", wrap, unwrap,
                  ready=lambda model: f"/v1/models/{model}")
VERTEX = Codec("vertex", always_json, lambda _model: "/predict", wrap, unwrap, ready=lambda _model: "/health")
