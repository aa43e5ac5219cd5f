"""Transactions of the generator as request bodies, with their true labels, and how an answer is judged."""

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import model as served
from transactions import FEATURES, World, transactions

MAX_DIFFERENCE = 2e-5          # rounding to six digits, and float32 sums in another order
# Golden answers are LightGBM's on one machine; another may train trees that differ where two splits are equally good.
MAX_GOLDEN_DIFFERENCE = 0.03
_BLOCK = 4096
_TEST_SEEDS = 1_000_000        # far from the seeds of training


def payloads(seed: int, profile: str = "default", world: World | None = None) -> Iterator[tuple[bytes, int]]:
    """Endless bodies, each with whether it was a fraud (1) or not (0); `world` may have drifted."""
    if profile != "default":
        raise ValueError(f"unknown profile '{profile}'; known: default")
    kinds = [(name, whole) for name, (whole, _) in FEATURES.items()]
    for block in itertools.count():
        drawn = transactions(_TEST_SEEDS + seed * 1000 + block, _BLOCK, world)
        for row, fraud in zip(drawn.features.tolist(), drawn.fraud.tolist(), strict=True):
            named = {name: int(value) if whole else round(value, 2)
                     for (name, whole), value in zip(kinds, row, strict=True)}
            yield json.dumps(named).encode(), fraud


def judge(model: served.Model, body: bytes, truth: object, answer: bytes) -> str:
    """"" when the answer is the model's own for this body, else why not. Whether the model is right is not judged."""
    del truth
    return _near(answer, _reference(model, body), MAX_DIFFERENCE)


def same(answer: bytes, golden: Any) -> str:
    """"" when the answer is the golden one within MAX_GOLDEN_DIFFERENCE, else why not."""
    return _near(answer, golden["fraud"], MAX_GOLDEN_DIFFERENCE)


def _near(answer: bytes, expected: float, tolerance: float) -> str:
    try:
        given = float(json.loads(answer)["fraud"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"not a score: {error!r}"
    return "" if abs(given - expected) <= tolerance else f"{given} instead of {expected:.6f}"


@functools.lru_cache(maxsize=65_536)
def _reference(model: served.Model, body: bytes) -> float:
    return served.predict(model, [served.decode(body)])[0]
