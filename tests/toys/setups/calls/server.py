"""ModelInfer and ModelReady over grpcio's generic handlers; bodies up to 255 bytes, the only ones it is asked for."""

import os
import signal
import threading
from concurrent import futures

import grpc
import model

SERVICE = "/inference.GRPCInferenceService/"
TIMING = (("server-timing", "queue;dur=0.5, wait;dur=0.25, model;dur=1.0"), ("x-batch-size", "1"))


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def tensor_of(request: bytes) -> bytes:
    """The last field is raw_input_contents (7)."""
    at = request.index(b"\x32\x08\x0a\x06answer") + 10
    assert request[at] == 7 << 3 | 2
    length_bytes = 1 if request[at + 1] < 128 else 2 if request[at + 2] < 128 else 4
    return request[at + 1 + length_bytes:]


def infer(request: bytes, context: grpc.ServicerContext) -> bytes:
    try:
        answer = model.encode(model.predict(2, [model.decode(tensor_of(request)[4:])])[0])
    except ValueError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error) or "bad body")
    context.set_trailing_metadata(TIMING)
    described = field(1, b"answer") + field(2, b"BYTES") + field(3, b"\x01\x01")
    return field(1, b"model") + field(5, described) + field(6, len(answer).to_bytes(4, "little") + answer)


class Handler(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        known = {f"{SERVICE}ModelInfer": infer, f"{SERVICE}ModelReady": lambda *_: b"\x08\x01"}
        return grpc.unary_unary_rpc_method_handler(known[details.method]) if details.method in known else None


def main() -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 1 << 20)])
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port(f"{os.environ['HOST']}:{os.environ['PORT']}")
    server.start()
    over.wait()
    server.stop(2).wait()


if __name__ == "__main__":
    main()
