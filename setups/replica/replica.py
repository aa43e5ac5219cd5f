"""One loaded model in this process, answering one body at a time."""

import os
import time
from pathlib import Path
from typing import Any

import model

from replica.collector import Collector
from replica.golden import golden_bodies
from replica.timing import device_ms, server_timing

BODY_LIMIT = 8 * 1024 * 1024


class Replica:
    """A model that has already answered a golden request, so that who holds one may say ready.

    Raises whatever loading or that first prediction raises.
    """

    def __init__(self) -> None:
        device = os.environ.get("DEVICE", "cpu")
        os.environ["LARGEST_BATCH"] = "1"   # a model on a device makes shapes ready for no more
        self._model: Any = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ.get("THREADS", "1")), device)
        self._on_device = device != "cpu"
        self._collector = Collector()
        self.answer(golden_bodies(Path(os.environ["WORKLOAD"]))[0])

    def answer(self, body: bytes) -> tuple[bytes, str]:
        """The answer's body and its Server-Timing: `model` is decode to encode, `gc` what the garbage collector took of
        it where it ran. ValueError: the body is bad."""
        start, collected_s = time.perf_counter(), self._collector.spent_s
        item = model.decode(body)
        answer = model.encode(model.predict(self._model, [item])[0])
        model_ms = (time.perf_counter() - start) * 1e3
        times = {"model": model_ms} | (device_ms(self._model) if self._on_device else {})
        if self._collector.spent_s > collected_s:
            times["gc"] = (self._collector.spent_s - collected_s) * 1e3
        return answer, server_timing(times)
