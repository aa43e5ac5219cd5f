"""One loaded model in this process, answering one body at a time."""

import os
import time
from pathlib import Path
from typing import Any

import model

from replica.golden import golden_bodies

BODY_LIMIT = 8 * 1024 * 1024


class Replica:
    """A model that has already answered a golden request, so that who holds one may say ready.

    Raises whatever loading or that first prediction raises.
    """

    def __init__(self) -> None:
        self._model: Any = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ.get("THREADS", "1")),
                                      os.environ.get("DEVICE", "cpu"))
        self.answer(golden_bodies(Path(os.environ["WORKLOAD"]))[0])

    def answer(self, body: bytes) -> tuple[bytes, float]:
        """The answer's body and the milliseconds it took, decode to encode. ValueError: the body is bad."""
        start = time.perf_counter()
        item = model.decode(body)
        answer = model.encode(model.predict(self._model, [item])[0])
        return answer, (time.perf_counter() - start) * 1e3
