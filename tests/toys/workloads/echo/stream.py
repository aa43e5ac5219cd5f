"""Seeded numbers, whose doubles are known."""

import itertools
import json
import random
from collections.abc import Iterator


def payloads(seed: int, profile: str = "default") -> Iterator[tuple[bytes, object]]:
    """Profile `long` pads every 50th body to 20 KB."""
    source = random.Random(f"{seed}/{profile}")
    for turn in itertools.count():
        n = source.randrange(1_000_000)
        padded = {"pad": "x" * 20_000} if profile == "long" and turn % 50 == 49 else {}
        yield json.dumps({"n": n, **padded}).encode(), 2 * n


def judge(_model: int, _body: bytes, truth: object, answer: bytes) -> str:
    return same(answer, {"double": truth})


def same(answer: bytes, golden: object) -> str:
    try:
        said = json.loads(answer)
    except ValueError:
        return "the answer is no JSON"
    return "" if said == golden else f"{said} is not {golden}"
