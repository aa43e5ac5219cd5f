"""One process owns the device: what the app server with pulling workers promises then, tried without any device; and
what every setup that can serve on a GPU tells of it."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from harness.analyse.counters import mean_ms, requests_by_batch
from harness.catalog.discover import Catalog
from harness.plan.expand import resolve_knobs
from harness.run.agent import Agent
from harness.run.cores import split
from harness.run.environments import environment, lacking_packages
from harness.run.launch import Place, scratch_folder, server_command
from harness.run.points_answers import golden_together
from harness.run.prepare import prepare
from harness.run.process import Server
from harness.run.ready import answer_golden, await_ready
from harness.run.scrape import scrape
from harness.run.sockets import free_port
from harness.run.subject import Subject
from tests.setups.conftest import Deploy, Deployment, eventually

pytestmark = pytest.mark.live

ours = pytest.mark.parametrize("setup", ["zmq-batching", "redis-batching"])
CATALOG = Catalog(Path(__file__).parents[2])
PLAIN = Path(__file__).parent / "plain"
DEVICE = "torch-cpu"        # any that is not the CPU itself


def parts(headers: dict[str, str]) -> dict[str, float]:
    """Milliseconds told by Server-Timing."""
    return {name: float(ms) for name, ms in (each.split(";dur=") for each in headers["server-timing"].split(", "))}


def owner(server: Deployment) -> int:
    """The process that owns the device."""
    (process,) = server.processes("batching.owner")
    return process.pid


@ours
def test_workers_prepare_and_one_owner_computes(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, DEVICE, workers=2)
    reply, took_ms = server.timed({"x": 3, "ms": 50, "host_ms": 10})
    assert reply.json() == {"y": 9}
    told = parts(reply.headers)
    assert list(told) == ["queue", "wait", "model", "copy", "kernel"]
    assert told["kernel"] >= 50
    assert 20 + told["kernel"] <= told["model"] < took_ms
    assert len(server.processes("batching.owner")) == 1
    assert len(server.processes("batching.worker")) == 2


def test_what_several_workers_prepared_is_computed_at_once(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, workers=4, max_batch=4)
    first = server.later({"x": 0, "ms": 300})
    time.sleep(0.1)
    rest = [server.later({"x": i, "ms": 5}) for i in range(1, 33)]
    replies = [first.result(), *(answer.result() for answer in rest)]
    assert [reply.json()["y"] for reply in replies] == [i * i for i in range(33)]
    assert max(int(reply.headers["x-batch-size"]) for reply in replies) > 4


def test_an_owner_computes_no_more_than_it_may_at_once(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, workers=4, max_batch=4, device_batch=6)
    first = server.later({"x": 0, "ms": 200})
    time.sleep(0.05)
    rest = [server.later({"x": i, "ms": 5}) for i in range(1, 33)]
    replies = [answer.result() for answer in (first, *rest)]
    assert max(int(reply.headers["x-batch-size"]) for reply in replies) <= 6


@ours
def test_a_killed_owner_loses_no_request_and_is_replaced(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, DEVICE)
    answers = [server.later({"x": i, "ms": 20}) for i in range(200)]
    time.sleep(0.1)
    for process in server.processes("batching.owner"):
        process.send_signal(signal.SIGKILL)
    replies = [answer.result() for answer in answers]
    assert [reply.status for reply in replies] == [200] * 200
    assert [reply.json()["y"] for reply in replies] == [i * i for i in range(200)]
    assert eventually(lambda: server.metric("tailrace_worker_deaths_total") == 1)


def test_without_an_owner_it_is_not_ready(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE)
    (process,) = server.processes("batching.owner")
    process.send_signal(signal.SIGKILL)
    assert eventually(lambda: not server.ready(), 2)
    assert eventually(server.ready)
    assert server.predict({"x": 4}).json() == {"y": 16}


@ours
def test_an_item_on_which_owners_die_fails_alone_after_two(deploy: Deploy, setup: str, tmp_path: Path) -> None:
    server = deploy(setup, DEVICE, workers=3)
    busy = server.later({"x": 0, "ms": 300})
    time.sleep(0.1)
    killer = server.later({"x": 1, "die": str(tmp_path / "diary")})
    neighbours = [server.later({"x": i}) for i in range(2, 12)]
    assert [answer.result().status for answer in (busy, *neighbours)] == [200] * 11
    assert killer.result().status == 500
    assert len((tmp_path / "diary").read_text("utf-8").splitlines()) == 2


def test_a_hanging_owner_is_killed_and_the_rest_is_answered(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, hung_after_ms=500)
    hanging = server.later({"x": 1, "hang": True})
    time.sleep(0.1)
    neighbour = server.later({"x": 5})
    assert hanging.result().status == 500
    assert neighbour.result().json() == {"y": 25}
    assert server.metric("tailrace_workers_hung_total") == 2


def test_a_poisonous_item_fails_alone(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, workers=3)
    first = server.later({"x": 0, "ms": 300})
    time.sleep(0.1)
    rest = [server.later({"x": i, "fail": i == 3}) for i in range(1, 9)]
    assert first.result().status == 200
    assert [answer.result().status for answer in rest] == [500 if i == 3 else 200 for i in range(1, 9)]
    assert "asked to fail" in rest[2].result().json()["error"]


def test_a_device_that_broke_gets_a_new_owner(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE)
    before = owner(server)
    assert server.predict({"x": 1, "break": True}).status == 500
    assert eventually(lambda: server.predict({"x": 3}).status == 200, 20)
    assert eventually(lambda: len(server.processes("batching.owner")) == 1)
    assert owner(server) != before
    assert "not even a golden item" in (server.folder / "server.log").read_text("utf-8")


def test_two_owners_share_the_work_and_one_is_enough(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, owners=2, workers=4)
    answers = [server.later({"x": i, "ms": 20}) for i in range(100)]
    time.sleep(0.1)
    owners = server.processes("batching.owner")
    owners[0].send_signal(signal.SIGKILL)
    assert server.ready()
    assert [answer.result().json() for answer in answers] == [{"y": i * i} for i in range(100)]
    assert len(owners) == 2
    assert eventually(lambda: len(server.processes("batching.owner")) == 2)


def test_the_device_does_not_wait_while_workers_prepare_and_finish(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, workers=3, max_batch=1, device_batch=1)
    begun = server.metric("tailrace_device_seconds_total")
    start = time.monotonic()
    answers = [server.later({"x": i, "ms": 20, "host_ms": 5}) for i in range(60)]
    assert [answer.result().status for answer in answers] == [200] * 60
    busy = (server.metric("tailrace_device_seconds_total") - begun) / (time.monotonic() - start)
    # One after the other they would keep it busy for 20 of 30 ms.
    assert busy > 0.8


@ours
def test_stopping_answers_what_is_in_flight_and_leaves_nothing(deploy: Deploy, setup: str) -> None:
    server = deploy(setup, DEVICE)
    answers = [server.later({"x": i, "ms": 100}) for i in range(10)]
    assert eventually(lambda: server.metric("tailrace_unanswered")
                      + server.metric('tailrace_requests_total{code="200"}') >= 10)
    server.process.send_signal(signal.SIGTERM)
    assert [answer.result().json()["y"] for answer in answers] == [i * i for i in range(10)]
    assert server.process.wait(12) == 0
    assert not server.processes()


def test_a_model_without_halves_is_held_by_workers_and_computes_large_batches(deploy: Deploy) -> None:
    server = deploy("zmq-batching", DEVICE, PLAIN, workers=4, max_batch=4, device_batch=64)
    replies = [each.result() for each in [server.later({"x": i}) for i in range(200)]]
    assert [reply.json()["y"] for reply in replies] == [i * i for i in range(200)]
    assert list(parts(replies[0].headers)) == ["queue", "wait", "model"]
    assert (len(server.processes("batching.worker")), len(server.processes("batching.owner"))) == (1, 0)
    assert max(int(reply.headers["x-batch-size"]) for reply in replies) > 16


@pytest.mark.parametrize("setup", ["flask", "fastapi", "zmq-batching", "litserve", "ray-serve", "bentoml"])
def test_copying_and_computing_are_told_where_the_model_tells_them(start: Deploy, setup: str) -> None:
    told = parts(start(setup, "telling", workers=1).predict({"x": 3, "ms": 5}).headers)
    assert (told["copy"], told["kernel"]) == (0.25, 1.5)
    assert told["model"] >= 5


def test_triton_counts_copying_and_computing_of_all_its_instances(start: Deploy) -> None:
    """Its answers cannot tell them. A batch's times count once for each of its requests."""
    server = start("triton", "telling", workers=2, max_batch=4)
    ports = server.port, int(psutil.Process(server.process.pid).environ()["METRICS_PORT"])
    assert eventually(lambda: "tailrace_kernel_us" in scrape(ports, server.setup.statistics).metrics, 5)
    before = scrape(ports, server.setup.statistics)
    flying = [server.later({"x": number, "ms": 20}) for number in range(24)]
    assert [each.result().json()["y"] for each in flying] == [number ** 2 for number in range(24)]
    after = scrape(ports, server.setup.statistics)
    told = mean_ms(before, after)
    assert (told["copy"], told["kernel"]) == pytest.approx((0.25, 1.5))
    assert told["model"] >= 18
    assert max(requests_by_batch(before, after)) > 1


