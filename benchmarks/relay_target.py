"""A server that answers every POST at once, over TLS where a certificate is given: what relay_floor.py relays to.

Run as a script, with the relay's own Python. It prints its port and serves until its input ends.
"""

import asyncio
import os
import re
import ssl
import sys

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """One connection, whose requests may come in pieces."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.heard = transport, b""

    def data_received(self, data: bytes) -> None:
        self.heard += data
        while (head := self.heard.find(b"\r\n\r\n")) >= 0:
            told = LENGTH.search(self.heard, 0, head)
            end = head + 4 + (int(told[1]) if told else 0)
            if len(self.heard) < end:
                return
            self.heard = self.heard[end:]
            self.transport.write(ANSWER)


async def serve(certificate: str, key: str) -> None:
    """Until the input ends."""
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=tls, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), lambda: over.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    await over.wait()


if __name__ == "__main__":
    uvloop.run(serve(*(sys.argv[1:] or ("", ""))))
