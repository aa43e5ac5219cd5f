"""The workload in Triton's Python backend."""

import base64
import os
from pathlib import Path

import model
import numpy as np
import triton_python_backend_utils as backend
from replica.golden import golden_bodies

IN_JSON = os.environ["KNOB_PROTOCOL"] == "oip-http"  # where a tensor cannot hold any bytes as they are


class TritonPythonModel:
    """One instance: a process that holds the model. Triton says ready once `initialize` has returned in all."""

    def initialize(self, _args: dict[str, str]) -> None:
        """Loads the model and proves it by a golden request."""
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self._model, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])

    def execute(self, requests: list) -> list:
        """One response for each request, in order; all their items go to the model as one batch. A request with a body
        that is bad gets 400, and spoils no other."""
        decoded = [_decoded(request) for request in requests]
        items = [item for each in decoded if not isinstance(each, ValueError) for item in each]
        answers = iter(model.predict(self._model, items) if items else ())
        return [_refusal(each) if isinstance(each, ValueError) else _response([next(answers) for _ in each])
                for each in decoded]


def _decoded(request: object) -> "list | ValueError":
    bodies = backend.get_input_tensor_by_name(request, "body").as_numpy().ravel()
    try:
        return [model.decode(base64.b64decode(body, validate=True) if IN_JSON else body) for body in bodies]
    except ValueError as error:
        return error


def _response(answers: list) -> object:
    encoded = np.array([model.encode(answer) for answer in answers], object).reshape(-1, 1)
    return backend.InferenceResponse([backend.Tensor("answer", encoded)])


def _refusal(error: ValueError) -> object:
    return backend.InferenceResponse(error=backend.TritonError(str(error), backend.TritonError.INVALID_ARG))
