"""One unary gRPC call at a time over bytes; never for load. Statuses become those of HTTP."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.protocols.grpc_status import http_status, was_lost
from harness.run.exchange import HOST, Reply

if TYPE_CHECKING:
    import grpc

OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1),
           ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))


@contextmanager
def channel(port: int) -> Iterator["grpc.Channel"]:
    """A channel to a port on loopback, closed at the end; it connects when it is first used."""
    import grpc  # noqa: PLC0415 -- 0.1 s, and only for those who speak it

    with grpc.insecure_channel(f"{HOST}:{port}", options=OPTIONS) as opened:
        yield opened


def call(opened: "grpc.Channel", method: str, message: bytes, timeout_s: float) -> Reply:
    """The answer's message as a 200's body, or the status' words as an error's. Raises TimeoutError when the deadline
    passes, ConnectionError when the server was not reached or went away."""
    import grpc  # noqa: PLC0415

    ask = opened.unary_unary(method, request_serializer=None, response_deserializer=None)
    until_s = time.monotonic() + timeout_s
    try:
        body, done = ask.with_call(message, timeout=timeout_s)
    except grpc.RpcError as error:
        code, said = error.code().value[0], error.details() or ""
        if time.monotonic() >= until_s:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None
        if was_lost(code, said):
            raise ConnectionError(said) from None
        return Reply(http_status(code, said), {}, said.encode())
    told = [*(done.initial_metadata() or ()), *(done.trailing_metadata() or ())]
    return Reply(200, {key: value for key, value in told if isinstance(value, str)}, body)
