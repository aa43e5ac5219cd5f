"""A gRPC server that answers every call at once with two bytes: the target of the gRPC row of `tailrace calibrate`.

Run as a script; it prints {"port": …} and serves until its input ends. It speaks through grpcio's C core by asyncio,
so what it adds is the cost of a real server in Python.
"""

import asyncio
import json
import os
import sys

import grpc
import grpc.aio


class _Any(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio brings no types
    """Answers whatever method is called."""

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(_answer)


async def _answer(_request: bytes, _context: object) -> bytes:
    return b"ok"


async def main() -> None:
    """Serves until standard input ends."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Any(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    over = asyncio.Event()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            over.set()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read)
    await over.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
