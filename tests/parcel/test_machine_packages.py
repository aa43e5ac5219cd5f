"""Environments out of a folder of wheels alone, on a machine whose own packages are used where they may be."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.cli.sources import choose
from harness.errors import TailraceError, UsageError
from harness.parcel.source import Source, remember, source
from harness.run.environments import Environment, environment, lacking_packages, machine_packages
from harness.run.fidelity import differences, unlike_version
from harness.run.pins import needed, pins
from harness.run.preinstalled import acceptable, preinstalled, quarrelling, satisfied
from harness.run.provenance import packages, versions

Machine = Callable[..., str]
Wheel = Callable[..., str]


def lock(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def told(made: Environment, code: str) -> str:
    return subprocess.run([made.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def imported(made: Environment, names: Sequence[str]) -> list[str]:
    return told(made, f"import {', '.join(names)}; print(*[m.VERSION for m in ({', '.join(names)},)])").split()


def test_wheels_of_a_folder_are_enough(tmp_path: Path, apart: Path, make_wheel: Wheel) -> None:
    locks = [lock(tmp_path / "a.txt", make_wheel(apart / "part-1", "apple", "1.0"),
                  make_wheel(apart / "part-2", "pear", "2.0"))]
    with pytest.raises(TailraceError):
        environment(locks)
    choose([apart], True, None, online=False)
    said: list[str] = []
    assert imported(environment(locks, said.append), ["apple", "pear"]) == ["1.0", "2.0"]
    assert said == [f"building the environment of {tmp_path.name}/a.txt from wheels of {apart}/part-1, {apart}/part-2, "
                    "no index"]


def test_another_wheel_than_the_lock_s_is_not_installed(tmp_path: Path, apart: Path, make_wheel: Wheel) -> None:
    line = make_wheel(apart, "apple", "1.0")
    make_wheel(apart, "apple", "1.0", says="something else")
    choose([apart], True, None, online=False)
    with pytest.raises(TailraceError, match="apple") as caught:
        environment([lock(tmp_path / "a.txt", line)])
    assert "tailrace pack" in caught.value.hint
    assert not list((tmp_path / "cache" / "envs").glob("[0-9a-f]*"))


def test_a_wheel_in_no_lock_is_not_installed(tmp_path: Path, apart: Path, make_wheel: Wheel) -> None:
    line = make_wheel(apart, "apple", "1.0", ("stranger",))
    make_wheel(apart, "stranger", "1.0")
    choose([apart], True, None, online=False)
    assert list(packages(environment([lock(tmp_path / "a.txt", line)]).folder)) == ["apple"]


def test_the_machine_s_packages_stand_in(tmp_path: Path, apart: Path, make_wheel: Wheel, machine: Machine) -> None:
    shelf = tmp_path / "elsewhere"
    locks = [lock(tmp_path / "a.txt", make_wheel(shelf, "apple", "1.4"), make_wheel(shelf, "fig", "3.0"),
                  make_wheel(apart, "numpy-core", "2.0"), make_wheel(apart, "pear", "2.0"))]
    python = machine(("apple", "1.2"), ("fig", "3.0"), ("numpy-core", "1.26"), ("torch", "9.1"))
    choose([apart], True, python, online=False)
    said: list[str] = []
    made = environment(locks, said.append)
    assert imported(made, ["apple", "fig", "numpy_core", "pear", "torch"]) == ["1.2", "3.0", "2.0", "2.0", "9.1"]
    assert said[1:] == ["of this machine are used: apple 1.2 (1.4 is locked)"]
    assert machine_packages(made.folder)["stands_in"]["apple"] == {"locked": "1.4", "used": "1.2"}
    assert packages(made.folder) == {"apple": "1.2", "fig": "3.0", "numpy_core": "2.0", "pear": "2.0"}
    assert versions([made.folder])["machine/torch"] == "9.1"
    assert differences(made.folder, locks, tmp_path) == []
    assert unlike_version([made.folder]) == {"stands_in": ["apple 1.2 of the machine (locked: 1.4)"]}
    assert subprocess.run([made.folder / "bin" / "apple"], capture_output=True, text=True, check=True).stdout == "1.2\n"
    assert environment(locks) == made


def test_a_build_for_gpus_stands_in_for_the_package_it_is(tmp_path: Path, apart: Path, make_wheel: Wheel,
                                                          machine: Machine) -> None:
    locks = [lock(tmp_path / "a.txt", make_wheel(tmp_path / "elsewhere", "onnxruntime", "1.32"),
                  make_wheel(apart, "pear", "2.0"))]
    choose([apart], True, machine(("onnxruntime-gpu", "1.30")), online=False)
    made = environment(locks)
    assert told(made, "import onnxruntime_gpu; print(onnxruntime_gpu.VERSION)") == "1.30"
    assert unlike_version([made.folder]) == {"stands_in": ["onnxruntime 1.30 of the machine (locked: 1.32)"]}


def test_what_quarrels_is_installed_as_locked(tmp_path: Path, apart: Path, make_wheel: Wheel,
                                              machine: Machine) -> None:
    locks = [lock(tmp_path / "a.txt", make_wheel(apart, "apple", "1.4"),
                  make_wheel(apart, "pear", "2.0", ("apple>=1.3",)), make_wheel(apart, "fig", "3.1"))]
    choose([apart], True, machine(("apple", "1.2"), ("fig", "3.0", ("apple<1.4",))), online=False)
    made = environment(locks)
    assert imported(made, ["apple", "pear", "fig"]) == ["1.4", "2.0", "3.1"]
    assert machine_packages(made.folder)["stands_in"] == {}


def test_another_machine_means_another_environment(tmp_path: Path, apart: Path, make_wheel: Wheel,
                                                   machine: Machine) -> None:
    locks = [lock(tmp_path / "a.txt", make_wheel(apart, "apple", "1.4"))]
    choose([apart], True, None, online=False)
    plainly = environment(locks)
    choose([apart], True, machine(("apple", "1.4")), online=False)
    assert environment(locks).folder != plainly.folder
    choose([], False, None, online=True)
    assert source() == Source()
    assert environment(locks) == plainly


def test_needs_are_met_by_the_machine(apart: Path, machine: Machine) -> None:
    choose([], True, machine(("torch", "2.11.0")), online=False)
    assert lacking_packages(["torch==2.13.0+cpu", "torch", "torch==1.13", "tiny-stranger"]) == \
        ["torch==1.13", "tiny-stranger"]
    assert apart.is_dir()


@pytest.mark.parametrize(("locked", "present", "may"), [
    ("2.5.5", "2.5.2", True), ("2.5.5", "2.11.0", True), ("1.26.4", "2.5.2", False), ("0.46.1", "0.46.0", True),
    ("0.46.1", "0.47.0", False), ("2.13.0+cpu", "2.11.0+cu130", True), ("26.1", "25.0", False),
    ("what", "what", True), ("what", "1.0", False),
])
def test_acceptable_is_the_same_major_version(locked: str, present: str, may: bool) -> None:
    assert acceptable(locked, present) is may


@pytest.mark.parametrize(("asked", "met"), [("torch>=2.5", True), ("torch==2.13.0+cpu", True), ("torch>=3", False),
                                            ("Torch", True), ("tensorrt", False)])
def test_a_need_is_satisfied(asked: str, met: bool) -> None:
    assert satisfied(asked, {"torch": "2.11.0"}) is met


def test_who_quarrels() -> None:
    found = {"a": "1.0", "b": "2.0", "c": "3.0"}
    assert quarrelling(found, {"a": ["b>=1", "d"], "b": ["c>3 ; python_version < '3'", "c==3.*"]}, {"b", "c"}) == set()
    assert quarrelling(found, {"a": ["b>=3"]}, {"b"}) == {"b"}
    assert quarrelling(found, {"a": ["b>=3"]}, {"a"}) == {"a"}
    assert quarrelling(found, {"a": ["b>=3"]}, set()) == set()
    assert quarrelling(found, {"a": ["b>=3 ; extra == 'more'"]}, {"b"}) == set()
    assert quarrelling(found, {"a": ["b>=3 ; python_version < '3.12'"]}, {"b"}, {"python_version": "3.12"}) == set()


def test_a_python_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="does not answer"):
        preinstalled("/bin/true")
    with pytest.raises(UsageError, match="no such program"):
        choose([], False, "no-such-python", online=False)
    with pytest.raises(UsageError, match="no wheel"):
        choose([tmp_path], True, None, online=False)
    with pytest.raises(UsageError, match="--online"):
        choose([], True, None, online=True)


def test_what_is_remembered_is_read_or_refused(apart: Path, tmp_path: Path) -> None:
    kept = Source((str(apart),), True, "/usr/bin/python3")
    remember(kept)
    assert source() == kept
    path = tmp_path / "cache" / "packages.json"
    path.write_text(json.dumps({"wheels": 3}))
    with pytest.raises(TailraceError, match=r"packages\.json"):
        source()
    remember(Source())
    assert not path.exists()


def test_pins_are_read_with_marker_and_hashes(tmp_path: Path) -> None:
    text = (f"# top\nnumpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:{'a' * 64} \\\n"
            f"    --hash=sha256:{'b' * 64}\n    # via x\nNumPy==2.5.5 ; python_full_version >= '3.12' \\\n"
            f"    --hash=sha256:{'c' * 64}\nuvicorn[standard]==1.0 --hash=sha256:{'d' * 64}\n-e .\n")
    found = pins(text)
    assert [(pin.name, pin.version, len(pin.hashes)) for pin in found] == [
        ("numpy", "2.4.6", 2), ("numpy", "2.5.5", 1), ("uvicorn", "1.0", 1)]
    assert found[2].requirement == f"uvicorn==1.0 --hash=sha256:{'d' * 64}"
    path = lock(tmp_path / "a.txt", text)
    assert needed([path], python={"python_full_version": "3.12.3"})["numpy"].version == "2.5.5"
    assert needed([path], python={"python_full_version": "3.11.9"})["numpy"].version == "2.4.6"
    other = lock(tmp_path / "b.txt", "numpy==1.26.4\n")
    assert needed([path, other], displaced=["Numpy"])["numpy"].version == "1.26.4"
