"""Built-in workloads, prepared for real in the usual cache, and a way to run code where their servers run it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog
from harness.run.environments import environment
from harness.run.prepare import prepare

CATALOG = Catalog(Path(__file__).parents[2])
HEAD = """
import base64, itertools, json, os, pathlib
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
