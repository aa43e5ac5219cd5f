"""Ray Serve on a cluster that somebody else started, here a second Ray on this machine."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.catalog.discover import find_catalog
from harness.run.environments import environment
from harness.run.sockets import free_port
from tests.setups.conftest import Deploy, eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

CATALOG = find_catalog(Path(__file__).parents[2])
START_S, STOP_S = 120, 10


@dataclass(frozen=True)
class Cluster:
    """Where a Ray can be joined, and where its Serve answers."""

    address: str
    http_port: int


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Ray with nothing of ours in its environment."""
    setup = CATALOG.setup("ray-serve")
    bin_ = environment([CATALOG.workload("fraud").lock, setup.lock], displaced=setup.displaces).python.parent
    port, http_port = free_port(), free_port()
    told = {"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [bin_ / "ray", "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1",
             f"--temp-dir={folder}", "--include-dashboard=false", "--num-cpus=3", "--object-store-memory=80000000",
             f"--ray-client-server-port={free_port()}"],
            env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            assert eventually(lambda: not subprocess.run(
                [bin_ / "ray", "health-check", "--address", f"127.0.0.1:{port}"], env=told, check=False,
                timeout=START_S, capture_output=True).returncode, START_S)
            subprocess.run([bin_ / "serve", "start", "--address", f"127.0.0.1:{port}", "--http-host", "127.0.0.1",
                            "--http-port", str(http_port)], env=told, check=True, timeout=START_S, capture_output=True)
            yield Cluster(f"127.0.0.1:{port}", http_port)
        finally:
            everything = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for process in everything:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            head.wait(STOP_S)


def test_replicas_on_a_cluster_answer_as_on_one_of_their_own(cluster: Cluster, start: Deploy) -> None:
    server = start("ray-serve", workers=1, ray_address=cluster.address, ray_http_port=cluster.http_port)
    assert server.predict({"x": 7}).json() == {"y": 49}
    assert server.predict({"x": "seven"}).status == 400
    assert server.predict({"x": 1}).headers["x-batch-size"] == "1"
