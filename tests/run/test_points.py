"""The points of conformance that need no server: bad bodies, full queues, what is left, what is counted."""

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from harness.catalog.discover import Catalog, find_catalog
from harness.errors import RunFailedError
from harness.run.conformance import room_for_batches
from harness.run.exchange import Reply
from harness.run.points_answers import BATCHES, golden_batch
from harness.run.points_load import AT_ONCE, Held, full_queue, nothing_left
from harness.run.points_refusals import KINDS, bad_body
from harness.run.process import Stopped
from harness.run.sockets import free_port
from harness.run.subject import Subject
from harness.run.upkeep import code_lines, engine_versions, processes
from harness.run.wire import Wire

TOYS = Path(__file__).parents[1] / "toys"
ROOT = Path(__file__).parents[2]


class Asked:
    """A subject whose replies are known."""

    def __init__(self, statuses: list[int], message: bytes = b"full") -> None:
        self.golden = [(b"{}", {})]
        self.statuses = statuses
        self.message = message

    def at_once(self, bodies: list[bytes]) -> list[Reply]:
        return [Reply(status, {"retry-after": "1"}, self.message)
                for status in (self.statuses * len(bodies))[:len(bodies)]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workload", ["fraud", "embed"])
def test_a_bad_body_is_bad_and_not_the_good_one(kind: str, workload: str) -> None:
    good = json.loads((ROOT / "workloads" / workload / "golden.json").read_text("utf-8"))[0]["body"].encode()
    bad = bad_body(kind, good, "application/json; charset=utf-8")
    assert bad != good
    if kind in ("wrong type", "wrong shape"):
        assert json.loads(bad) != json.loads(good)
    else:
        with pytest.raises(ValueError, match=r"Expecting|property name"):
            json.loads(bad)


def test_a_wrong_type_keeps_the_names_and_other_formats_are_cut() -> None:
    assert json.loads(bad_body("wrong type", b'{"a": 1, "b": 2}', "application/json")) == {
        "a": [["not", "an", "item"]], "b": 2}
    assert json.loads(bad_body("wrong shape", b'{"a": 1}', "application/json")) == [[{"a": 1}]]
    assert bad_body("wrong shape", b"12345678", "image/png") == b"1234"


@pytest.mark.parametrize(("statuses", "message", "said"), [
    ([200, 503], b"", "503 without a message"),
    ([200], b"", "all waited"),
    ([200, 500], b"x", "got 500 instead of 503"),
])
def test_a_queue_that_stalls_or_breaks_is_told(statuses: list[int], message: bytes, said: str) -> None:
    with pytest.raises(RunFailedError, match=said):
        full_queue(Asked(statuses, message), bounded=False)  # type: ignore[arg-type]


def test_a_queue_that_refuses_is_praised() -> None:
    said = full_queue(Asked([200, 503]), bounded=True)  # type: ignore[arg-type]
    assert said.startswith(f"{AT_ONCE // 2} of {AT_ONCE} requests at once got 503, with Retry-After")


class Batching:
    """A subject that answers its golden requests rightly, and tells the batch of each where it batches."""

    def __init__(self, batch: int) -> None:
        self.golden = [(b"%d" % number, {}) for number in range(8)]
        self.headers = {"x-batch-size": str(batch)} if batch else {}
        self.agent = self

    def at_once(self, bodies: list[bytes]) -> list[Reply]:
        return [Reply(200, self.headers, body) for body in bodies]

    def same(self, answers: list[tuple[int, bytes]]) -> list[str]:
        return ["" if body == b"%d" % number else "another's" for number, body in answers]


@pytest.mark.parametrize(("batch", "said"), [(17, "in batches of up to 17"), (0, "no batch sizes told")])
def test_golden_answers_in_batches_tell_how_large_these_were(batch: int, said: str) -> None:
    told = golden_batch(max(BATCHES))(Batching(batch))  # type: ignore[arg-type]
    assert told == f"golden requests, 32 at once, answered rightly, {said}"


def test_a_batch_as_large_as_what_is_sent_at_once_may_form() -> None:
    """`max_batch` is 8 in foreign engines (64 on a GPU), 32 in ours, and flask has none."""
    setups = {name: find_catalog(ROOT).setup(name) for name in ("triton", "torchserve", "zmq-batching", "flask")}
    assert {name: room_for_batches(setup, {}, "cpu") for name, setup in setups.items()} == {
        "triton": {"max_batch": 32}, "torchserve": {"max_batch": 32}, "zmq-batching": {}, "flask": {}}
    assert room_for_batches(setups["triton"], {"max_batch": 4}, "cpu") == {}  # the user's word counts
    assert room_for_batches(setups["triton"], {}, "gpu") == {}


def test_what_is_left_is_named(tmp_path: Path) -> None:
    assert nothing_left(tmp_path, Stopped(0), Held((free_port(),), ("no-such-name",)))
    (tmp_path / "serve-1").mkdir()
    (tmp_path / "serve-1" / "socket").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunFailedError) as caught:
            nothing_left(tmp_path, Stopped(0, left=("ray (12)",)), Held((taken.getsockname()[1],), ()))
    assert "process ray (12), folder serve-1, file serve-1/socket, port" in caught.value.message


