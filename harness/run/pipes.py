"""JSON lines from several processes at once."""

import json
import os
import selectors
import time
from typing import Any, NamedTuple

Message = dict[str, Any]


class Heard(NamedTuple):
    """`message` is None when the pipe of `source` has ended; a line that is no JSON object is {"text": line}."""

    source: str
    message: Message | None


class Lines:
    """Reads pipes without blocking; each is known by a name."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._partial: dict[str, bytes] = {}

    def add(self, source: str, handle: int) -> None:
        """Listens to a pipe's read end."""
        os.set_blocking(handle, False)
        self._partial[source] = b""
        self._selector.register(handle, selectors.EVENT_READ, source)

    def close(self) -> None:
        """Stops listening; the pipes stay open."""
        self._selector.close()

    def wait(self, timeout_s: float) -> list[Heard]:
        """What was said, as soon as something is; nothing when the time is up or no pipe is left."""
        deadline = time.monotonic() + timeout_s
        heard: list[Heard] = []
        while not heard and self._selector.get_map():
            rest = deadline - time.monotonic()
            for key, _ in self._selector.select(max(0.0, rest)):
                heard += self._read(key.fd, key.data)
            if rest <= 0:
                break
        return heard

    def _read(self, handle: int, source: str) -> list[Heard]:
        data = os.read(handle, 65536)
        if not data:
            self._selector.unregister(handle)
            return [Heard(source, None)]
        *lines, self._partial[source] = (self._partial[source] + data).split(b"\n")
        return [Heard(source, _message(line)) for line in lines if line.strip()]


def _message(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    return message if isinstance(message, dict) else {"text": line.decode(errors="replace")}
