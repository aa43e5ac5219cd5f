"""What a server tells of where a request's time went (W3C Server Timing)."""

from collections.abc import Mapping
from typing import Any

import model


def device_ms(loaded: Any) -> dict[str, float]:
    """Milliseconds of `copy` and `kernel` in the model's last predict; empty where it does not tell, as on a CPU."""
    tell = getattr(model, "last_times", None)
    return dict(tell(loaded)) if tell else {}


def server_timing(parts_ms: Mapping[str, float]) -> str:
    """The header's value, in the order given."""
    return ", ".join(f"{name};dur={ms:.3f}" for name, ms in parts_ms.items())
