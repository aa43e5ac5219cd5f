"""How long this process's garbage collector has run."""

import gc
import time
from typing import Any


class Collector:
    """`spent_s` grows with every collection from now on. The interpreter stands still in each of them, whichever
    thread it falls on."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._begun_s = 0.0
        gc.callbacks.append(self._hear)

    def _hear(self, phase: str, _facts: dict[str, Any]) -> None:
        if phase == "start":
            self._begun_s = time.perf_counter()
        else:
            self.spent_s += time.perf_counter() - self._begun_s
