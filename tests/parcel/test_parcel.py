"""Parcels: what is packed arrives whole or not at all, and every mistake is one sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.sources import choose
from harness.errors import TailraceError, UsageError
from harness.parcel.manifest import NAME, divide, fetch, read_manifest
from harness.parcel.source import Source, source
from harness.parcel.unpack import Wanted, unpack
from harness.run.pack import Packed, Target, complaint, groups_of, pack, read_present

Wheel = Callable[..., str]
MODEL = "echo-0123456789abcdef"
HERE = ".".join(map(str, sys.version_info[:2]))


@given(st.dictionaries(st.text("abc", min_size=1, max_size=6), st.integers(0, 500), max_size=20), st.integers(7, 90))
def test_parts_hold_every_byte_once(sizes: dict[str, int], limit: int) -> None:
    parts = divide(sizes, limit)
    assert all(part and sum(length for _, length in part.values()) <= limit for part in parts)
    for name, size in sizes.items():
        pieces = sorted(part[name] for part in parts if name in part)
        assert len(pieces) == max(1, -(-size // limit))
        assert [start for start, _ in pieces] == [k * limit for k in range(len(pieces))]
        assert sum(length for _, length in pieces) == size


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip can have."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def silent(_: str) -> None:
    pass


def packed(tmp_path: Path, lines: list[str], present: dict[str, str] | None = None, mib: float = 2,
           models: tuple[Path, ...] = (), say: Callable[[str], None] = silent) -> Packed:
    lock = tmp_path / "lock.txt"
    lock.write_text("".join(lines))
    target = Target(HERE, "2.28", present or {})
    return pack(tmp_path / "parcel", target, groups_of([([lock], ())], target), models, int(mib * 2**20), say)


def write_model(tmp_path: Path) -> Path:
    """A prepared model that is larger than a part."""
    folder = tmp_path / "kept" / MODEL
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5 << 20))
    (folder / "deep" / "words.txt").write_text("a\nb\n")
    (folder / "manifest.json").write_text("{}")
    return folder


def test_what_is_packed_arrives(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    model = write_model(tmp_path)
    lines = [make_wheel(index, "apple", "1.0"), make_wheel(index, "pear", "2.0"),
             f"grape==1.0 ; python_version < '3' --hash=sha256:{'0' * 64}\n"]
    result = packed(tmp_path, lines, models=(model,))
    assert len(result.parts) == 3
    for part in (tmp_path / "parcel").iterdir():
        assert sum(file.stat().st_size for file in part.iterdir()) <= 2 << 20
    manifest, cache = read_manifest(tmp_path / "parcel"), tmp_path / "cache"
    fetch(tmp_path / "parcel", manifest, cache)
    fetch(tmp_path / "parcel", manifest, cache)
    assert sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()) == sorted(
        item.path for item in manifest.items)
    for file in model.rglob("*.*"):
        assert (cache / "workloads" / model.name / file.relative_to(model)).read_bytes() == file.read_bytes()
    for file in index.iterdir():
        assert (cache / "wheels" / file.name).read_bytes() == file.read_bytes()


def test_what_the_machine_has_is_left_out(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    lines = [make_wheel(index, "apple", "1.4"), make_wheel(index, "fig", "1.0"), make_wheel(index, "pear", "2.0"),
             make_wheel(index, "plum", "3.0", ("fig>=0.9",))]
    result = packed(tmp_path, lines, {"apple": "1.2", "fig": "1.0", "pear": "1.9", "other": "1"})
    assert result.left_out == {"apple": ("1.4", "1.2"), "fig": ("1.0", "1.0")}
    names = {Path(item.path).name.split("-")[0] for item in read_manifest(tmp_path / "parcel").items}
    assert names == {"pear", "plum"}


def test_what_would_quarrel_goes_along(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    lines = [make_wheel(index, "apple", "1.4"), make_wheel(index, "pear", "2.0", ("apple>=1.3",))]
    assert packed(tmp_path, lines, {"apple": "1.2"}).left_out == {}
    assert len(read_manifest(tmp_path / "parcel").items) == 2


def test_two_versions_of_a_package(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    locks = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for lock, version in zip(locks, ("1.0", "2.0"), strict=True):
        lock.write_text(make_wheel(index, "apple", version))
    target = Target(HERE, "2.28", {})
    pack(tmp_path / "parcel", target, groups_of([([lock], ()) for lock in locks], target), [], 2 << 20, silent)
    assert len(read_manifest(tmp_path / "parcel").items) == 2


def test_a_wheel_that_is_nowhere(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    line = make_wheel(index, "apple", "1.0").replace("==1.0", "==1.1")
    with pytest.raises(TailraceError, match=rf"no wheel of apple==1.1 runs on Python {HERE} with glibc 2.28"):
        packed(tmp_path, [line])
    assert not list(tmp_path.glob("*parcel*"))


def test_a_wheel_that_is_not_what_is_locked(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    line = make_wheel(index, "apple", "1.0")
    make_wheel(index, "apple", "1.0", says="other")
    with pytest.raises(TailraceError, match=r"apple==1\.0.*is not what the lock names"):
        packed(tmp_path, [line])
    assert not list(tmp_path.glob("*parcel*"))


@pytest.mark.parametrize(("said", "told"), [
    ("ERROR: Exception:\nTraceback (most recent call last):\nOSError: [Errno 28] No space left on device\n",
     "OSError: [Errno 28] No space left on device"),
    ("WARNING: Retrying\nERROR: Could not install packages due to an OSError: timed out.\n\n",
     "Could not install packages due to an OSError: timed out"),
    ("", "pip could not download the wheels"),
])
def test_pip_s_words_become_one_sentence(said: str, told: str) -> None:
    assert complaint(said, Target(HERE, "2.28", {})) == told


def test_interrupted_it_leaves_what_was_there(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    packed(tmp_path, [make_wheel(index, "apple", "1.0")])
    before = read_manifest(tmp_path / "parcel")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(tmp_path, [make_wheel(index, "pear", "1.0")], say=interrupt)
    assert read_manifest(tmp_path / "parcel") == before
    assert not list(tmp_path.glob(".parcel*"))
    packed(tmp_path, [make_wheel(index, "pear", "1.0")])
    assert [item.path for item in read_manifest(tmp_path / "parcel").items] == ["wheels/pear-1.0-py3-none-any.whl"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, index: Path) -> None:
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no parcel"):
        packed(tmp_path, [])
    assert index.is_dir()


@pytest.fixture(scope="module")
def packed_once(tmp_path_factory: pytest.TempPathFactory, make_wheel: Wheel) -> Path:
    """A wheel and a model, in three parts."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder / "index"))
        packed(folder, [make_wheel(folder / "index", "apple", "1.0")], models=(write_model(folder),))
    return folder / "parcel"