def test_triton_counts_no_device_on_a_cpu(start: Deploy) -> None:
    server = start("triton", workers=1)
    ports = server.port, int(psutil.Process(server.process.pid).environ()["METRICS_PORT"])
    assert server.predict({"x": 3}).json() == {"y": 9}
    assert eventually(lambda: "nv_inference_count" in scrape(ports, server.setup.statistics).metrics, 5)
    assert "tailrace_" not in scrape(ports, server.setup.statistics).metrics


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["embed", "vision"])
def test_a_real_model_answers_right_through_an_owner(name: str) -> None:
    setup, torch, workload = CATALOG.setup("zmq-batching"), CATALOG.setup("torchserve"), CATALOG.workload(name)
    if lacking := lacking_packages(torch.needs.packages):
        pytest.skip(f"no package index or wheel folder has {lacking[0]}")
    prepared = prepare(workload, print)
    python = environment([workload.lock, setup.lock, torch.lock]).python
    knobs = resolve_knobs(setup, {"workers": 2, "device_batch": 2, "deadline_ms": 60_000}, 2)
    with scratch_folder() as scratch, Agent(workload, prepared, environment([workload.lock])) as agent:
        place, port = Place((python,), prepared.folder, scratch, scratch / "log", split().server, DEVICE), free_port()
        with Server(server_command(setup, workload, knobs, place, port)) as server:
            await_ready(server, setup, port, place.log)
            answer_golden(setup, port, agent, 60.0)
            subject = Subject(setup, server, port, agent, scratch, agent.content_type(), agent.golden())
            golden_together(subject)
