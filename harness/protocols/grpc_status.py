"""gRPC's status codes as HTTP's, so that rows and judgements of both mean the same.

Source: google/rpc/code.proto, "HTTP Mapping", but for two: RESOURCE_EXHAUSTED is what servers say when their queue is
full (503, as our contract says it), and UNIMPLEMENTED what they say for a method that is not there (404).
"""

_HTTP = {0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 503, 9: 400, 10: 409, 11: 400, 12: 404,
         13: 500, 14: 503, 15: 500, 16: 401}
_EXHAUSTED, _UNAVAILABLE = 8, 14
_LOST = ("failed to connect", "socket closed", "connection reset", "goaway", "cancelling all calls", "broken pipe",
         "recvmsg", "endpoint", "connection refused", "transport")


def http_status(code: int, words: str = "") -> int:
    """The HTTP status of a gRPC status: its code, and its words for a message too large, which has no code."""
    if code == _EXHAUSTED and "larger than max" in words:
        return 413
    return _HTTP.get(code, 500)


def was_lost(code: int, words: str) -> bool:
    """Whether a call ended with UNAVAILABLE because its connection did, which gRPC's libraries say in the status's
    words alone."""
    return code == _UNAVAILABLE and any(each in words.lower() for each in _LOST)
