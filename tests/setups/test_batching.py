"""What the app server with pulling workers promises beyond the rest, over both transports."""

import signal
import time
from pathlib import Path

import pytest

from tests.setups.conftest import Deploy, Deployment, eventually

pytestmark = [pytest.mark.live, pytest.mark.parametrize("setup", ["zmq-batching", "redis-batching"])]


def alive(server: Deployment, count: int) -> bool:
    """Whether that many workers have proved themselves."""
    return server.metric("tailrace_workers_alive") == count


def test_an_answer_says_where_its_time_went(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1)
    reply, took_ms = server.timed({"x": 3, "ms": 50})
    parts = dict(part.split(";dur=") for part in reply.headers["server-timing"].split(", "))
    assert list(parts)[:3] == ["queue", "wait", "model"]
    assert 50 <= float(parts["model"]) < 150
    assert float(parts["queue"]) < 50
    assert float(parts["queue"]) + float(parts["model"]) <= took_ms
    assert float(parts["wait"]) == 0
    assert reply.headers["x-batch-size"] == "1"


def test_a_backlog_fills_batches_and_each_gets_its_own_answer(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1)
    first = server.later({"x": 0, "ms": 300})
    time.sleep(0.1)
    rest = [server.later({"x": i, "ms": 5}) for i in range(1, 25)]
    assert first.result().json() == {"y": 0}
    replies = [answer.result() for answer in rest]
    assert [reply.json()["y"] for reply in replies] == [i * i for i in range(1, 25)]
    assert max(int(reply.headers["x-batch-size"]) for reply in replies) > 1


def test_on_one_core_what_waits_finds_company_and_health_answers(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, cores=1, workers="cores")
    assert [len(server.processes(f"batching.{module}")) for module in ("worker", "front")] == [1, 1]
    first = server.later({"x": 0, "ms": 400})
    time.sleep(0.1)
    early = server.later({"x": 1})
    time.sleep(0.1)
    rest = [server.later({"x": i}) for i in range(2, 10)]
    assert server.ready()
    assert [answer.result().json()["y"] for answer in (first, early, *rest)] == [i * i for i in range(10)]
    assert int(early.result().headers["x-batch-size"]) > 1


def test_a_killed_worker_loses_no_request_and_is_replaced(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    answers = [server.later({"x": i, "ms": 20}) for i in range(200)]
    time.sleep(0.1)
    server.processes("batching.worker")[0].send_signal(signal.SIGKILL)
    replies = [answer.result() for answer in answers]
    assert [reply.status for reply in replies] == [200] * 200
    assert [reply.json()["y"] for reply in replies] == [i * i for i in range(200)]
    assert eventually(lambda: server.metric("tailrace_worker_deaths_total") == 1)
    assert eventually(lambda: alive(server, 2))


def test_a_request_on_which_workers_die_fails_alone_after_two(deploy: Deploy, setup: str, tmp_path: Path) -> None:
    server = deploy(setup, workers=2)
    busy = [server.later({"x": 0, "ms": 300}) for _ in range(2)]
    time.sleep(0.1)
    killer = server.later({"x": 1, "die": str(tmp_path / "diary")})
    neighbours = [server.later({"x": i}) for i in range(2, 12)]
    assert [answer.result().status for answer in (*busy, *neighbours)] == [200] * 12
    assert killer.result().status == 500
    assert len((tmp_path / "diary").read_text("utf-8").splitlines()) == 2
    assert eventually(lambda: alive(server, 2))


def test_a_request_is_tried_again_on_another_worker(deploy: Deploy, setup: str, tmp_path: Path) -> None:
    server = deploy(setup)
    assert server.predict({"x": 5, "die": str(tmp_path / "diary"), "deaths": 1}).json() == {"y": 25}
    assert eventually(lambda: server.metric("tailrace_retries_total") == 1, 1)


def test_a_hanging_worker_is_killed_and_replaced(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, hung_after_ms=500)
    hanging = server.later({"x": 1, "hang": True})
    assert hanging.result().status == 500
    assert eventually(lambda: alive(server, 2))
    assert server.metric("tailrace_workers_hung_total") == 2
    assert server.predict({"x": 4}).json() == {"y": 16}


def test_a_poisonous_item_fails_alone(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1)
    first = server.later({"x": 0, "ms": 300})
    time.sleep(0.1)
    rest = [server.later({"x": i, "fail": i == 3}) for i in range(1, 9)]
    bad = server.pool.submit(server.ask, "POST", "/predict", b"{}")
    assert first.result().status == 200
    assert [answer.result().status for answer in rest] == [500 if i == 3 else 200 for i in range(1, 9)]
    assert bad.result().status == 400
    assert "asked to fail" in rest[2].result().json()["error"]


def test_a_full_queue_refuses_with_a_time_to_come_back(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1, fronts=1, queue=4)
    answers = [server.later({"x": i, "ms": 200}) for i in range(12)]
    replies = [answer.result() for answer in answers]
    refused = [reply for reply in replies if reply.status == 503]
    assert len(refused) == 8
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert sum(reply.status == 200 for reply in replies) == 4


def test_work_past_its_deadline_never_reaches_the_model(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1)
    busy = server.later({"x": 0, "ms": 1500})
    time.sleep(0.1)
    start = time.monotonic()
    late = server.predict({"x": 1}, x_request_timeout_ms="100")
    assert late.status == 504
    assert time.monotonic() - start > 0.09
    assert not busy.done(), "it was told when its time was up, not when the model was free"
    assert busy.result().status == 200
    assert server.predict({"x": 1}, x_request_timeout_ms="-5").status == 504
    assert server.predict({"x": 1}, x_request_timeout_ms="soon").status == 400
    assert server.predict({"x": 1}, x_request_timeout_ms="5000").status == 200
    # The golden bodies measured at start are no traffic: three items ran.
    assert server.metric("tailrace_batch_size_sum") == 2


def test_draining_answers_the_queue_and_refuses_newcomers(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, workers=1)
    answers = [server.later({"x": i, "ms": 200}) for i in range(20)]
    assert eventually(lambda: server.metric("tailrace_unanswered")
                      + server.metric('tailrace_requests_total{code="200"}') >= 20)
    server.process.terminate()
    assert eventually(lambda: not server.ready(), 1)
    assert [answer.result().json()["y"] for answer in answers] == [i * i for i in range(20)]
    assert server.process.wait(12) == 0
    assert not server.processes()


def test_several_fronts_share_the_port_and_the_workers(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, fronts=3)
    answers = [server.later({"x": i}) for i in range(200)]
    assert [answer.result().json()["y"] for answer in answers] == [i * i for i in range(200)]
    assert len(server.processes("batching.front")) == 3
    assert server.metric('tailrace_requests_total{code="200"}') == 200


def test_a_killed_front_is_replaced_and_served(deploy: Deploy, setup: str) -> None:
    server = deploy(setup)
    front = server.processes("batching.front")[0]
    front.send_signal(signal.SIGKILL)
    front.wait(5)
    assert eventually(server.ready)
    assert [server.predict({"x": i}).json()["y"] for i in range(20)] == [i * i for i in range(20)]
