"""What every built-in setup owes its clients and its host, tried on the running server."""

import http.client
import os
import signal
import socket
import time

import pytest

from tests.setups.conftest import Deploy, eventually

pytestmark = pytest.mark.live

ALL = ("flask", "fastapi", "zmq-batching", "redis-batching")


@pytest.mark.parametrize("setup", ALL)
def test_it_answers_and_refuses_in_plain_words(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    good = server.predict({"x": 7})
    assert (good.status, good.json()) == (200, {"y": 49})
    assert good.headers["content-type"].startswith("application/json")
    assert "model;dur=" in good.headers["server-timing"]
    for body in (b"", b"{", b"[1, 2]", b'{"x": "seven"}', b"\xff\xfe"):
        bad = server.ask("POST", "/predict", body)
        assert bad.status == 400
        assert bad.json()["error"]
    assert server.ask("GET", "/nowhere").status == 404
    assert server.ask("GET", "/predict").status == 405
    large = server.ask("POST", "/predict", b'{"x": 1, "pad": "' + b"a" * (2 << 20) + b'"}')
    assert large.status == 200
    collected = server.predict({"x": 2, "collect": True})
    assert collected.json() == {"y": 4}
    times = dict(part.strip().split(";dur=") for part in collected.headers["server-timing"].split(","))
    assert 0 < float(times["gc"]) <= float(times["model"])


@pytest.mark.parametrize("setup", ALL)
def test_a_body_above_the_limit_is_refused(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(9 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("setup", ALL)
def test_stopping_under_load_loses_nothing_and_leaves_nothing(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    answers = [server.later({"x": i, "ms": 1200}) for i in range(2)]
    time.sleep(0.6)     # a host that stops for less lets both arrive; what was not accepted yet may be refused
    # As a run ends it: the whole group hears the signal, not the first process alone.
    os.killpg(server.process.pid, signal.SIGTERM)
    assert [answer.result().json()["y"] for answer in answers] == [0, 1]
    assert server.process.wait(12) == 0
    assert eventually(lambda: not server.processes(), 2)


@pytest.mark.parametrize("setup", ALL)
def test_a_killed_parent_leaves_nothing(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    assert len(server.processes()) > 2
    server.process.kill()
    assert eventually(lambda: not server.processes(), 5), server.processes()


@pytest.mark.parametrize("setup", ["zmq-batching", "redis-batching"])
def test_a_port_taken_is_said_at_once(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        probe.listen()
        # The second deployment is told the port of a listener that is there.
        command, told = server.process.args, psutil_environment(server.process.pid)
        told["PORT"] = str(probe.getsockname()[1])
        code = os.spawnvpe(os.P_WAIT, str(command[0]), [str(word) for word in command], told)  # type: ignore[index,union-attr]
    assert code == 1


def psutil_environment(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    import psutil  # noqa: PLC0415 used here alone

    return psutil.Process(pid).environ()
