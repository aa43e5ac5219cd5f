"""The open loop over gRPC against a real gRPC server: nothing is lost, order and times hold, ends are told apart."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import numpy as np
import pytest

from harness.analyse.frames import flown_ns
from harness.load.async_engine import AsyncEngine, Turn, now
from harness.load.grpc_client import GrpcClient
from harness.load.rows import ABORTED, ERRORS, OK, REFUSED, TIMEOUT, ClockOffset, Columns

CLOCKS = (ClockOffset(0, 0), ClockOffset(1, 0))
DUE_NS = np.arange(40, dtype=np.int64) * 5_000_000


class Handler(grpc.GenericRpcHandler):
    """One method for every name, that answers as `answer` does."""

    def __init__(self, answer: Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]) -> None:
        self.answer = answer

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)


def load(answer: Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]] | None, timeout_s: float = 2.0,
         stop_after_s: float | None = None) -> tuple[Columns, dict[int, bytes]]:
    """Columns and kept answers of 40 requests in 0.2 s; without `answer` nothing listens."""
    async def story() -> tuple[Columns, dict[int, bytes]]:
        server = grpc.aio.server()
        port = 1
        if answer is not None:
            server.add_generic_rpc_handlers((Handler(answer),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
        client = GrpcClient(f"127.0.0.1:{port}", "/a.B/C", {"Content-Type": "x", "X-Tag": "7"})
        engine = AsyncEngine(Turn(1, 2, round(timeout_s * 1e9), 3), client, lambda seq: b"%d" % seq, DUE_NS)
        if stop_after_s is not None:
            asyncio.get_running_loop().call_later(stop_after_s, engine.stop)
        if answer is not None:
            await client.connect(5)
        t0_ns = now() + 20_000_000
        await asyncio.wait_for(engine.run(t0_ns), 10)
        await client.close()
        await server.stop(0)
        columns = engine.columns(np.zeros(40, np.int8), t0_ns, CLOCKS)
        assert engine.in_flight_ns == flown_ns(columns), "counted as the rows add up to"
        return columns, engine.answers

    return asyncio.run(story())


async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    assert dict(context.invocation_metadata())["x-tag"] == "7"
    context.set_trailing_metadata((("server-timing", "queue;dur=1.5, model;dur=2"), ("x-batch-size", "4")))
    return b"<" + request + b">"


def test_every_row_gets_its_own_answer_and_what_the_server_tells() -> None:
    rows, answers = load(echo)
    assert rows["seq"].tolist() == list(range(1, 81, 2))
    assert set(rows["error"]) == {OK}
    assert set(rows["status"]) == {200}
    assert (set(rows["batch"]), set(rows["queue_us"]), set(rows["model_us"])) == ({4}, {1500}, {2000})
    assert answers == {seq: b"<%d>" % seq for seq in range(1, 81, 2) if seq % 3 == 0}
    assert np.all((rows["due_ns"] <= rows["sent_ns"]) & (rows["sent_ns"] < rows["done_ns"]))
    assert rows["bytes"].tolist() == [len(f"<{seq}>") for seq in range(1, 81, 2)]


def test_requests_go_out_while_a_server_stalls() -> None:
    async def stalls(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(0.5 if request == b"1" else 0)
        return request

    rows, _ = load(stalls)
    latency_ns = rows["done_ns"] - rows["due_ns"]
    assert latency_ns[0] >= 500_000_000
    assert rows["sent_ns"].max() < rows["done_ns"][0]  # an open loop: all 40 left before the first came back


@pytest.mark.parametrize(("code", "status"), [
    (grpc.StatusCode.INVALID_ARGUMENT, 400), (grpc.StatusCode.UNAVAILABLE, 503), (grpc.StatusCode.INTERNAL, 500)])
def test_a_refusal_is_a_status(code: grpc.StatusCode, status: int) -> None:
    async def refuses(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, "no")
        return b""

    rows, answers = load(refuses)
    assert (set(rows["status"]), set(rows["error"]), answers) == ({status}, {OK}, {})


def test_timeouts_losses_and_stops_are_told_apart() -> None:
    async def silent(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(60)
        return b""

    rows, _ = load(silent, timeout_s=0.1)
    assert {ERRORS[error] for error in rows["error"]} == {ERRORS[TIMEOUT]}
    assert np.all(rows["done_ns"] - rows["due_ns"] >= 100_000_000)
    assert set(load(None)[0]["error"]) == {REFUSED}
    rows, _ = load(silent, stop_after_s=0.1)
    assert set(rows["error"]) == {ABORTED}
    assert np.all(rows["sent_ns"][-5:] == -(1 << 62))
