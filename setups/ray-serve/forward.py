"""A port here that leads to a port elsewhere, so that a cluster elsewhere can be asked like a server of our own."""

import asyncio
import contextlib
import threading

CHUNK_BYTES = 1 << 16


def forward(host: str, port: int, to_host: str, to_port: int) -> None:
    """Returns at once; connections are carried on until the process ends."""
    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection(to_host, to_port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_carry(reader, back), _carry(there, writer))

        async with await asyncio.start_server(connected, host, port) as server:
            await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
