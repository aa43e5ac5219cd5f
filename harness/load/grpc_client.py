"""Unary gRPC calls over bytes, for load: grpcio's asyncio client, no generated code."""

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from harness.load.async_engine import Answer
from harness.load.rows import OK, REFUSED, RESET, TIMEOUT
from harness.protocols.grpc_status import http_status, was_lost

CHANNELS = 4
OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1),
           ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
_DEADLINE_EXCEEDED = 4


class GrpcClient:
    """Calls of one method, in turn over CHANNELS connections (a server allows so many calls at once on each)."""

    connections = CHANNELS

    def __init__(self, address: str, method: str, headers: Mapping[str, str]) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(CHANNELS)]
        self._calls: list[Any] = [channel.unary_unary(method, request_serializer=None, response_deserializer=None)
                                  for channel in self._channels]
        self._metadata = tuple((name.lower(), value) for name, value in headers.items()
                               if name.lower() != "content-type")

    async def connect(self, timeout_s: float) -> None:
        """Opens every connection. Raises TimeoutError."""
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in self._channels)), timeout_s)

    async def close(self) -> None:
        """Closes every connection."""
        for channel in self._channels:
            await channel.close()

    async def ask(self, index: int, body: bytes, timeout_s: float) -> Answer:
        """The answer to one call; what fails is an answer too."""
        call = self._calls[index % CHANNELS](body, timeout=timeout_s, metadata=self._metadata)
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            return _failed(error)
        told = dict(await call.initial_metadata() or ())
        told.update(await call.trailing_metadata() or ())
        return Answer(OK, 200, answer, _bytes(told.get("server-timing")), _bytes(told.get("x-batch-size")))


def _failed(error: grpc.aio.AioRpcError) -> Answer:
    code, words = error.code().value[0], error.details() or ""
    if code == _DEADLINE_EXCEEDED:
        return Answer(TIMEOUT)
    if was_lost(code, words):
        return Answer(REFUSED if "connect" in words else RESET)
    return Answer(OK, http_status(code, words), words.encode())


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
