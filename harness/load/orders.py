"""What a generator process is told over stdin, read in gevent's hub."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult

from harness.load.order_lines import OrderLines


class Orders:
    """`go <t0_ns>` once, then `stop`; a signal or the end of input stops too. `t0_ns` is None when told to stop before
    it was told to go."""

    def __init__(self) -> None:
        self.t0_ns: AsyncResult[int | None] = AsyncResult()
        self._stop: Callable[[], None] | None = None
        self._lines = OrderLines()
        self._watcher: Any = gevent.get_hub().loop.io(sys.stdin.fileno(), 1)
        self._watcher.start(self._read)
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self.stop)

    def stopped_by(self, stop: Callable[[], None]) -> None:
        """`stop` is called, in the hub, when the load shall end."""
        self._stop = stop

    def stop(self) -> None:
        """Ends the load; before `go`, nothing is sent at all."""
        self._watcher.stop()
        if not self.t0_ns.ready():
            self.t0_ns.set(None)
        elif self._stop is not None:
            self._stop()

    def _read(self) -> None:
        for t0_ns in self._lines.feed(os.read(sys.stdin.fileno(), 4096)):
            if t0_ns is None:
                self.stop()
            elif not self.t0_ns.ready():
                self.t0_ns.set(t0_ns)
