"""Does the setup remember answers? Fresh payloads, each sent twice, one at a time, after the load."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness.run.agent import Agent
from harness.run.exchange import FAILURES
from harness.run.wire import Wire

PAIRS = 12
LEAST = 6  # fewer tell nothing (harness/analyse/record_checks.py)
BUDGET_S = 1.0
_FRESH = 0x5EED  # payloads of another seed than the run's


def repeats(wire: Wire, agent: Agent, seed: int, profile: str, scratch: Path) -> dict[str, list[float]]:
    """`fresh_ms` and `repeat_ms`, how long each payload took when it was new and when it came again; as many of
    PAIRS as go into BUDGET_S, but LEAST; none once one fails. A cache on the way makes the second ones quick; all go
    over one connection, so that a cache of one server process among several is met again."""
    agent.payload_files(seed ^ _FRESH, profile, PAIRS, scratch / "fresh")
    offsets = np.load(scratch / "fresh.offsets.npy", allow_pickle=False)
    bodies = (scratch / "fresh.bin").read_bytes()
    began = time.monotonic()
    took: dict[str, list[float]] = {"fresh_ms": [], "repeat_ms": []}
    with wire.connected(BUDGET_S) as ask:
        for start, stop in pairwise(offsets):
            for times in took.values():
                asked = time.monotonic()
                try:
                    reply = ask(bodies[start:stop])
                except FAILURES:
                    return {}
                if reply.status != 200:
                    return {}
                times.append((time.monotonic() - asked) * 1e3)
            if time.monotonic() - began > BUDGET_S and len(took["fresh_ms"]) >= LEAST:
                break
    return took
