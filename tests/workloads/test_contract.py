"""What every built-in workload promises (docs/design.md, contract of a workload)."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog
from harness.run.agent import Agent
from harness.run.environments import environment
from harness.run.prepare import Prepared, prepare

CATALOG = Catalog(Path(__file__).parents[2])
NAMES = CATALOG.workload_names()
Inside = Callable[[str, str], Any]


def test_there_is_one_of_each_kind() -> None:
    assert {CATALOG.workload(name).modality for name in ("fraud", "embed", "ocr")} == {"tabular", "text", "vision"}


@pytest.mark.parametrize("name", NAMES)
def test_locks_are_exact_hashed_and_name_no_host(name: str) -> None:
    workload = CATALOG.workload(name)
    for lock in filter(None, (workload.lock, workload.prepare_lock)):
        text = lock.read_text()
        packages = re.findall(r"^\S.*?(?= \\$)", text, re.MULTILINE)
        assert packages
        assert all("==" in package for package in packages)
        assert text.count("--hash=sha256:") >= len(packages)
        assert "://" not in text


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_prepared_proved_and_golden_answers_told_apart(name: str) -> None:
    workload = CATALOG.workload(name)
    prepared = prepare(workload, print, verify=True)
    with Agent(workload, prepared, environment([workload.lock])) as agent:
        golden = agent.golden()
        assert len(golden) >= 8
        assert agent.prove() == [""] * len(golden)
        assert all(agent.same([(0, b""), (0, b"[]"), (0, b'{"fraud": "nan", "text": "", "embedding": [1]}')]))


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_preparing_twice_gives_the_same_model(name: str, tmp_path: Path) -> None:
    """The same files and the same golden answers; what is not trained is the same to the byte."""
    workload = CATALOG.workload(name)
    kept = prepare(workload, print)
    python = environment([workload.prepare_lock or workload.lock]).python
    subprocess.run([python, "-B", workload.folder / "prepare.py", tmp_path], check=True, stdout=sys.stderr)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted(path.name for path in kept.folder.iterdir() if path.name != "manifest.json")
    with Agent(workload, Prepared(tmp_path, kept.hash), environment([workload.lock])) as agent:
        assert agent.prove() == [""] * len(agent.golden())
    if name != "fraud":
        assert all((tmp_path / file).read_bytes() == (kept.folder / file).read_bytes() for file in files)


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_answers_keep_their_order_in_any_batch_and_are_judged(name: str, inside: Inside) -> None:
    told = inside(name, """
drawn = draw(33)
items = [model.decode(body) for body, _ in drawn]
answers = [model.encode(answer) for answer in model.predict(loaded, items)]
judge = lambda index, answer: stream.judge(loaded, *drawn[index], answer)
told = {"right": [judge(i, answers[i]) for i in range(33)],
        "single": [judge(i, alone(drawn[i][0])) for i in range(8)],
        "neighbour": [judge(i, answers[i - 1]) for i in range(33)],
        "broken": [judge(0, answer) for answer in (b"", b"{}", b"null", b"<html>", b"[" * 100_000)]}
""")
    assert told["right"] == [""] * 33
    assert told["single"] == [""] * 8
    assert all(told["neighbour"])
    assert all(told["broken"])


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_the_stream_follows_its_seed(name: str, inside: Inside) -> None:
    told = inside(name, """
one, again, other = draw(40, seed=1), draw(40, seed=1), draw(40, seed=2)
told = {"same": one == again, "shared": len({body for body, _ in one} & {body for body, _ in other}),
        "distinct": len({body for body, _ in one})}
""")
    assert told["same"]
    assert told["shared"] <= 2
    assert told["distinct"] >= 35


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_unknown_profiles_and_devices_are_refused_in_a_sentence(name: str, inside: Inside) -> None:
    told = inside(name, """
told = []
for attempt in (lambda: next(stream.payloads(1, "wide")), lambda: model.load(pathlib.Path(os.environ["MODEL_DIR"]), 1,
                                                                             "toaster")):
    try:
        attempt()
    except ValueError as error:
        told.append(str(error))
""")
    assert len(told) == 2
    assert "wide" in told[0]
    assert "toaster" in told[1]
