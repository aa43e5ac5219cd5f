"""A workload for tests of setups: squares numbers, and misbehaves when the body asks for it.

`{"x": 3}` gives `{"y": 9}`; `"ms"` makes the batch take that long, `"fail"` makes predict raise, `"die"` names a file
and kills the process unless it holds as many lines as `"deaths"`, `"hang"` sleeps for an hour.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

CONTENT_TYPE = "application/json"
ANSWER_TYPE = "application/json"

Item = dict[str, Any]


def load(directory: Path, threads: int, device: str = "cpu") -> int:
    """The exponent."""
    return 2


def decode(body: bytes) -> Item:
    """The item. Raises ValueError for a body without a number x."""
    item = json.loads(body)
    if not isinstance(item, dict) or not isinstance(item.get("x"), int | float):
        raise ValueError("the body must be an object with a number 'x'")  # noqa: TRY004 the contract's error
    return item


def predict(model: int, batch: list[Item]) -> list[float]:
    """The squares, after as much time as the slowest item asks for."""
    for item in batch:
        if "die" in item:
            _die(Path(item["die"]), int(item.get("deaths", 99)))
        if item.get("hang"):
            time.sleep(3600)
        if item.get("fail"):
            raise RuntimeError("asked to fail")
    time.sleep(max(float(item.get("ms", 0)) for item in batch) / 1e3)
    return [item["x"] ** model for item in batch]


def encode(answer: float) -> bytes:
    """The square as JSON."""
    return json.dumps({"y": answer}).encode()


def _die(diary: Path, deaths: int) -> None:
    with diary.open("a+") as file:
        file.seek(0)
        if len(file.readlines()) < deaths:
            file.write("died\n")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
