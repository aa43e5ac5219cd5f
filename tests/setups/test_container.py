"""What setups/triton-container hands to Docker and to Triton, as far as it can be checked without either."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tritonclient import http

from harness.run import docker
from harness.run.machine import lacking

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "setups"), str(ROOT / "setups" / "triton-container")]

import container  # noqa: E402  the paths above make these importable
from repository import Tensor, config  # noqa: E402
from session import outputs, request  # noqa: E402

FEEDS = {"input_ids": np.arange(6).reshape(2, 3), "mask": np.ones((2, 3), np.float32)}


def test_a_request_is_that_of_tritons_own_client() -> None:
    inputs = []
    for (name, array), kind in zip(FEEDS.items(), ("INT64", "FP32"), strict=True):
        inputs.append(http.InferInput(name, list(array.shape), kind))
        inputs[-1].set_data_from_numpy(array, binary_data=True)
    wanted = [http.InferRequestedOutput("embedding", binary_data=True)]
    theirs, length = http.InferenceServerClient.generate_request_body(inputs, outputs=wanted)
    ours, ours_length = request(["embedding"], FEEDS)
    assert json.loads(ours[:ours_length]) == json.loads(theirs[:length])
    assert ours[ours_length:] == theirs[length:]


def test_an_answer_is_read_as_tritons_own_client_reads_it() -> None:
    arrays = {"a": np.arange(4, dtype=np.float32).reshape(2, 2), "b": np.array([[7], [8]], np.int64)}
    head = json.dumps({"outputs": [
        {"name": name, "datatype": kind, "shape": list(array.shape), "parameters": {"binary_data_size": array.nbytes}}
        for (name, array), kind in zip(arrays.items(), ("FP32", "INT64"), strict=True)]}).encode()
    body = head + b"".join(array.tobytes() for array in arrays.values())
    theirs = http.InferenceServerClient.parse_response_body(body, header_length=len(head))
    for name, array in outputs(body, len(head)).items():
        np.testing.assert_array_equal(array, theirs.as_numpy(name))
        np.testing.assert_array_equal(array, arrays[name])


def test_triton_is_told_the_shapes_and_no_output_without_a_batch() -> None:
    told = {"KNOB_MAX_BATCH": "8", "KNOB_INSTANCES": "3", "THREADS": "1", "KNOB_MAX_DELAY_MS": "1.5"}
    text = config([Tensor("features", "tensor(float)", [None, 16])],
                  [Tensor("label", "tensor(int64)", [1]), Tensor("probabilities", "tensor(float)", [None, "k"])], told)
    assert 'input [{ name: "features", data_type: TYPE_FP32, dims: [ 16 ] }]' in text
    assert 'output [{ name: "probabilities", data_type: TYPE_FP32, dims: [ -1 ] }]' in text
    assert "max_queue_delay_microseconds: 1500" in text


def test_compose_merges_what_a_run_adds(tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    container.write_override(tmp_path, Path("/cache/model"))
    base = yaml.safe_load(container.COMPOSE.read_text("utf-8"))
    del base["name"]  # newer than this docker-compose
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    told = container.environment(tmp_path, {"HTTP": 41001, "GRPC": 41002, "METRICS": 41003})
    done = subprocess.run([program, "-f", "base.yaml", "-f", "override.json", "config"], cwd=tmp_path, env=told,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    triton = yaml.safe_load(done.stdout)["services"]["triton"]
    assert set(triton["volumes"]) == {f"{tmp_path}/models:/models:ro", "/cache/model:/models/model/1:ro"}
    assert triton["ports"] == ["127.0.0.1:41001:8000/tcp", "127.0.0.1:41002:8001/tcp", "127.0.0.1:41003:8002/tcp"]
    assert triton["cpuset"] == told["SERVER_CPUS"]


@pytest.mark.parametrize(("script", "said"), [
    ("exit 0", ""),
    ("echo no daemon. >&2; exit 1", "the daemon does not answer: no daemon"),
    ('[ "$1" = version ] || { echo unknown command >&2; exit 1; }', "it has no `docker compose`: unknown command")])
def test_a_client_alone_is_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert docker.why_none() == "no client is installed"
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    assert docker.why_none() == said
    assert lacking({"docker": True}, tmp_path) == (f"this machine lacks docker ({said})" if said else "")
