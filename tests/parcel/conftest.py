"""Tiny wheels, and a Python that has some installed: what a machine without a registry is made of."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

Wheel = Callable[..., str]


@pytest.fixture(scope="session")
def make_wheel() -> Wheel:
    """`make_wheel(folder, name, version, requires=(), says="")` writes a wheel whose module has VERSION and `main`,
    with a command of its name; gives its line in a lock."""
    return write_wheel


def write_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = (), says: str = "") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{module}.py": f"VERSION = {version!r}\ndef main():\n    print({says or version!r})\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., str]:
    """`machine(("apple", "1.0"), …)` makes a Python that has these installed; gives the interpreter's path."""

    def make(*packages: tuple[str, str] | tuple[str, str, tuple[str, ...]]) -> str:
        shelf, folder = tmp_path / "shelf", tmp_path / "machine"
        for name, version, *requires in packages:
            write_wheel(shelf, name, version, *requires)
        run_uv("venv", "--python", sys.executable, str(folder))
        run_uv("pip", "install", "--offline", "--no-index", "--no-deps", "--python", str(folder / "bin/python"),
               *map(str, shelf.glob("*.whl")))
        return str(folder / "bin" / "python")

    return make


def run_uv(*arguments: str) -> None:
    subprocess.run([uv.find_uv_bin(), "--quiet", "--no-config", *arguments], check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, an empty cache, and no way to an index: one asked for all the same answers nothing."""
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder
