"""A Ray cluster that somebody else started, here a second Ray on this machine: Serve on it, and the twin over it."""

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

ROOT = Path(__file__).parents[2]
CATALOG = find_catalog(ROOT)
START_S, STOP_S = 120, 10


SPREAD = """
import sys
import ray
from ray.util.multiprocessing import Pool
import harness
from harness.decide.twin import Service, Structure, Twin, at_rates, np

one = np.ones(1)
twins = [Twin(Structure(workers=k), Service(0.01 * np.arange(2), one, np.ones((2, 1)), np.zeros(1))) for k in (1, 2, 3)]
rates = [50.0, 100.0, 150.0]
ray.init(address=sys.argv[1], runtime_env={"py_modules": [harness]}, log_to_driver=False)
with Pool(1) as pool:
    there = at_rates(twins, rates, 2_000, over=pool.starmap)
here = at_rates(twins, rates, 2_000)
print(*(float(seen.latency_s.mean()) for seen in there))
assert all((a.latency_s == b.latency_s).all() for a, b in zip(there, here, strict=True))
"""


@dataclass(frozen=True)
class Cluster:
    """Where a Ray can be joined, and where its Serve answers."""

    address: str
    http_port: int


@contextlib.contextmanager
def a_ray(bin_: Path, told: dict[str, str]) -> Iterator[str]:
    """The address of a Ray of this environment, which ends with everything it started."""
    port = free_port()
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
            yield f"127.0.0.1:{port}"
        finally:
            everything = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for process in everything:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            head.wait(STOP_S)


def surroundings(bin_: Path, home: Path) -> dict[str, str]:
    """Environment variables of a Ray that has nothing of ours."""
    return {"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Ray with nothing of ours in its environment."""
    setup = CATALOG.setup("ray-serve")
    bin_ = environment([CATALOG.workload("fraud").lock, setup.lock], displaced=setup.displaces).python.parent
    told, http_port = surroundings(bin_, tmp_path), free_port()
    with a_ray(bin_, told) as address:
        command = [bin_ / "serve", "start", "--address", address, "--http-host", "127.0.0.1",
                   "--http-port", str(http_port)]
        tries: list[subprocess.CompletedProcess[str]] = []

        def serving() -> bool:
            """Whether its Serve runs; a head that answers for its health may still lack the node that it is on."""
            tries.append(subprocess.run(command, env=told, check=False, timeout=START_S, capture_output=True,
                                        text=True))
            return not tries[-1].returncode

        assert eventually(serving, START_S), tries[-1].stderr
        yield Cluster(address, http_port)


def test_replicas_on_a_cluster_answer_as_on_one_of_their_own(cluster: Cluster, start: Deploy) -> None:
    server = start("ray-serve", workers=1, ray_address=cluster.address, ray_http_port=cluster.http_port)
    assert server.predict({"x": 7}).json() == {"y": 49}
    assert server.predict({"x": "seven"}).status == 400
    assert server.predict({"x": 1}).headers["x-batch-size"] == "1"


def test_many_configurations_of_the_twin_are_answered_there_as_here(tmp_path: Path) -> None:
    bin_ = environment([ROOT / "requirements" / "harness.txt", CATALOG.setup("ray-serve").lock]).python.parent
    told = surroundings(bin_, tmp_path)
    with a_ray(bin_, told) as address:
        done = subprocess.run([bin_ / "python", "-c", SPREAD, address], env={**told, "PYTHONPATH": str(ROOT)},
                              check=False, timeout=200, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [float(each) > 0.01 for each in done.stdout.split()] == [True] * 3
