"""The Redis between fronts and workers: where it is, how it is spoken to, and what says that it is away."""

import asyncio
import math
import os
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hiredis
import redis
import redis.asyncio.retry
import redis.retry
from batching.link import Companion
from batching.settings import Settings
from redis.backoff import NoBackoff

SOCKET = "redis.sock"
GROUP = "workers"
RETRY_S = 0.1
SILENT_S = 3.0      # longer than any command blocks: Redis hangs
DOWN = (redis.ConnectionError, redis.TimeoutError)


def companions(settings: Settings) -> list[Companion]:
    """A Redis of its own, in memory only, on a Unix socket in the run's folder; none where an address was given.

    Raises ValueError where no Redis answers there.
    """
    if settings.redis_url:
        _must_answer()
        return []
    command = ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--save", "",
               "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", "--dir", "."]
    return [Companion(command, _answers)]


def client(library: Any) -> Any:
    """A client of the `library` (redis or redis.asyncio) that hides no lost connection: who repeats a command must
    know whether what went before it is still there."""
    made = library.Redis.from_url(**_how(library))
    # Answers as Redis gave them, from a Line as from a client.
    made.response_callbacks.clear()
    return made


def packed(*words: str | bytes | float) -> bytes:
    """A command in the bytes Redis reads."""
    command: bytes = hiredis.pack_command(words)
    return command


class Wire:
    """A connection that blocks, for what each batch passes through: a client around it (pool, retries, records) costs
    several times what the commands do. Connects when first asked, and after an error again."""

    def __init__(self) -> None:
        self._connection = redis.ConnectionPool.from_url(**_how(redis)).make_connection()

    def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands, errors among them. Raises DOWN, and has then disconnected."""
        self._connection.send_packed_command([b"".join(commands)])
        return [self._reply() for _ in commands]

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error

    def close(self) -> None:
        """Disconnect."""
        self._connection.disconnect()


class Line:
    """Such a connection in an event loop, on which one task asks.

    One timer over each question stands in for redis-py's own: a task for each command, and a timer for each reply.
    """

    def __init__(self) -> None:
        how = {**_how(redis.asyncio), "socket_timeout": None}
        self._connection = redis.asyncio.ConnectionPool.from_url(**how).make_connection()

    async def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands, errors among them. Raises DOWN, and has then disconnected."""
        try:
            async with asyncio.timeout(SILENT_S):
                await self._connection.send_packed_command(commands)
                return [await self._reply() for _ in commands]
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {SILENT_S:.0f} s") from None

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(timeout=math.inf)
        except redis.ResponseError as error:
            return error

    async def open(self) -> None:
        """Connect. Raises DOWN."""
        await self.ask([packed("PING")])

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.disconnect(nowait=True)


def _how(library: Any) -> dict[str, Any]:
    url = os.environ.get("KNOB_REDIS_URL", "")
    where = {"url": url} if url else {"url": "unix://", "path": SOCKET}
    return {**where, "protocol": 2, "socket_timeout": SILENT_S, "retry": library.retry.Retry(NoBackoff(), 0)}


@cache
def key(name: str) -> str:
    """Keys of this deployment alone: its folder's name is its own."""
    return f"tailrace:{Path.cwd().name}:{name}"


def there_already(error: redis.ResponseError) -> bool:
    """Whether the group exists, which is all that was wanted."""
    return str(error).startswith("BUSYGROUP")


async def takes_several(commands: "redis.asyncio.Redis") -> bool:
    """Whether Redis can wait for a list and then hand out several of it: from 7.0 on, where it says so."""
    try:
        return (await commands.execute_command("COMMAND", "INFO", "BLMPOP"))[0] is not None
    except redis.ResponseError:     # this user may not ask
        return False


def _must_answer() -> None:
    try:
        with client(redis) as asked:
            asked.ping()
    except (redis.RedisError, ValueError) as error:
        raise ValueError(f"the Redis that the knob redis_url names cannot be used: {error}; "
                         "start it, or leave the knob empty") from None


def _answers() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(SOCKET) == 0