@pytest.fixture
def brought(tmp_path: Path, packed_once: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(packed_once, tmp_path / "parcel"))


def test_a_part_that_did_not_come(tmp_path: Path, brought: Path) -> None:
    manifest = read_manifest(brought)
    for file in (brought / "part-2").iterdir():
        file.unlink()
    (brought / "part-2").rmdir()
    with pytest.raises(TailraceError, match="part-2 is missing"):
        fetch(brought, manifest, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_piece_that_was_damaged(tmp_path: Path, brought: Path) -> None:
    [piece] = brought.glob("part-*/*weights.bin.piece-2")
    piece.write_bytes(piece.read_bytes()[:-1] + b"?")
    with pytest.raises(TailraceError, match="is not what was packed; bring that part again"):
        fetch(brought, read_manifest(brought), tmp_path / "cache")
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == ["apple-1.0-py3-none-any.whl"]


def test_a_parcel_is_a_folder_of_wheels_too(tmp_path: Path, brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path / "cache"))
    choose([brought], True, None, online=False)
    assert source() == Source((str(tmp_path / "cache" / "wheels"),), True, "")
    assert (tmp_path / "cache" / "workloads" / MODEL / "manifest.json").is_file()


def test_parts_of_two_parcels(brought: Path) -> None:
    path = brought / "part-2" / NAME
    path.write_text(path.read_text().replace("sha256", "sha255", 1))
    with pytest.raises(TailraceError, match="part-2 is of another parcel than part-1"):
        read_manifest(brought)


