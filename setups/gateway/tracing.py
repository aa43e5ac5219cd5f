"""W3C Trace Context: the caller's trace goes on to the engine, with the gateway as its parent.

Source: W3C Trace Context, Level 1, `traceparent` version 00.
"""

import random
import re

_KNOWN = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_source = random.Random()


def passed_on(traceparent: bytes | None) -> bytes:
    """The `traceparent` for the engine: the caller's trace and flags with a span of the gateway's own; a new trace,
    not sampled, where the caller sent none that is valid."""
    span = b"%016x" % _source.randrange(1, 1 << 64)
    known = _KNOWN.fullmatch(traceparent) if traceparent else None
    if known is None or not int(known[1], 16) or not int(known[2], 16):
        return b"00-%032x-%s-00" % (_source.randrange(1, 1 << 128), span)
    return b"00-%s-%s-%s" % (known[1], span, known[3])