def test_requests_at_once_are_all_written_before_one_is_answered_and_each_answered_one_is_left_at_once() -> None:
    """As gunicorn does, this server serves nobody else until a client that has its answer has gone."""
    heard: list[bytes] = []
    after: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            clients = [listener.accept()[0] for _ in range(3)]
            heard.extend(client.recv(4096) for client in clients)  # none is answered before all were heard
            for number, client in enumerate(clients):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
                client.settimeout(10)
                after.append(client.recv(1))
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        setup = Catalog(TOYS).setup("calm")
        subject = Subject(setup, None, listener.getsockname()[1], None, TOYS, "text/plain", [])  # type: ignore[arg-type]
        replies = subject.at_once([b"a", b"bb", b"ccc"])
        thread.join()
    assert [reply.body for reply in replies] == [b"0", b"1", b"2"]
    assert after == [b"", b"", b""]
    assert heard[2].startswith(b"POST /predict HTTP/1.1\r\n")
    assert heard[2].endswith(b"Content-Length: 3\r\n\r\nccc")


def test_lines_of_code_count_what_a_person_wrote(tmp_path: Path) -> None:
    setup = Catalog(TOYS).setup("calm")
    mine = tmp_path / "mine"
    (mine / "deeper").mkdir(parents=True)
    (mine / "server.py").write_text("# a comment\n\nimport os\n    x = 1\n")
    (mine / "deeper" / "config.pbtxt").write_text("a\nb\n")
    (mine / "requirements.txt").write_text("x==1\n" * 50)
    assert code_lines(setup.model_copy(update={"folder": mine, "shares": ()})) == 4
    assert code_lines(find_catalog(ROOT).setup("zmq-batching")) > 500  # what it shares is part of it


def test_processes_are_told_by_what_they_run(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text("print(1, flush=True)\ninput()")
    commands = [[sys.executable, str(script)], [sys.executable, "-u", str(script)], ["cat"], ["cat"]]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for command in commands]
    try:
        for each in started:
            each.stdin.write(b"1\n" * each.args[0].count("cat"))  # a process has no arguments before it runs
            each.stdin.flush()
            assert each.stdout.readline() == b"1\n"
        assert processes([each.pid for each in started]) == {"cat": 2, "worker.py": 2}
    finally:
        for each in started:
            each.kill()
            each.wait()
    assert processes([1 << 22]) == {}
    assert sum(processes([os.getpid()]).values()) == 1


def test_versions_are_of_what_the_setup_names_itself() -> None:
    setup = find_catalog(ROOT).setup("flask")
    packages = {"Flask": "3.1.3", "gunicorn": "27.0.1", "Werkzeug": "9.9"}
    assert engine_versions(setup, packages) == {"flask": "3.1.3", "gunicorn": "27.0.1"}
    told = engine_versions(setup.model_copy(update={"needs": setup.needs.model_copy(update={
        "programs": ("uname", "no-such-program")})}), {})
    assert list(told) == ["uname"]
    container = find_catalog(ROOT).setup("triton-container")
    assert engine_versions(container, {}) == {"nvcr.io/nvidia/tritonserver": "24.10-py3"}


@pytest.mark.parametrize(("status", "body", "protocol", "told"), [
    (200, b'{"name": "triton", "version": "2.51.0", "extensions": []}', "oip-http-binary", {"triton": "2.51.0"}),
    (200, b'{"name": "triton"}', "oip-http", {}),
    (200, b"ready", "oip-http", {}),
    (404, b'{"name": "an error", "version": "2"}', "oip-http", {}),
    (200, b'{"name": "triton", "version": "2.51.0"}', "json", {}),
])
def test_a_server_says_its_version_where_its_protocol_can_ask(status: int, body: bytes, protocol: str,
                                                              told: dict[str, str]) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        setup = Catalog(TOYS).setup("calm").model_copy(update={"protocol": protocol})
        assert Wire(setup, server.server_address[1]).server_version(10) == told
        server.shutdown()
    assert asked == ([] if protocol == "json" else ["/v2"])