@pytest.mark.parametrize("place", ["../evil", "wheels/../../evil.whl", "/etc/evil.whl", "envs/evil", "workloads/evil",
                                   "workloads/../evil/x", "workloads/.evil/x"])
def test_a_place_outside_of_the_cache_is_refused(brought: Path, place: str) -> None:
    for path in brought.glob(f"part-*/{NAME}"):
        told = json.loads(path.read_text())
        told["items"][0]["path"] = place
        path.write_text(json.dumps(told))
    with pytest.raises(TailraceError, match="outside of the cache"):
        read_manifest(brought)


def test_a_piece_outside_of_the_parcel_is_refused(brought: Path) -> None:
    for path in brought.glob(f"part-*/{NAME}"):
        told = json.loads(path.read_text())
        told["items"][0]["pieces"] = ["../secret"]
        path.write_text(json.dumps(told))
    with pytest.raises(TailraceError, match="outside of the cache"):
        read_manifest(brought)


@given(text=st.binary(max_size=200))
def test_a_manifest_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    part = tmp_path_factory.mktemp("parcel") / "part-1"
    part.mkdir()
    (part / NAME).write_bytes(text)
    with pytest.raises(TailraceError, match="cannot be read"):
        read_manifest(part.parent)


def test_a_cache_that_cannot_be_written(tmp_path: Path, brought: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(TailraceError, match="cannot be written"):
        fetch(brought, read_manifest(brought), tmp_path / "cache")


def test_the_wrong_python_and_the_wrong_place(tmp_path: Path, brought: Path) -> None:
    with pytest.raises(TailraceError, match="machine's own Python"):
        unpack(Wanted(brought, Path(sys.prefix), system_packages=False), silent)
    with pytest.raises(TailraceError, match="is no environment"):
        unpack(Wanted(brought, tmp_path, system_packages=False), silent)
    for path in brought.glob(f"part-*/{NAME}"):
        path.write_text(path.read_text().replace(f'"python": "{HERE}"', '"python": "3.99"'))
    with pytest.raises(TailraceError, match=rf"is packed for Python 3.99, and this is {HERE}"):
        unpack(Wanted(brought, tmp_path / "venv", system_packages=False), silent)
    with pytest.raises(TailraceError, match="no parcel"):
        read_manifest(tmp_path)


def test_what_a_machine_has_is_read_from_pip_s_list(tmp_path: Path) -> None:
    path = tmp_path / "present.txt"
    path.write_text("Numpy==2.5.2\nruamel.yaml==0.18\ntorch==2.11.0+cu130\n-e git+x\nmine @ file:///x\n\n")
    assert read_present(path) == {"numpy": "2.5.2", "ruamel-yaml": "0.18", "torch": "2.11.0+cu130"}
    path.write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match="names no package"):
        read_present(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_present(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="--python 2"):
        Target("2", "2.28", {})
    with pytest.raises(UsageError, match="--glibc new"):
        Target("3.12", "new", {})


def test_a_killed_packing_leaves_no_parcel(tmp_path: Path, index: Path, make_wheel: Wheel) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(make_wheel(index, "apple", "1.0"))
    # Python hears no Ctrl-C where whoever started the tests ignores it, as a shell does for what it runs aside.
    code = ("import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from pathlib import Path; from harness.run.pack import *\n"
            f"target = Target({HERE!r}, '2.28', {{}}); lock = Path(sys.argv[1])\n"
            "def say(line): print(line, flush=True); time.sleep(60)\n"
            "pack(lock.parent / 'parcel', target, groups_of([([lock], ())], target), [], 2 << 20, say)")
    with subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.wait(timeout=20)
    assert not list(tmp_path.glob("*parcel*"))
