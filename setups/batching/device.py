"""A worker's end towards the process that owns the device: prepared arrays there, computed ones back."""

import json
import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from batching.halves import Arrays
from batching.link import OwnerLostError
from batching.region import Region

LINE = 1 << 16
LOOK_S = 0.2
RETRY_S = 0.05


class Computed(NamedTuple):
    """The arrays, how long they waited for the device (s), its copying and computing (ms), and how many items it took
    at once."""

    arrays: Arrays
    waited_s: float
    copy_ms: float
    kernel_ms: float
    rows: int


def address(owner: int) -> str:
    """Where an owner listens, in the run's folder."""
    return f"owner-{owner}"


class Device:
    """One owner's device. `alive` is called several times a second while it is waited for: that is no hanging."""

    def __init__(self, owner: int, alive: Callable[[], None]) -> None:
        self._address = address(owner)
        self._alive = alive
        self._region = Region()
        self._socket: socket.socket | None = None

    def compute(self, arrays: Arrays, rows: int, alone: bool) -> Computed:
        """What the owner's model computes from a prepared batch; `alone` keeps it from being joined with others'.

        Where an owner dies before it began with this batch, its successor gets it. Raises OwnerLostError when it died
        later, RuntimeError with the model's words, ValueError for a batch too large.
        """
        while True:
            self._region.begun = False
            message = json.dumps({"arrays": self._region.put(arrays), "rows": rows, "alone": alone}).encode()
            sent_s = time.monotonic()
            reply = self._asked(message)
            if reply:
                return self._computed(json.loads(reply), sent_s)
            if self._region.begun:
                raise OwnerLostError("the owner of the device died on this batch")

    def _computed(self, told: dict, sent_s: float) -> Computed:
        if "error" in told:
            raise RuntimeError(told["error"])
        return Computed(self._region.get(told["arrays"]), max(0.0, told["begun_s"] - sent_s), told["copy_ms"],
                        told["kernel_ms"], told["rows"])

    def _asked(self, message: bytes) -> bytes:
        """The owner's reply; empty when it died."""
        try:
            if self._socket is None:
                self._socket = self._connected()
            self._socket.send(message)
            while not select.select([self._socket], [], [], LOOK_S)[0]:
                self._alive()
            reply = self._socket.recv(LINE)
        except OSError:
            reply = b""
        if not reply and self._socket is not None:
            self._socket.close()
            self._socket = None
        return reply

    def _connected(self) -> socket.socket:
        """A connection over which the owner has been given the shared memory."""
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(self._address)
                socket.send_fds(connection, [b"memory"], [self._region.descriptor])
                return connection
            except OSError:     # not there yet, or not there any more
                connection.close()
                self._alive()
                time.sleep(RETRY_S)
