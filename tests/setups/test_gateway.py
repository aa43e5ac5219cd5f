"""The gateway's app against engines that stall, drop, lie and slow down: real sockets, one process."""

import asyncio
import base64
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.analyse.record_checks import _RETRIES, _SAMPLE
from harness.catalog.discover import find_catalog
from harness.protocols.table import CODECS
from harness.run.conformance import check

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / "setups/gateway"), str(ROOT / "setups"), str(Path(__file__).parent / "moody")]
OWN = ("app", "budget", "figures", "model", "replica", "settings", "tongues", "tracing", "upstream")
Answering = Callable[[int, str, bytes], Awaitable[bytes | None]]
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def gateway() -> Iterator[Callable[[str], ModuleType]]:
    """The gateway's modules by name, imported as the setup finds them and forgotten afterwards."""
    sys.path[:0] = PATHS
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in OWN}
    yield importlib.import_module
    for name in list(sys.modules):
        if name.split(".")[0] in OWN:
            del sys.modules[name]
    sys.modules.update(before)
    for path in PATHS:
        sys.path.remove(path)


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def ask(modules: Callable[[str], ModuleType], answering: Answering, requests: list[tuple[str, bytes, dict[str, str]]],
        **changed: Any) -> list[tuple[int, bytes, dict[bytes, bytes]]]:
    """The replies to requests (path, body, headers) sent at the same time to a gateway before an engine that answers
    its n-th request as `answering(n, head, body)` says; None closes the connection."""
    async def story() -> list[tuple[int, bytes, dict[bytes, bytes]]]:
        seen = 0

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    length = next((int(line[15:]) for line in head.split("\r\n")
                                   if line.lower().startswith("content-length:")), 0)
                    body = await reader.readexactly(length)
                    seen += 1
                    said = await answering(seen, head, body)
                    if said is None:
                        break
                    writer.write(said)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        app = new_app(modules, server.sockets[0].getsockname()[1], changed)
        replies = await asyncio.gather(*(one(app, *request) for request in requests))
        server.close()
        return list(replies)

    return asyncio.run(story())


def new_app(modules: Callable[[str], ModuleType], port: int, changed: dict[str, Any]) -> Any:
    tongues = modules("tongues").TONGUES
    front, back = tongues[changed.pop("front", "json")], tongues[changed.pop("back", "json")]
    told = {"host": "127.0.0.1", "front": front, "back": back, "predict": back.predict, "ready": back.ready, "queue": 8,
            "deadline_ms": 5000.0, "retry_share": 0.1, "hedge_ms": 0.0, "decode": False, **changed}
    return modules("app").App(modules("settings").Settings(**told), modules("upstream").Upstream("127.0.0.1", port))


