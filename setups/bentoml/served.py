"""The service: BentoML batches across requests what each worker gets; its wire format is lists in JSON."""

import base64
import os
import time
from pathlib import Path
from typing import Any

import bentoml
import model
from raw import RawBodies
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent
from replica.timing import device_ms

# Here, where the main thread of each worker comes by: the kernel forgets it with the thread that asked.
die_with_parent(os.getppid())


@bentoml.service(name="served", workers=int(os.environ["KNOB_WORKERS"]),
                 resources={"gpu": 1} if os.environ["DEVICE"] == "gpu" else {},
                 traffic={"timeout": float(os.environ["KNOB_TIMEOUT_S"])}, logging={"access": {"enabled": False}})
class Served:
    """One worker's model; BentoML says ready once __init__ has returned."""

    def __init__(self) -> None:
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self._model, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])

    @bentoml.api(batchable=True, route="/predict", max_batch_size=int(os.environ["KNOB_MAX_BATCH"]),
                 max_latency_ms=int(os.environ["KNOB_MAX_LATENCY_MS"]))
    def predict(self, bodies: list[str]) -> list[dict[str, Any]]:
        """For each body, in base64: its answer, or what is wrong with it. Order kept."""
        begun = time.monotonic()
        decoded = [_item(base64.b64decode(body)) for body in bodies]
        items = [item for item in decoded if not isinstance(item, ValueError)]
        answers = iter(model.predict(self._model, items) if items else [])
        said = [{"error": str(item)} if isinstance(item, ValueError) else
                {"answer": model.encode(next(answers)).decode()} for item in decoded]
        batch = {"begun_s": begun, "model_ms": (time.monotonic() - begun) * 1e3, "items": len(items),
                 "device_ms": device_ms(self._model)}
        return [each | batch for each in said]


def _item(body: bytes) -> Any:
    """The item, or the ValueError that the body caused: raised, it would fail the whole batch."""
    try:
        return model.decode(body)
    except ValueError as error:
        return error


Served.add_asgi_middleware(RawBodies)
