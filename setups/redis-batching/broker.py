"""The Redis between fronts and workers: where it is, how it is spoken to, and what says that it is away."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

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


def client(library: Any, **how: Any) -> Any:
    """A client of the `library` (redis or redis.asyncio) that hides no lost connection: who repeats a command must
    know whether what went before it is still there."""
    how = {"protocol": 2, "socket_timeout": SILENT_S, "retry": library.retry.Retry(NoBackoff(), 0), **how}
    url = os.environ.get("KNOB_REDIS_URL", "")
    made = library.Redis.from_url(url, **how) if url else library.Redis(unix_socket_path=SOCKET, **how)
    # Answers as Redis gave them: the client's conversions into dicts and numbers cost more than the commands.
    made.response_callbacks.clear()
    return made


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
