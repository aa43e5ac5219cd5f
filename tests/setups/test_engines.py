"""What Triton, TorchServe and MLServer do when something breaks, and what they need."""

import json
import os
import shutil
from pathlib import Path

import psutil
import pytest

from harness.analyse.counters import mean_ms, requests_by_batch
from harness.catalog.discover import find_catalog
from harness.protocols import oip
from harness.run.machine import lacking
from harness.run.scrape import scrape
from tests.setups.conftest import Deploy, Deployment, eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

CATALOG = find_catalog(Path(__file__).parents[2])
ENGINES = ("triton", "torchserve", "mlserver")
WORKERS = 1     # what comes together meets in one batch


@pytest.mark.parametrize("served", ENGINES, indirect=True)
def test_a_bad_body_or_a_failing_batch_spoils_nothing_else(served: Deployment) -> None:
    busy = served.later({"x": 0, "ms": 300})
    mixed = [served.later({"x": number if number % 3 else "bad"}) for number in range(30)]
    assert busy.result().status == 200
    for number, reply in enumerate(future.result() for future in mixed):
        assert reply.status == (200 if number % 3 else 400), reply
        assert reply.json() == {"y": number ** 2} if number % 3 else b"must be an object with a number" in reply.body
    assert served.predict({"x": 1, "fail": True}).status in (500, 503)
    assert served.predict({"x": 5}).json() == {"y": 25}


@pytest.mark.parametrize("served", ["torchserve", "mlserver"], indirect=True)
def test_where_the_time_went_is_told(served: Deployment) -> None:
    reply, took_ms = served.timed({"x": 3, "ms": 20})
    times = dict(part.strip().split(";dur=") for part in reply.headers["server-timing"].split(","))
    assert reply.json() == {"y": 9}
    assert 20 <= float(times["model"]) < took_ms
    assert reply.headers["x-batch-size"] == "1"


def test_triton_batches_over_all_clients_and_serves_a_new_version_beside_the_old(start: Deploy) -> None:
    server = start("triton", workers=1, protocol="oip-http")
    ports = server.port, int(psutil.Process(server.process.pid).environ()["METRICS_PORT"])
    # Triton listens for metrics a moment after it says that it is ready.
    assert eventually(lambda: scrape(ports, server.setup.statistics).metrics, 5)
    before = scrape(ports, server.setup.statistics)
    flying = [server.later({"x": number, "ms": 50}) for number in range(32)]
    assert [future.result().json()["y"] for future in flying] == [number ** 2 for number in range(32)]
    after = scrape(ports, server.setup.statistics)
    batches, times = requests_by_batch(before, after), mean_ms(before, after)
    assert (max(batches), sum(batches.values())) == (8, 32)
    assert times["model"] >= 50
    assert times["queue"] > 0
    config, = server.folder.glob("triton-*/models/model/config.pbtxt")
    config.write_text(config.read_text("utf-8") + "version_policy { all {} }\n", "utf-8")
    shutil.copytree(config.parent / "1", config.parent / "2")
    assert server.ask("POST", "/v2/repository/models/model/load", b"").status == 200
    for version in (1, 2):
        body = oip.wrap(json.dumps({"x": 4}).encode(), "application/json")
        reply = server.ask("POST", f"/v2/models/model/versions/{version}/infer", body)
        assert json.loads(oip.unwrap(reply.body, {})) == {"y": 16}


@pytest.mark.parametrize("name", ENGINES)
def test_a_killed_parent_leaves_nothing(start: Deploy, name: str) -> None:
    server = start(name)
    assert len(server.processes()) > 2
    server.process.kill()
    assert eventually(lambda: not server.processes(), 25), server.processes()


def test_a_machine_without_the_cpu_build_of_torch_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PATH", os.defpath)
    setup = CATALOG.setup("torchserve")
    said = lacking({"packages": setup.needs.packages}, tmp_path)
    assert said == ("this machine lacks the package torch==2.13.0+cpu (no index or wheel folder that uv is told of has "
                    "it)")
