"""Environments from hashed locks, built for real out of tiny wheels that the tests make: no network is needed."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.errors import TailraceError
from harness.run.environments import environment, lacking_packages, without


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(folder: Path, version: str, said: str = "hello") -> str:
    """A wheel of package tiny-greeter; returns its line in a lock."""
    info = f"tiny_greeter-{version}.dist-info"
    files = {
        "tiny_greeter.py": f"def main():\n    print({said!r})\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-greeter\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntiny-greet = tiny_greeter:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"tiny_greeter-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return f"tiny-greeter=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def lock(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def test_built_once_moved_whole_and_runnable(tmp_path: Path, wheels: Path) -> None:
    said: list[str] = []
    locks = [lock(tmp_path / "a.txt", wheel(wheels, "1.0"))]
    first = environment(locks, said.append)
    script = first.folder / "bin" / "tiny-greet"
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "hello\n"
    assert first.bytes > 100
    made = first.folder.stat().st_mtime_ns
    for path in wheels.iterdir():
        path.unlink()
    assert environment(locks, said.append) == first
    assert first.folder.stat().st_mtime_ns == made
    assert len(said) == 1


def test_python_is_the_harness_s(tmp_path: Path, wheels: Path) -> None:
    del wheels
    made = environment([lock(tmp_path / "empty.txt")])
    told = subprocess.run([made.python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True,
                          check=True).stdout
    assert told.strip() == sys.version


def test_named_by_content(tmp_path: Path, wheels: Path) -> None:
    line = wheel(wheels, "1.0")
    one = environment([lock(tmp_path / "one.txt", line)])
    more = environment([tmp_path / "one.txt", lock(tmp_path / "two.txt", "# nothing\n")])
    assert one.folder != more.folder
    assert len(one.folder.name) == 16


def test_a_package_that_cannot_be_had(tmp_path: Path, wheels: Path) -> None:
    line = wheel(wheels, "1.0").replace("==1.0", "==9.9")
    with pytest.raises(TailraceError) as caught:
        environment([lock(tmp_path / "a.txt", line)])
    assert "tiny-greeter" in caught.value.message
    assert "\n" not in str(caught.value)
    assert "network" in caught.value.hint
    assert [path.name for path in (tmp_path / "cache" / "envs").iterdir() if not path.name.endswith(".lock")] == []


def test_another_file_than_the_lock_s_is_refused(tmp_path: Path, wheels: Path) -> None:
    line = wheel(wheels, "1.0")
    wheel(wheels, "1.0", said="something else")
    with pytest.raises(TailraceError, match=r"tiny[-_]greeter"):
        environment([lock(tmp_path / "a.txt", line)])


def test_locks_that_disagree_are_refused(tmp_path: Path, wheels: Path) -> None:
    locks = [lock(tmp_path / "a.txt", wheel(wheels, "1.0")), lock(tmp_path / "b.txt", wheel(wheels, "2.0"))]
    with pytest.raises(TailraceError, match="tiny-greeter"):
        environment(locks)


def test_two_processes_at_once(tmp_path: Path, wheels: Path) -> None:
    made_from = lock(tmp_path / "a.txt", wheel(wheels, "1.0"))
    code = ("import sys, pathlib; from harness.run.environments import environment\n"
            "print(environment([pathlib.Path(sys.argv[1])]).folder)")
    children = [subprocess.Popen([sys.executable, "-c", code, made_from], stdout=subprocess.PIPE, text=True)
                for _ in range(3)]
    folders = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(folders) == 1


def test_an_interpreter_that_has_gone_is_replaced(tmp_path: Path, wheels: Path) -> None:
    locks = [lock(tmp_path / "a.txt", wheel(wheels, "1.0"))]
    made = environment(locks)
    made.python.unlink()
    made.python.symlink_to("/nonexistent/python")
    assert environment(locks).python.exists()


def test_a_displaced_package_comes_from_the_last_lock(tmp_path: Path, wheels: Path) -> None:
    theirs = lock(tmp_path / "theirs.txt", "# by hand\n", wheel(wheels, "1.0").replace(" --hash", " \\\n    --hash"))
    ours = lock(tmp_path / "ours.txt", wheel(wheels, "2.0", "hello from ours"))
    with pytest.raises(TailraceError):
        environment([theirs, ours])
    made = environment([theirs, ours], displaced=["tiny_greeter"])
    script = made.folder / "bin" / "tiny-greet"
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "hello from ours\n"
    assert made.folder != environment([ours]).folder


def test_only_the_named_entries_leave_a_lock() -> None:
    text = ("# top\nnumpy-x==1\nNumPy==1 \\\n    --hash=a\n    # via c\nb==1 \\\n    --hash=b\n"
            "numpy==2 ; python_version > '3.11'")
    assert without(text, ["numpy"]) == "# top\nnumpy-x==1\nb==1 \\\n    --hash=b\n"
    assert without(text, []) == text


def test_a_package_nobody_has_is_told_before_a_build(wheels: Path) -> None:
    wheel(wheels, "1.0")
    assert lacking_packages(["tiny-greeter==1.0", "tiny-greeter==3.0"]) == ["tiny-greeter==3.0"]
