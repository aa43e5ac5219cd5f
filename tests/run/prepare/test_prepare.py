"""Preparing a workload: made once, proved, moved when whole, made anew when damaged, one sentence when it fails."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.catalog.setup import read_setup
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.run.ahead import make_ahead
from harness.run.prepare import prepare, workload_hash

Make = Callable[..., Workload]


def silent(_: str) -> None:
    pass


def test_made_proved_and_kept(triple: Make) -> None:
    workload, said = triple(), list[str]()
    made = prepare(workload, said.append)
    assert (made.folder / "factor.txt").read_text() == "3"
    assert made.folder.name == f"triple-{made.hash}"
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["golden_proved"] == 8
    assert manifest["files"] == {"factor.txt": {"bytes": 1, "sha256": hashlib.sha256(b"3").hexdigest()}}
    assert "triple: writing the factor" in said

    said.clear()
    started = time.perf_counter()
    assert prepare(workload, said.append) == made
    assert time.perf_counter() - started < 0.1
    assert said == []


def test_another_content_is_another_folder(triple: Make) -> None:
    first = prepare(triple(), silent)
    second = prepare(triple(stream_py="# changed\n" + (triple().folder / "stream.py").read_text()), silent)
    assert first.folder != second.folder
    assert first.folder.is_dir()


def test_what_it_shares_counts_as_its_content(triple: Make) -> None:
    beside = triple().folder.parent / "beside"
    beside.mkdir()
    (beside / "module.py").write_text("A = 1")
    alone = workload_hash(triple())
    sharing = triple(workload_toml='title = "Triple"\nidea = "Toy."\nmodality = "other"\nshares = ["beside"]\n')
    before = workload_hash(sharing)
    (beside / "module.py").write_text("A = 2")
    assert len({alone, before, workload_hash(sharing)}) == 3


@pytest.mark.parametrize("damage", [lambda path: path.write_text("33"), lambda path: path.unlink()])
def test_damage_is_noticed_and_repaired(triple: Make, damage: Callable[[Path], object]) -> None:
    workload = triple()
    made = prepare(workload, silent)
    damage(made.folder / "factor.txt")
    prepare(workload, silent)
    assert (made.folder / "factor.txt").read_text() == "3"


def test_damage_of_the_same_size_is_found_by_verify(triple: Make) -> None:
    workload = triple()
    made = prepare(workload, silent)
    (made.folder / "factor.txt").write_text("4")
    prepare(workload, silent)
    assert (made.folder / "factor.txt").read_text() == "4"
    prepare(workload, silent, verify=True)
    assert (made.folder / "factor.txt").read_text() == "3"


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"prepare.py": "import sys\nprint('half way')\nsys.exit('the disk is full')\n"}, "ended with 1: the disk is full"),
    ({"prepare.py": "1 / 0\n"}, "ZeroDivisionError"),
    ({"prepare.py": "import sys, pathlib\npathlib.Path(sys.argv[1], 'factor.txt').write_text('4')\n"},
     r"7 of 8 golden answers are wrong; golden answer 1: 4 instead of 3"),
    ({"golden.json": "[{"}, "JSONDecodeError"),
    ({"model.py": "import nowhere\n"}, "No module named 'nowhere'"),
    ({"model.py": "def load(\n"}, "SyntaxError"),
])
def test_failing_is_one_sentence_and_leaves_nothing(triple: Make, changed: dict[str, str], sentence: str) -> None:
    workload = triple(**{name.replace(".", "_"): text for name, text in changed.items()})
    with pytest.raises(TailraceError, match=sentence) as caught:
        prepare(workload, silent)
    assert "\n" not in str(caught.value)
    kept = workload.folder.parent / "cache" / "workloads"
    assert [path.name for path in kept.iterdir() if not path.name.endswith(".lock")] == []


def test_a_batch_that_answers_differently_is_caught(triple: Make) -> None:
    model = (triple().folder / "model.py").read_text()
    disordered = model.replace("for item in batch]", "for item in sorted(batch, reverse=True)]")
    with pytest.raises(TailraceError, match="in a batch"):
        prepare(triple(model_py=disordered), silent)


def test_without_a_script_the_folder_is_the_model_s(triple: Make) -> None:
    workload = triple(prepare_py=None)
    (workload.folder / "factor.txt").write_text("3")
    made = prepare(workload, silent)
    assert made.folder == workload.folder
    said: list[str] = []
    prepare(workload, said.append)
    assert said == []


def test_killed_in_the_middle_and_done_again(triple: Make) -> None:
    slow = ("import pathlib, sys, time\npathlib.Path(sys.argv[1], 'factor.txt').write_text('9')\n"
            "print('half', flush=True)\nif not pathlib.Path('go').exists(): time.sleep(5)\n"
            "pathlib.Path(sys.argv[1], 'factor.txt').write_text('3')\n")
    workload = triple(prepare_py=slow)
    code = ("import pathlib, sys; from harness.catalog.workload import read_workload\n"
            "from harness.run.prepare import prepare\n"
            "prepare(read_workload(pathlib.Path(sys.argv[1])), lambda line: print(line, flush=True))")
    with subprocess.Popen([sys.executable, "-c", code, workload.folder], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert any("half" in line for line in child.stdout)
        os.kill(child.pid, signal.SIGKILL)
    kept = workload.folder.parent / "cache" / "workloads"
    assert not [path for path in kept.iterdir() if not path.name.startswith(".")]
    (workload.folder / "go").touch()
    made = prepare(workload, silent)
    assert (made.folder / "factor.txt").read_text() == "3"


def test_what_is_made_ahead_is_there_when_asked_for_and_what_fails_is_told_then(triple: Make) -> None:
    toys = Path(__file__).parents[2] / "toys" / "setups"
    workload, said = triple(), list[str]()
    make_ahead([(workload, read_setup(toys / name)) for name in ("calm", "stalls")], said.append)
    assert "triple: proving the golden answers" in said
    said.clear()
    prepare(workload, said.append)
    assert said == []

    wrong = triple(prepare_py="raise SystemExit('no factor today')")
    make_ahead([(wrong, read_setup(toys / "calm"))], said.append)
    with pytest.raises(TailraceError, match="no factor today"):
        prepare(wrong, said.append)
