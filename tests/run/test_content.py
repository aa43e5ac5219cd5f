"""What a content hash depends on, and that a thing is made once however many ask and whatever is interrupted."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import TailraceError
from harness.run.content import hash_paths, made_once


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def nothing(_: Path) -> None:
    pass


def test_hash_is_of_content_not_of_place(tmp_path: Path) -> None:
    here = fill(tmp_path / "a" / "x", one="1", two="2")
    there = fill(tmp_path / "b" / "y", two="2", one="1")
    assert hash_paths([here]) == hash_paths([there])
    assert len(hash_paths([here])) == 16


@pytest.mark.parametrize("files", [{"one": "1"}, {"one": "1", "two": "3"}, {"one": "1", "three": "2"},
                                   {"one": "12", "two": ""}])
def test_hash_follows_names_and_bytes(tmp_path: Path, files: dict[str, str]) -> None:
    assert hash_paths([fill(tmp_path / "a", one="1", two="2")]) != hash_paths([fill(tmp_path / "b", **files)])


def test_hash_ignores_caches_and_hidden_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", one="1")
    before = hash_paths([folder])
    fill(folder / "__pycache__", cached="x")
    fill(folder / "deep" / ".hidden", file="x")
    (folder / ".swap").write_text("x")
    assert hash_paths([folder]) == before
    assert hash_paths([folder], "more") != before


def test_hash_of_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="cannot be read"):
        hash_paths([tmp_path / "none"])


def test_made_by_one_of_many(tmp_path: Path) -> None:
    made = []

    def make(scratch: Path) -> None:
        made.append(scratch)
        time.sleep(0.1)
        (scratch / "file").write_text("whole")

    threads = [threading.Thread(target=made_once, args=(tmp_path / "t", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (tmp_path / "t" / "file").read_text() == "whole"


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    def make(scratch: Path) -> None:
        (scratch / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "t", make)
    assert [path.name for path in tmp_path.iterdir()] == [".t.lock"]


def test_a_killed_making_is_swept_and_made_again(tmp_path: Path) -> None:
    code = ("import sys, time, pathlib; from harness.run.content import made_once\n"
            "def make(scratch):\n (scratch / 'half').write_text(''); print('half', flush=True); time.sleep(60)\n"
            "made_once(pathlib.Path(sys.argv[1]), make)")
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "t"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "half\n"
        os.kill(child.pid, signal.SIGKILL)
    assert not (tmp_path / "t").exists()
    made_once(tmp_path / "t", nothing)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".t.lock", "t"]


def test_what_is_not_intact_is_made_anew(tmp_path: Path) -> None:
    def intact(folder: Path) -> bool:
        return (folder / "file").exists()

    fill(tmp_path / "t", other="")
    made_once(tmp_path / "t", lambda scratch: (scratch / "file").touch(), intact)
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["file"]


def test_a_disk_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TailraceError, match="cannot be written"):
        made_once(tmp_path / "file" / "t", nothing)
