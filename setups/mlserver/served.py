"""The workload as an MLServer runtime, and what the front does with its answers."""

import os
import time
from pathlib import Path

import model
from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent


class Served(MLModel):
    """One worker's model. MLServer merges requests and cuts the response: what is wrong with a body travels beside the
    answers, as raised it would fail the whole batch."""

    async def load(self) -> bool:
        """Loads the model and proves it by a golden request."""
        die_with_parent(os.getppid())
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self._model, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Tensors `answer` and `refused`, one element of each for every body, in order; one of the two is empty."""
        begun = time.monotonic()
        decoded = [_decoded(body) for body in self.decode(payload.inputs[0], default_codec=Base64Codec)]
        items = [item for item in decoded if not isinstance(item, ValueError)]
        answers = iter(model.predict(self._model, items) if items else ())
        said = [("", str(item)) if isinstance(item, ValueError) else (model.encode(next(answers)).decode(), "")
                for item in decoded]
        batch = Parameters(begun_s=begun, model_ms=(time.monotonic() - begun) * 1e3, items=len(items))
        return InferenceResponse(model_name=self.name, parameters=batch, outputs=[
            ResponseOutput(name=name, datatype="BYTES", shape=[len(said), 1], data=list(data))
            for name, data in zip(("answer", "refused"), zip(*said, strict=True), strict=True)])


async def speak_for_each(served: MLModel) -> MLModel:
    """Goes between the front and MLServer's batcher: a bad body is a 400 for its request alone, and headers say where
    the time went."""
    batched = served.predict

    async def predict(payload: InferenceRequest) -> InferenceResponse:
        came_s = time.monotonic()
        response = await batched(payload)
        answer, refused = response.outputs
        if why := next(filter(None, refused.data.root), ""):
            raise MLServerError(why)
        batch = response.parameters
        return InferenceResponse(id=response.id, model_name=response.model_name, outputs=[answer],
                                 parameters=Parameters(headers={
            "Server-Timing": f"queue;dur={(batch.begun_s - came_s) * 1e3:.3f}, model;dur={batch.model_ms:.3f}",
            "x-batch-size": str(batch.items)}))

    served.predict = predict
    return served


def _decoded(body: bytes) -> object:
    try:
        return model.decode(body)
    except ValueError as error:
        return error
