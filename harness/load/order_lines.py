"""The lines a generator process is told, parsed; pure, so that every event loop can use it."""

import sys
from collections.abc import Iterator


class OrderLines:
    """Bytes in, orders out, whatever the pieces they come in."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, data: bytes) -> Iterator[int | None]:
        """t0_ns for each `go <t0_ns>`, None for each `stop` and for the end of input (no bytes at all)."""
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            match line.split():
                case [b"go", t0_ns] if t0_ns.isdigit():
                    yield int(t0_ns)
                case [b"stop"]:
                    yield None
                case _:
                    sys.stderr.write(f"not understood: {line!r}; write `go <t0_ns>` or `stop`\n")
        if not data:
            yield None
