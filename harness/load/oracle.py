"""What a single-server FIFO queue must answer, request by request."""

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]


def departures(arrival_ns: Nanoseconds, service_ns: Nanoseconds, stall_from_ns: int = 0,
               stall_ns: int = 0) -> Nanoseconds:
    """When each request leaves: Lindley's recursion D = max(A, D of the one before) + S (Lindley 1952), where no
    service starts in [stall_from_ns, stall_from_ns + stall_ns). Arrivals ascend."""
    if stall_ns == 0:
        work = np.cumsum(service_ns)
        return work + np.maximum.accumulate(arrival_ns - (work - service_ns))
    left, last, stall_end_ns = np.empty_like(arrival_ns), -(1 << 62), stall_from_ns + stall_ns
    for i, (arrival, service) in enumerate(zip(arrival_ns.tolist(), service_ns.tolist(), strict=True)):
        start = max(arrival, last)
        last = (stall_end_ns if stall_from_ns <= start < stall_end_ns else start) + service
        left[i] = last
    return left
