"""Built-in workloads, prepared for real in the usual cache, and a way to run code where their servers run it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog
from harness.run.environments import environment, environments, lacking_packages
from harness.run.prepare import prepare

CATALOG = Catalog(Path(__file__).parents[2])
HEAD = """
import base64, io, itertools, json, os, pathlib, struct, zlib
import numpy as np
import model, stream
loaded = model.load(pathlib.Path(os.environ["MODEL_DIR"]), 1)
def draw(count, seed=5, profile="default"):
    return list(itertools.islice(stream.payloads(seed, profile), count))
def alone(body):
    return model.encode(model.predict(loaded, [model.decode(body)])[0])
def refused(body):
    try:
        model.decode(body)
    except ValueError as error:
        return str(error)
def saved(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
def header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
"""


@pytest.fixture
def inside() -> Callable[[str, str], Any]:
    """Runs code, after HEAD, in a workload's own environment; what its variable `told` holds, as JSON, comes back."""

    def run(name: str, code: str) -> Any:
        workload = CATALOG.workload(name)
        variables = {**os.environ, "PYTHONPATH": ":".join(map(str, workload.imports)), "OMP_NUM_THREADS": "1",
                     "MODEL_DIR": str(prepare(workload, print).folder)}
        python = environment([workload.lock]).python
        done = subprocess.run([python, "-P", "-B", "-c", f"{HEAD}\n{code}\nprint(json.dumps(told))"], env=variables,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


BESIDE = """
import base64, itertools, json, os, pathlib, threading
from dataclasses import replace
import numpy as np
import model, stream
from accelerator.buckets import Buckets
from accelerator.engine import open_engine
from accelerator.ort import BoundEngine, CpuEngine
from accelerator.spec import precision
directory = pathlib.Path(os.environ["MODEL_DIR"])
file = directory / "model.onnx"
golden = json.loads((pathlib.Path(model.__file__).parent / "golden.json").read_text())
bodies = [each["body"].encode() if "body" in each else base64.b64decode(each["body_base64"]) for each in golden]
host = model.load_host(directory)
def drawn(count, seed):
    return [model.decode(body) for body, _ in itertools.islice(stream.payloads(seed), count)]
def wrong(loaded, which):
    answers = model.predict(loaded, [model.decode(bodies[index]) for index in which])
    return [stream.same(model.encode(answer), golden[index]["answer"])
            for index, answer in zip(which, answers, strict=True)]
def refused(make):
    try:
        make()
    except ValueError as error:
        return str(error)
def apart(one, other):
    return max(float(np.abs(one[name].astype(float) - other[name]).max()) for name in one)
"""


@pytest.fixture(scope="session")
def beside() -> Callable[[str, Path, str, dict[str, str]], Any]:
    """Runs code, after BESIDE, with a python beside a workload; what its variable `told` holds comes back."""

    def run(name: str, python: Path, code: str, more: dict[str, str]) -> Any:
        workload = CATALOG.workload(name)
        variables = {**os.environ, "PYTHONPATH": ":".join(map(str, workload.imports)), "OMP_NUM_THREADS": "2",
                     "MODEL_DIR": str(prepare(workload, print).folder), **more}
        done = subprocess.run([python, "-P", "-B", "-c", f"{BESIDE}\n{code}\nprint(json.dumps(told))"], env=variables,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def with_torch(beside: Callable[[str, Path, str, dict[str, str]], Any]) -> Callable[..., Any]:
    """`beside`, where PyTorch can be imported; variables come by name. Skips where it cannot be had."""
    setup = CATALOG.setup("torchserve")     # the one lock in the tree that holds PyTorch
    lacking = lacking_packages(setup.needs.packages)
    if lacking:
        pytest.skip(f"no package index or wheel folder has {lacking[0]}")

    def run(name: str, code: str, **variables: str) -> Any:
        [there] = environments(setup, CATALOG.workload(name))
        return beside(name, there.python, code, variables)

    return run
