"""What LitServe, Ray Serve, BentoML, Granian and balanced replicas do when something breaks."""

import os
import signal
import time

import pytest

from harness.run.scrape import scrape
from tests.setups.conftest import Deploy, Deployment, eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

LADDER = ("litserve", "ray-serve", "bentoml", "replicas", "granian")
BALANCERS = ("envoy", "nginx")
BATCHING = ("litserve", "ray-serve", "bentoml")
WORKERS = 2


@pytest.mark.parametrize("served", LADDER, indirect=True)
def test_where_the_time_went_is_told(served: Deployment) -> None:
    reply, took_ms = served.timed({"x": 3, "ms": 20})
    times = dict(part.strip().split(";dur=") for part in reply.headers["server-timing"].split(","))
    assert reply.json() == {"y": 9}
    assert 20 <= float(times["model"]) < took_ms


@pytest.mark.parametrize("served", BATCHING, indirect=True)
def test_a_bad_body_or_a_failing_batch_spoils_nothing_else(served: Deployment) -> None:
    busy = [served.later({"x": 0, "ms": 300}) for _ in range(2)]
    mixed = [served.later({"x": number if number % 3 else "bad"}) for number in range(30)]
    assert [future.result().status for future in busy] == [200, 200]
    for number, reply in enumerate(future.result() for future in mixed):
        assert reply.status == (200 if number % 3 else 400), reply
        assert not number % 3 or reply.json() == {"y": number ** 2}
    assert any(int(future.result().headers.get("x-batch-size", 0)) > 1 for future in mixed)
    assert served.predict({"x": 1, "fail": True}).status == 500
    assert served.predict({"x": 5}).json() == {"y": 25}


def test_ray_in_its_fast_mode_drains_and_leaves_nothing(start: Deploy) -> None:
    server = start("ray-serve", throughput_optimized="true")
    flying = [server.later({"x": number, "ms": 1200}) for number in range(4)]
    time.sleep(0.6)
    os.killpg(server.process.pid, signal.SIGTERM)
    assert [future.result().json()["y"] for future in flying] == [0, 1, 4, 9]
    assert server.process.wait(30) == 0
    assert eventually(lambda: not server.processes(), 2), server.processes()


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_killed_replica_is_avoided_and_replaced(start: Deploy, balancer: str) -> None:
    server = start("replicas", balancer=balancer)
    before = {replica.pid for replica in server.processes("uvicorn")}
    os.kill(min(before), signal.SIGKILL)
    time.sleep(0.05)
    assert {server.predict({"x": number}).status for number in range(50)} == {200}
    assert eventually(lambda: len({replica.pid for replica in server.processes("uvicorn")} - before) == 1)
    assert {server.predict({"x": number}).status for number in range(50)} == {200}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_the_balancer_refuses_what_is_too_much(start: Deploy, balancer: str) -> None:
    server = start("replicas", balancer=balancer, queue=4)
    flying = [server.later({"x": 1, "ms": 400}) for _ in range(16)]
    assert {future.result().status for future in flying} == {200, 503}


@pytest.mark.parametrize(("name", "knobs"), [*((name, {}) for name in LADDER), ("replicas", {"balancer": "nginx"})])
def test_a_killed_parent_leaves_nothing(start: Deploy, name: str, knobs: dict[str, str]) -> None:
    server = start(name, **knobs)
    assert len(server.processes()) > 2
    server.process.kill()
    assert eventually(lambda: not server.processes(), 25), server.processes()


@pytest.mark.parametrize(("name", "counter"), [
    ("replicas", 'envoy_cluster_upstream_rq_total{envoy_cluster_name="replicas"}'),
    ("ray-serve", "ray_serve_num_http_requests_total{")])
def test_what_an_engine_counts_can_be_recorded(start: Deploy, name: str, counter: str) -> None:
    server = start(name)
    assert server.predict({"x": 2}).status == 200
    assert eventually(lambda: counter in scrape((server.port, server.metrics_port), "").metrics, 30)
    assert len(scrape((server.port, server.metrics_port), "").metrics) < 200_000