async def one(app: Any, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[bytes, bytes]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"method": "POST" if body else "GET", "path": path,
             "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])


async def good(_number: int, _head: str, body: bytes) -> bytes:
    return http(200, b'{"y": %d}' % json.loads(body)["x"] ** 2, "Server-Timing: model;dur=3.5", "x-batch-size: 4")


PREDICT = ("/predict", b'{"x": 3}', {})


def test_an_answer_keeps_what_the_engine_tells(gateway: Callable[[str], ModuleType]) -> None:
    [(status, body, headers)] = ask(gateway, good, [PREDICT])
    assert (status, body) == (200, b'{"y": 9}')
    assert (headers[b"server-timing"], headers[b"x-batch-size"]) == (b"model;dur=3.5", b"4")


def test_a_trace_goes_on_with_a_span_of_its_own(gateway: Callable[[str], ModuleType]) -> None:
    heads: list[str] = []

    async def note(number: int, head: str, body: bytes) -> bytes:
        heads.append(head)
        return await good(number, head, body)

    sent = {"traceparent": TRACE.decode(), "tracestate": "a=1"}
    ask(gateway, note, [("/predict", b'{"x": 3}', sent)])
    ask(gateway, note, [("/predict", b'{"x": 3}', {"traceparent": "nonsense", "tracestate": "a=1"})])
    told = [next(line[13:] for line in head.split("\r\n") if line.startswith("traceparent")) for head in heads]
    assert told[0].split("-")[1] == TRACE.decode().split("-")[1]
    assert told[0].split("-")[2] != TRACE.decode().split("-")[2]
    assert told[0].endswith("-01")
    assert "tracestate: a=1" in heads[0]
    assert len(told[1]) == len(told[0])
    assert "nonsense" not in heads[1]


def test_a_deadline_ends_the_wait_and_is_told_to_the_engine(gateway: Callable[[str], ModuleType]) -> None:
    heads: list[str] = []

    async def slow(_number: int, head: str, _body: bytes) -> bytes:
        heads.append(head)
        await asyncio.sleep(3)
        return http(200, b"{}")

    begun = time.monotonic()
    [(status, body, _)] = ask(gateway, slow, [("/predict", b'{"x": 3}', {"x-request-timeout-ms": "200"})])
    assert (status, time.monotonic() - begun < 2) == (504, True)
    assert b"deadline" in body
    [left] = [float(line[22:]) for line in heads[0].split("\r\n") if line.startswith("x-request-timeout-ms:")]
    assert 100 < left <= 200
    for told in ("soon", "nan", "1e9"):
        assert ask(gateway, slow, [("/predict", b"{}", {"x-request-timeout-ms": told})])[0][0] == 400


def test_what_does_not_fit_is_refused_at_once(gateway: Callable[[str], ModuleType]) -> None:
    async def slow(number: int, head: str, body: bytes) -> bytes:
        await asyncio.sleep(0.2)
        return await good(number, head, body)

    replies = ask(gateway, slow, [PREDICT] * 20, queue=8)
    assert sorted(status for status, _, _ in replies) == [200] * 8 + [503] * 12
    assert all(headers[b"retry-after"] == b"1" for status, _, headers in replies if status == 503)


def test_lost_connections_are_retried_within_the_budget(gateway: Callable[[str], ModuleType]) -> None:
    async def first_lost(number: int, head: str, body: bytes) -> bytes | None:
        return None if number == 1 else await good(number, head, body)

    async def lost(_number: int, _head: str, _body: bytes) -> None:
        nonlocal tries
        tries += 1

    assert ask(gateway, first_lost, [PREDICT])[0][0] == 200
    assert ask(gateway, first_lost, [PREDICT], retry_share=0.0)[0][0] == 502
    tries = 0
    replies = ask(gateway, lost, [PREDICT] * 40, queue=100)
    assert {status for status, _, _ in replies} == {502}
    assert 40 < tries <= 40 + 10 + 40 * 0.1  # Finagle's law: the reserve, and a tenth of the requests


def test_retries_are_counted_where_the_check_of_a_run_looks_for_them(gateway: Callable[[str], ModuleType]) -> None:
    figures = gateway("figures").Figures()
    figures.retried.inc()
    figures.hedged.inc(5)
    told = {name: float(value) for name, value in _SAMPLE.findall(figures.text().decode())}
    assert {name: value for name, value in told.items() if _RETRIES.search(name)} == {"gateway_retries_total": 1.0}
    assert told["gateway_hedges_total"] == 5
    assert not _RETRIES.search("some_retries_created")


def test_a_hedge_outruns_a_stall_and_is_off_by_default(gateway: Callable[[str], ModuleType]) -> None:
    async def first_stalls(number: int, head: str, body: bytes) -> bytes:
        await asyncio.sleep(1.0 if number == 1 else 0.0)
        return await good(number, head, body)

    begun = time.monotonic()
    [(status, _, _)] = ask(gateway, first_stalls, [PREDICT], hedge_ms=50.0)
    assert (status, time.monotonic() - begun < 0.8) == (200, True)
    begun = time.monotonic()
    assert ask(gateway, first_stalls, [PREDICT])[0][0] == 200
    assert time.monotonic() - begun >= 1


def test_an_answer_whose_length_nobody_told_ends_with_the_connection(gateway: Callable[[str], ModuleType]) -> None:
    async def story() -> tuple[int, bytes]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf ")
            await writer.drain()
            writer.write(b"and half")
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with asyncio.timeout(5):
            upstream = gateway("upstream").Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
            answer = await upstream.get("/")
        server.close()
        return answer.status, answer.body

    assert asyncio.run(story()) == (200, b"half and half")


def test_a_body_that_breaks_off_is_no_body(gateway: Callable[[str], ModuleType]) -> None:
    messages = iter([{"type": "http.request", "body": b'{"x": 1', "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    with pytest.raises(gateway("app").RefusedError, match="within the body"):
        asyncio.run(gateway("app").whole_body({}, receive))


@pytest.mark.parametrize("said", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_an_engine_that_speaks_no_http_is_a_bad_gateway(gateway: Callable[[str], ModuleType], said: bytes) -> None:
    async def nonsense(_number: int, _head: str, _body: bytes) -> bytes:
        return said

    assert ask(gateway, nonsense, [PREDICT])[0][0] == 502


def test_health_metrics_and_unknown_routes(gateway: Callable[[str], ModuleType]) -> None:
    async def unready(_number: int, head: str, _body: bytes) -> bytes:
        return http(503 if "GET" in head else 200, b"{}")

    replies = ask(gateway, unready, [("/healthz", b"", {}), ("/nowhere", b"", {}), ("/predict", b"", {}), PREDICT])
    assert [status for status, _, _ in replies] == [503, 404, 405, 200]
    [(status, text, _)] = ask(gateway, unready, [("/metrics", b"", {})])
    assert (status, b"gateway_in_flight 0.0" in text) == (200, True)


@pytest.mark.parametrize("front", ["tfserving", "vertex", "oip-http", "oip-http-binary", "torchserve", "sagemaker"])
@pytest.mark.parametrize("back", ["json", "oip-http-binary", "tfserving"])
def test_protocols_are_translated_as_the_harness_speaks_them(gateway: Callable[[str], ModuleType], front: str,
                                                             back: str) -> None:
    tongue = gateway("tongues").TONGUES[back]
    body = b"\x89PNG\x00\xff"

    async def reverse(_number: int, _head: str, request: bytes) -> bytes:
        answer, headers = tongue.answered(tongue.item(request)[::-1])
        return http(200, answer, *(f"{name.decode()}: {value.decode()}" for name, value in headers))

    codec = CODECS[front]
    [(status, answer, headers), (bad, why, _)] = ask(
        gateway, reverse, [(codec.path("model"), codec.wrap(body, "image/png"), {}),
                           (codec.path("model"), b'{"\x00', {})], front=front, back=back)
    assert status == 200
    assert codec.unwrap(answer, {name.decode(): value.decode() for name, value in headers.items()}) == body[::-1]
    if front not in ("torchserve", "sagemaker"):
        assert (bad, bool(json.loads(why)["error"])) == (400, True)


def test_items_are_decoded_where_asked(gateway: Callable[[str], ModuleType]) -> None:
    bad = ("/predict", b'{"x": "seven"}', {})
    assert ask(gateway, good, [bad, PREDICT], decode=True)[0][0] == 400
    wrapped = json.dumps({"instances": [{"b64": base64.b64encode(b"[]").decode()}]}).encode()
    assert ask(gateway, good, [("/predict", wrapped, {})], decode=True, front="vertex")[0][0] == 400


@pytest.mark.live
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["triton", "mlserver"])
def test_it_keeps_every_point_of_the_contract_before_other_engines(engine: str) -> None:
    catalog = find_catalog(ROOT)
    found = check(catalog.setup("gateway"), catalog.workload("fraud"), knobs={"engine": engine})
    if found.points[0].code == "needs":
        pytest.skip(found.points[0].message)
    assert {point.code: point.message for point in found.points if point.verdict == "failed"} == {}
    assert found.points[-1].code == "overload"
