"""One HTTP/1.1 connection in gevent's hub: raw non-blocking socket, two libev watchers, no greenlet."""

import errno
import socket as patched_socket
import struct
import time
from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original
from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.load.rows import MALFORMED, REFUSED, RESET
from harness.record.schema import ABSENT

if TYPE_CHECKING:
    from harness.load.engine import Engine
    from harness.load.payloads import Request

Socket = get_original("socket", "socket")
now = time.monotonic_ns
timespec = struct.Struct("qq").unpack_from

READ, WRITE = 1, 2
READ_BYTES = 65_536
ANCILLARY_BYTES = 128
WRITE_BYTES = 262_144
SO_TIMESTAMPING = 37
RECEIVE_STAMPS = 8 | 16  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
NEVER_CONNECTED = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}


def _connecting(sock: Any, address: tuple[Any, ...]) -> bool:
    """Whether a connect to `address` is under way or done; False when the peer is not there. Raises other errors."""
    try:
        sock.connect(address)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in NEVER_CONNECTED:
            return False
        raise
    return True


class Connection:
    """A connection that carries one request at a time; its lifetime ends with `close`.

    `index` is the row of the request it carries, −1 while idle. The engine is told of each request's end exactly once,
    by `answered` or `failed`, never from inside `begin`.
    """

    __slots__ = ("batch", "cold", "complete", "engine", "framed", "fresh", "headed", "index", "keep",
                 "kept", "open", "parser", "reader", "recv", "recvmsg", "rest", "send", "size", "sock", "status",
                 "stray", "timing", "writer")

    def __init__(self, engine: "Engine") -> None:
        """Starts connecting. Raises OSError when this machine gives no socket or port."""
        family, address = engine.address
        sock = Socket(family, patched_socket.SOCK_STREAM | patched_socket.SOCK_NONBLOCK | patched_socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(patched_socket.IPPROTO_TCP, patched_socket.TCP_NODELAY, 1)
            sock.setsockopt(patched_socket.SOL_SOCKET, SO_TIMESTAMPING, RECEIVE_STAMPS)
            refused = not _connecting(sock, address)
        except OSError:
            sock.close()
            raise
        self.engine, self.sock, self.open, self.cold, self.index = engine, sock, True, 1, -1
        self.send, self.recv, self.recvmsg = sock.send, sock.recv, sock.recvmsg
        self.rest: list[memoryview] = []
        self.parser: Any = HttpResponseParser(self)
        self.reader = engine.loop.io(sock.fileno(), READ)
        self.writer: Any = None
        if refused:
            engine.loop.run_callback(self.fail, REFUSED)
        else:
            self.reader.start(self.on_readable)

    def begin(self, index: int, request: "Request", sample: bool) -> None:
        """Sends `request` for row `index`; what the socket does not take now follows when it can."""
        self.index, self.size, self.keep = index, 0, True
        self.fresh, self.complete, self.stray, self.framed, self.headed = True, False, False, False, False
        self.timing: bytes | None = None
        self.batch: bytes | None = None
        self.kept: list[bytes] | None = [] if sample else None
        if isinstance(request, bytes):
            moment = now() if self.cold else 0
            try:
                taken = self.send(request)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                self.cannot_send(error)
                return
            if moment and taken:
                self.engine.rows.connected_ns[index] = moment
            if taken == len(request):
                return
            self.rest = [memoryview(request)[taken:]]
        else:
            self.rest = [memoryview(request[0]), request[1]]
        self.writer = self.engine.loop.io(self.sock.fileno(), WRITE)
        self.writer.start(self.on_writable)

    def on_writable(self) -> None:
        """Sends the next stretch of a request, at most 256 KiB, so that a large body delays nobody else."""
        moment = now()
        try:
            taken = self.send(self.rest[0][:WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError as error:
            self.stop_writing()
            self.cannot_send(error)
            return
        rows, index = self.engine.rows, self.index
        if self.cold and rows.connected_ns[index] == ABSENT:
            rows.connected_ns[index] = moment
        self.rest[0] = self.rest[0][taken:]
        if not self.rest[0]:
            del self.rest[0]
            if not self.rest:
                rows.written_ns[index] = moment
                self.stop_writing()

    def cannot_send(self, error: OSError) -> None:
        """A refused connection fails now; after a reset the reader still finds an answer that came before it."""
        self.keep = False
        if error.errno in NEVER_CONNECTED:
            self.engine.loop.run_callback(self.fail, REFUSED)

    def on_readable(self) -> None:
        """Reads once, feeds the parser, and reports the request's end if this was it."""
        fresh, problem, data = self.index >= 0 and self.fresh, RESET, b""
        ancillary: list[tuple[int, int, bytes]] = []
        try:
            if fresh:
                data, ancillary, _, _ = self.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            else:
                data = self.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            problem = REFUSED if error.errno in NEVER_CONNECTED else RESET
        read_ns, engine = now(), self.engine
        if not data:
            self.ended(read_ns, problem)
        elif self.index < 0:
            engine.stray += 1
            self.fail(RESET)
        else:
            if fresh:
                self.fresh = False
                engine.rows.read_ns[self.index] = read_ns
                if ancillary:
                    seconds, nanoseconds = timespec(ancillary[0][2])
                    engine.rows.kernel_ns[self.index] = seconds * 1_000_000_000 + nanoseconds
            self.parse(data, read_ns)
        if read_ns >= engine.next_due_ns:
            engine.dispatch(opening=False)

    def parse(self, data: bytes, read_ns: int) -> None:
        """Feeds `data`; whatever follows a complete answer is stray and costs the connection, not the answer."""
        try:
            self.parser.feed_data(data)
        except HttpParserCallbackError:
            raise
        except (HttpParserError, HttpParserUpgrade):
            if not self.complete:
                self.fail(MALFORMED)
                return
            self.stray = True
        if self.complete:
            if self.stray:
                self.engine.stray += 1
                self.keep = False
            if self.rest:
                self.keep = False
            self.engine.answered(self, read_ns)

    def ended(self, read_ns: int, problem: int) -> None:
        """The peer closed: the end of an answer that has no length, else a reset (or a refused connection)."""
        if self.index >= 0 and self.headed and not self.framed and problem == RESET:
            self.keep = False
            self.engine.answered(self, read_ns)
        else:
            self.fail(problem)

    def fail(self, error: int) -> None:
        """Closes; the request it carried, if any, ends with `error`."""
        if self.open:
            self.close()
            self.engine.failed(self, error)

    def stop_writing(self) -> None:
        """No more of the request will be sent."""
        self.rest = []
        if self.writer is not None:
            self.writer.stop()
            self.writer.close()
            self.writer = None

    def close(self) -> None:
        """Ends the connection and unties the reference cycles that a disabled collector would leave for ever."""
        self.open = False
        self.stop_writing()
        self.reader.stop()
        self.reader.close()
        self.sock.close()
        self.parser = self.send = self.recv = self.recvmsg = None

    def on_message_begin(self) -> None:
        if self.complete:
            self.stray = True

    def on_header(self, name: bytes, value: bytes) -> None:
        length = len(name)
        if length in {14, 17}:
            self.framed = self.framed or name.lower() in (b"content-length", b"transfer-encoding")
        elif length == 13:
            if name.lower() == b"server-timing":
                self.timing = value if self.timing is None else self.timing + b"," + value
        elif length == 12 and name.lower() == b"x-batch-size":
            self.batch = value

    def on_headers_complete(self) -> None:
        if not self.complete:
            self.headed = True
            self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self.size += len(body)
        if self.kept is not None:
            self.kept.append(body)

    def on_message_complete(self) -> None:
        if self.status >= 200:  # a 1xx only announces the answer
            self.complete = True
            self.keep = self.keep and self.parser.should_keep_alive()
        else:
            self.headed = self.framed = False
