"""A workload for tests of setups: squares numbers, and misbehaves when the body asks for it.

`{"x": 3}` gives `{"y": 9}`; `"ms"` makes the batch take that long, `"fail"` makes predict raise, `"die"` names a file
and kills the process unless it holds as many lines as `"deaths"`, `"hang"` sleeps for an hour, `"collect"` runs the
garbage collector. On a device `"host_ms"` keeps a CPU that long in prepare, and again in finish; `"break"` breaks it:
it computes nothing any more.
"""

import gc
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

CONTENT_TYPE = "application/json"
ANSWER_TYPE = "application/json"

Item = dict[str, Any]
TELLING = "telling"     # a device that tells how long it copied and computed
_TIMES: dict[str, float] = {}
_BROKEN = threading.Event()
_DEVICE = threading.Lock()      # it computes one batch at a time


def load(directory: Path, threads: int, device: str = "cpu") -> int:
    """The exponent."""
    _TIMES.update({"copy": 0.25, "kernel": 1.5} if device == TELLING else {})
    return 2


def last_times(model: int) -> dict[str, float]:
    """What a device would tell, where this is one that does."""
    return dict(_TIMES)


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
        if item.get("collect"):
            gc.collect()
    time.sleep(max(float(item.get("ms", 0)) for item in batch) / 1e3)
    return [item["x"] ** model for item in batch]


def load_host(directory: Path) -> None:
    """Nothing is needed."""


def prepare(host: None, batch: list[Item]) -> dict[str, np.ndarray]:
    """The items as columns; a diary's name as bytes, filled with zeros."""
    diaries = [str(item.get("die", "")).encode() for item in batch]
    longest = max(map(len, diaries))
    _busy(sum(float(item.get("host_ms", 0)) for item in batch))
    return {"x": np.array([item["x"] for item in batch], np.float64),
            "ms": np.array([float(item.get("ms", 0)) for item in batch]),
            "host_ms": np.array([float(item.get("host_ms", 0)) for item in batch]),
            "hang": np.array([bool(item.get("hang")) for item in batch]),
            "fail": np.array([bool(item.get("fail")) for item in batch]),
            "break": np.array([bool(item.get("break")) for item in batch]),
            "deaths": np.array([int(item.get("deaths", 99)) for item in batch]),
            "die": np.array([list(diary.ljust(longest, b"\0")) for diary in diaries], np.uint8)}


def compute(model: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What predict does, in the process of the device's owner."""
    diaries = [bytes(row).rstrip(b"\0").decode() for row in arrays["die"]]
    columns = zip(arrays["ms"], arrays["hang"], arrays["fail"], arrays["deaths"], diaries, strict=True)
    if arrays["break"].any():
        _BROKEN.set()
    if _BROKEN.is_set():
        raise RuntimeError("the device is broken")
    with _DEVICE:
        predict(model, [
            {"x": 0, "ms": ms, "hang": hang, "fail": fail} | ({"die": diary, "deaths": deaths} if diary else {})
            for ms, hang, fail, deaths, diary in columns])
    return {"y": arrays["x"] ** model, "host_ms": arrays["host_ms"]}


def finish(host: None, arrays: dict[str, np.ndarray]) -> list[float]:
    """The squares."""
    _busy(float(arrays["host_ms"].sum()))
    return [int(y) for y in arrays["y"]]


def _busy(ms: float) -> None:
    until_s = time.process_time() + ms / 1e3
    while time.process_time() < until_s:
        pass


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
