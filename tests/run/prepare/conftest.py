"""A small workload of the standard library only, so that preparing and judging are tested for real in a second."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.catalog.workload import Workload, read_workload

MODEL = '''
CONTENT_TYPE = "text/plain"
ANSWER_TYPE = "application/json"

def load(directory, threads, device="cpu"):
    return int((directory / "factor.txt").read_text())

def decode(body):
    return int(body)

def predict(model, batch):
    return [model * item for item in batch]

def encode(answer):
    return str(answer).encode()
'''
STREAM = '''
import json, random
import model as served

def payloads(seed, profile="default"):
    random_ = random.Random(f"{seed} {profile}")
    while True:
        number = random_.randrange(1000)
        yield str(number).encode(), number * 3

def judge(model, body, truth, answer):
    print("judging", body)
    return "" if json.loads(answer) == truth == served.predict(model, [served.decode(body)])[0] else f"not {truth}"

def same(answer, golden):
    return "" if json.loads(answer) == golden else f"{answer.decode()} instead of {golden}"
'''
PREPARE = '''
import pathlib, sys
print("writing the factor", flush=True)
pathlib.Path(sys.argv[1], "factor.txt").write_text("3")
'''
GOLDEN = json.dumps([{"body": str(number), "answer": 3 * number} for number in range(7)]
                    + [{"body_base64": "Nw==", "answer": 21}])


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' environments lie: one is enough for all of them."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def triple(tmp_path: Path, environments: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workload]:
    """Makes the workload `triple`, which multiplies by three; keywords replace its files, None leaves one out."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "envs").symlink_to(environments)
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path / "cache"))

    def make(**changed: str | None) -> Workload:
        folder = tmp_path / "triple"
        folder.mkdir(exist_ok=True)
        files = {"model.py": MODEL, "stream.py": STREAM, "prepare.py": PREPARE, "golden.json": GOLDEN,
                 "requirements.txt": "", "workload.toml": 'title = "Triple"\nidea = "Toy."\nmodality = "other"\n'}
        for name, text in {**files, **{key.replace("_", "."): text for key, text in changed.items()}}.items():
            if text is not None:
                (folder / name).write_text(text)
        return read_workload(folder)

    return make
