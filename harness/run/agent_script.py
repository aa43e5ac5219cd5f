"""Runs a workload's own code for the harness: standard library only, started with the python of the workload's lock.

    python agent_script.py WORKLOAD_FOLDER MODEL_DIR

Reads one JSON request a line, `{"do": "…", …}`, and answers each with one line, `{"value": …}` or `{"error": "…"}`.
What the workload prints goes to stderr. It ends when its input ends, even in the middle of its work.
"""

import base64
import importlib
import itertools
import json
import os
import queue
import struct
import sys
import threading
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

_NICE = 10


class Workload:
    """The modules of one workload and, when it is first needed, its model."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.folder = folder
        self.model_dir = model_dir
        self._pools: dict[str, tuple[list[bytes], list[Any]]] = {}

    @cached_property
    def served(self) -> Any:
        return importlib.import_module("model")

    @cached_property
    def stream(self) -> Any:
        return importlib.import_module("stream")

    @cached_property
    def model(self) -> Any:
        return self.served.load(self.model_dir, 1, "cpu")

    @cached_property
    def pairs(self) -> list[tuple[bytes, Any]]:
        """(body, answer) of golden.json."""
        items = json.loads((self.folder / "golden.json").read_text("utf-8"))
        return [(item["body"].encode() if "body" in item else base64.b64decode(item["body_base64"], validate=True),
                 item["answer"]) for item in items]

    def content_type(self) -> str:
        return str(self.served.CONTENT_TYPE)

    def payloads(self, seed: int, profile: str, count: int, prefix: str) -> int:
        """Writes the pool's files; how many bytes the bodies have together."""
        drawn = list(itertools.islice(self.stream.payloads(seed, profile), count))
        if len(drawn) < count:
            raise ValueError(f"payloads() ended after {len(drawn)} of {count}; it must be endless")
        offsets = [0, *itertools.accumulate(len(body) for body, _ in drawn)]
        Path(f"{prefix}.bin").write_bytes(b"".join(body for body, _ in drawn))
        Path(f"{prefix}.offsets.npy").write_bytes(_npy(offsets))
        Path(f"{prefix}.truths.json").write_text(json.dumps([truth for _, truth in drawn]), "utf-8")
        return offsets[-1]

    def judge(self, prefix: str, answers: list[tuple[int, str]]) -> list[str]:
        bodies, truths = self._pool(prefix)
        return [str(self.stream.judge(self.model, bodies[index], truths[index], base64.b64decode(answer)))
                for index, answer in answers]

    def golden(self) -> list[tuple[str, Any]]:
        return [(base64.b64encode(body).decode(), answer) for body, answer in self.pairs]

    def same(self, answers: list[tuple[int, str]]) -> list[str]:
        return [str(self.stream.same(base64.b64decode(answer), self.pairs[index][1])) for index, answer in answers]

    def alike(self, pairs: list[tuple[str, str]]) -> list[str]:
        return [str(self.stream.same(base64.b64decode(one), json.loads(base64.b64decode(other))))
                for one, other in pairs]

    def prove(self) -> list[str]:
        """Compares the model's own answers with the golden ones: each alone, and all in one batch."""
        items = [self.served.decode(body) for body, _ in self.pairs]
        alone = [self.served.predict(self.model, [item])[0] for item in items]
        batched = self.served.predict(self.model, items)
        if len(batched) != len(items):
            raise ValueError(f"predict() gave {len(batched)} answers to {len(items)} items")
        return [self.stream.same(self.served.encode(one), golden)
                or (reason and f"in a batch: {reason}")
                for one, other, (_, golden) in zip(alone, batched, self.pairs, strict=True)
                for reason in [self.stream.same(self.served.encode(other), golden)]]

    def _pool(self, prefix: str) -> tuple[list[bytes], list[Any]]:
        # A prefix may be a link that another pool has taken over; the file it leads to is what it means.
        key = os.path.realpath(f"{prefix}.bin")
        if key not in self._pools:
            data = Path(f"{prefix}.bin").read_bytes()
            offsets = _read_npy(Path(f"{prefix}.offsets.npy").read_bytes())
            truths = json.loads(Path(f"{prefix}.truths.json").read_text("utf-8"))
            self._pools = {key: ([data[start:stop] for start, stop in itertools.pairwise(offsets)], truths)}
        return self._pools[key]


def _npy(values: list[int]) -> bytes:
    """int64[n] in NumPy's file format 1.0 (numpy.lib.format): the workload's lock need not hold numpy."""
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(
        f"<{len(values)}q", *values)


def _read_npy(data: bytes) -> list[int]:
    """What _npy wrote."""
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    return list(struct.unpack_from(f"<{(len(data) - start) // 8}q", data, start))


def _answer(workload: Workload, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": getattr(workload, request.pop("do"))(**request)}
    except Exception as error:
        place = next((f" ({Path(frame.filename).name}, line {frame.lineno})"
                      for frame in reversed(traceback.extract_tb(error.__traceback__))
                      if Path(frame.filename).parent == workload.folder), "")
        return {"error": traceback.format_exception_only(error)[-1].strip() + place}


def _listen(requests: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def main() -> None:
    folder, model_dir = map(Path, sys.argv[1:])
    os.nice(_NICE)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[requests], daemon=True).start()
    workload = Workload(folder, model_dir)
    while True:
        answers.write(json.dumps(_answer(workload, json.loads(requests.get()))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
