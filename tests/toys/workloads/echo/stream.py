"""Seeded numbers, whose doubles are known."""

import json
import random
from collections.abc import Iterator


def payloads(seed: int, profile: str = "default") -> Iterator[tuple[bytes, object]]:
    source = random.Random(f"{seed}/{profile}")
    while True:
        n = source.randrange(1_000_000)
        yield json.dumps({"n": n}).encode(), 2 * n


def judge(_model: int, _body: bytes, truth: object, answer: bytes) -> str:
    return same(answer, {"double": truth})


def same(answer: bytes, golden: object) -> str:
    try:
        said = json.loads(answer)
    except ValueError:
        return "the answer is no JSON"
    return "" if said == golden else f"{said} is not {golden}"
