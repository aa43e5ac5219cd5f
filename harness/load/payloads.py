"""The bytes of requests, ready to send."""

import mmap
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import TailraceError
from harness.load.spec import LoadSpec
from harness.protocols.codec import Codec

Request = bytes | tuple[bytes, memoryview]

BUILT_AHEAD_BYTES = 64 << 20
COPIED_BYTES = 32 << 10


class Payloads:
    """A pool of bodies on disk, mapped into memory, as HTTP/1.1 POST requests.

    Small bodies are joined with their head (all ahead of time while they fit 64 MiB, else when asked for); a large one
    stays a view of the file beside its head. Raises TailraceError when the pool's files are missing or disagree.
    """

    def __init__(self, spec: LoadSpec) -> None:
        self._offsets, self._bodies = _open_pool(Path(spec.payloads))
        self.pool = len(self._offsets) - 1
        fixed = {"Host": f"{spec.host}:{spec.port}", "Content-Type": spec.content_type, **spec.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        self._head = f"POST {spec.path} HTTP/1.1\r\n{lines}Content-Length: ".encode("latin-1")
        self._ready: list[Request] = []
        if len(self._bodies) + self.pool * (len(self._head) + 64) <= BUILT_AHEAD_BYTES:
            self._ready = [self._build(index) for index in range(self.pool)]

    def request(self, seq: int) -> Request:
        """What request `seq` sends: its bytes, or (head, body) when the body is large."""
        index = seq % self.pool
        return self._ready[index] if self._ready else self._build(index)

    def _build(self, index: int) -> Request:
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        head = b"%s%d\r\n\r\n" % (self._head, stop - start)
        body = self._bodies[start:stop]
        return head + body.tobytes() if len(body) <= COPIED_BYTES else (head, body)


class Bodies:
    """A pool of bodies on disk, as they are. Raises TailraceError like Payloads."""

    def __init__(self, prefix: Path) -> None:
        self._offsets, self._bodies = _open_pool(prefix)
        self._pool = len(self._offsets) - 1

    def body(self, seq: int) -> bytes:
        """What request `seq` sends."""
        index = seq % self._pool
        return bytes(self._bodies[int(self._offsets[index]):int(self._offsets[index + 1])])


def write_pool(prefix: Path, bodies: list[bytes]) -> None:
    """`bodies` as the files that LoadSpec.payloads names."""
    offsets = np.zeros(len(bodies) + 1, np.int64)
    np.cumsum([len(body) for body in bodies], out=offsets[1:])
    Path(f"{prefix}.bin").write_bytes(b"".join(bodies))
    np.save(f"{prefix}.offsets.npy", offsets)


def payload_bytes(prefix: Path) -> NDArray[np.int32]:
    """The length of each body of a pool on disk."""
    offsets: NDArray[np.int64] = np.load(f"{prefix}.offsets.npy", allow_pickle=False)
    return np.diff(offsets).astype(np.int32)


def write_wrapped(codec: Codec, content_type: str, source: Path, prefix: Path) -> None:
    """The pool at `source`, each body as the codec's request, as the files of `prefix`. Raises TailraceError."""
    offsets, bodies = _open_pool(source)
    ends = offsets.tolist()
    write_pool(prefix, [codec.wrap(bytes(bodies[start:stop]), content_type) for start, stop in pairwise(ends)])


def _open_pool(prefix: Path) -> tuple[NDArray[np.int64], memoryview]:
    body_file = Path(f"{prefix}.bin")
    try:
        offsets: NDArray[np.int64] = np.load(f"{prefix}.offsets.npy", allow_pickle=False)
        size = body_file.stat().st_size
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
            raise TailraceError(f"{prefix}: payload file and offsets disagree", "write the payloads again")
        if size == 0:
            return offsets, memoryview(b"")
        with body_file.open("rb") as file:
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            return offsets, memoryview(mmap.mmap(file.fileno(), size, flags=flags, prot=mmap.PROT_READ))
    except (OSError, ValueError) as error:
        raise TailraceError(f"{prefix}: payloads cannot be read: {error}", "write the payloads again") from None
