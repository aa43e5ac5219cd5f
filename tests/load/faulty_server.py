"""A server that does what the first word of a request's body tells it to; prints its port."""

import asyncio
import socket
import struct
import sys

HUGE = 10_000_000
TOLD = b"Server-Timing: queue;dur=1.5, model;desc=x;dur=0.25\r\nX-Batch-Size: 7\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + TOLD + b"Content-Length: 2\r\n\r\nok"
ANSWERS = {
    "ok": OK,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Server-Timing\r\n\r\n"
               b"5\r\nhello\r\n5\r\nworld\r\n0\r\nServer-Timing: wait;dur=2\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "malformed": b"HELLO\r\n\r\n",
    "badlength": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "busy": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy",
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE + bytes(HUGE),
    "garbage": OK + b"\x00garbage\r\n\r\n",
    "twice": OK + OK,
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
}
CLOSING = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "untilclose": b"HTTP/1.1 200 OK\r\n\r\nall there is",
    "partial": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "nothing": b"",
}
received = 0


async def request(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def answer(kind: str, body: bytes, writer: asyncio.StreamWriter) -> None:
    if kind == "drip":
        for at in range(len(OK)):
            writer.write(OK[at:at + 1])
            await asyncio.sleep(0.001)
    elif kind == "count":
        size = b"%d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(size) + size)
    elif kind == "hang":
        await asyncio.sleep(3600)
    elif kind == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        writer.write(ANSWERS.get(kind, CLOSING.get(kind, b"")))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global received  # noqa: PLW0603  # one counter, one thread
    try:
        while True:
            body = await request(reader)
            kind = body.split(b" ")[0].decode()
            if kind == "tally":
                writer.write(b"%d\n" % received)
                return
            received += 1
            await answer(kind, body, writer)
            await writer.drain()
            if kind == "reset" or kind in CLOSING:
                writer.close()
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 16)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
