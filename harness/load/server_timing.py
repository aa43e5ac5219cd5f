"""What a setup tells about one answer, read from header bytes after the run."""

import re

import numpy as np
from numpy.typing import NDArray

NAMES = ("queue", "wait", "model", "gc", "copy", "kernel")
_ENTRY = re.compile(rb'(?:^|,)\s*(queue|wait|model|gc|copy|kernel)\s*(?:;[^,]*?)?;\s*dur\s*=\s*"?(\d+(?:\.\d*)?)',
                    re.IGNORECASE)
_MOST_US = 2**31 - 1
_MOST_BATCH = 2**15 - 1


def parse_durations(values: list[bytes | None]) -> dict[str, NDArray[np.int32]]:
    """`<name>_us` int32[n] for each of NAMES, from Server-Timing values (W3C Server Timing: dur is in ms);
    −1 where an answer tells nothing."""
    told = {name.encode(): np.full(len(values), -1, np.int32) for name in NAMES}
    for row, value in enumerate(values):
        if value:
            for name, duration in _ENTRY.findall(value):
                told[name.lower()][row] = min(round(float(duration) * 1000), _MOST_US)
    return {f"{name.decode()}_us": column for name, column in told.items()}


def parse_batches(values: list[bytes | None]) -> NDArray[np.int16]:
    """int16[n] from x-batch-size values; 0 where there is none, or none that is a number."""
    sizes = [min(int(value), _MOST_BATCH) if value and value.strip().isdigit() else 0 for value in values]
    return np.array(sizes, np.int16)
