"""What the gateway is told: its knobs, and the engine behind it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongues import TONGUES, Tongue

LATEST_MS = 600_000.0


@dataclass(frozen=True)
class Settings:
    """`front` is spoken with clients and `back` with the engine, whose routes are `predict` and `ready`."""

    host: str
    front: Tongue
    back: Tongue
    predict: str
    ready: str
    queue: int
    deadline_ms: float
    retry_share: float
    hedge_ms: float
    decode: bool


def engine() -> dict[str, Any]:
    """What the harness says of the engine: command, cwd, env, port, protocol, predict, ready, stop_timeout_s."""
    told: dict[str, Any] = json.loads(Path(os.environ["BEHIND"]).read_text("utf-8"))
    return told


def settings(behind: dict[str, Any]) -> Settings:
    """Raises SystemExit with a sentence for a protocol that does not travel in HTTP/1.1."""
    front, back = os.environ["KNOB_FRONT"], behind["protocol"]
    for name in (front, back):
        if name not in TONGUES:
            raise SystemExit(f"the gateway does not speak '{name}'; it speaks {', '.join(TONGUES)}")
    return Settings(os.environ["HOST"], TONGUES[front], TONGUES[back], behind["predict"], behind["ready"],
                    int(os.environ["KNOB_QUEUE"]), min(LATEST_MS, float(os.environ["KNOB_DEADLINE_MS"])),
                    float(os.environ["KNOB_RETRY_SHARE"]), float(os.environ["KNOB_HEDGE_MS"]),
                    os.environ["KNOB_DECODE"] == "true")
