"""The workload in Triton's Python backend."""

import base64
import os
from pathlib import Path

import model
import numpy as np
import triton_python_backend_utils as backend
from replica.golden import golden_bodies
from replica.timing import device_ms

IN_JSON = os.environ["KNOB_PROTOCOL"] == "oip-http"  # where a tensor cannot hold any bytes as they are


class TritonPythonModel:
    """One instance: a process that holds the model. Triton says ready once `initialize` has returned in all."""

    def initialize(self, _args: dict[str, str]) -> None:
        """Loads the model and proves it by a golden request."""
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self._model, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])
        self._counters = Counters(device_ms(self._model))

    def execute(self, requests: list) -> list:
        """One response for each request, in order; all their items go to the model as one batch. A request with a body
        that is bad gets 400, and spoils no other."""
        decoded = [_decoded(request) for request in requests]
        items = [item for each in decoded if not isinstance(each, ValueError) for item in each]
        answers = iter(model.predict(self._model, items) if items else ())
        if items:
            self._counters.add(device_ms(self._model), sum(not isinstance(each, ValueError) for each in decoded))
        return [_refusal(each) if isinstance(each, ValueError) else _response([next(answers) for _ in each])
                for each in decoded]


class Counters:
    """`tailrace_copy_us` and `tailrace_kernel_us` at Triton's /metrics, summed over all instances; none where the model
    tells of no device. An answer over HTTP cannot say it: this release lets a backend set neither header nor
    parameter."""

    def __init__(self, told: dict[str, float]) -> None:
        self._families = {name: backend.MetricFamily(
            name=f"tailrace_{name}_us", description=f"Cumulative {name} time on the device, in microseconds",
            kind=backend.MetricFamily.COUNTER) for name in told}
        self._counters = {name: family.Metric(labels={"model": "model"}) for name, family in self._families.items()}

    def add(self, told: dict[str, float], requests: int) -> None:
        """A batch's milliseconds once for each of its requests, as Triton's own counters of time have it."""
        for name, counter in self._counters.items():
            counter.increment(told[name] * 1e3 * requests)


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
