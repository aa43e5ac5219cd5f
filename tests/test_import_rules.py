"""Who may import whom (docs/design.md); a broken arrow fails here before it becomes a habit."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "harness"
ALLOWED = {
    "errors": set(),
    "parcel": {"errors"},
    "protocols": {"errors"},
    "catalog": {"errors", "protocols", "parcel"},
    "plan": {"errors", "catalog"},
    "record": {"errors", "catalog"},
    "load": {"errors", "protocols", "catalog", "plan", "record"},
    "run": {"errors", "parcel", "protocols", "catalog", "plan", "record", "load"},
    "analyse": {"errors", "catalog", "record"},
    "decide": {"errors", "catalog", "record", "analyse"},
    "report": {"errors", "catalog", "record", "analyse", "decide"},
    "tune": {"errors", "catalog", "analyse"},
    "audit": {"errors", "catalog", "plan", "record", "load", "run", "analyse", "decide", "report"},
    "cli": {"errors", "parcel", "catalog", "plan", "record", "load", "run", "analyse", "decide", "report", "audit",
            "tune"},
}


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Every module name that the file imports, at whatever depth; read once for every rule."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            if node.module == "harness":
                names.update(f"harness.{alias.name}" for alias in node.names)
    return frozenset(names)


def part(name: str) -> str:
    return name.split(".")[1] if name.startswith("harness.") else ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    others = {part(name) for name in imported(path)} - {"", own}
    assert others <= ALLOWED[own], f"{own} may not import {sorted(others - ALLOWED[own])}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_load_imports_locust(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] != "load":
        assert not {name for name in imported(path) if name.split(".")[0] in ("locust", "gevent")}


@pytest.mark.parametrize("folder", ["setups", "workloads"])
def test_what_is_measured_never_imports_the_harness(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not {name for name in imported(path) if name.split(".")[0] == "harness"}, path


def test_locust_stays_out_of_the_command() -> None:
    """Importing locust monkey-patches the standard library; the command itself must never load it."""
    heavy = ("locust", "gevent", "matplotlib", "pandas")
    code = f"import sys, harness.cli; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_modules_stay_small() -> None:
    long = [str(p.relative_to(ROOT)) for p in (ROOT / "harness").rglob("*.py")
            if len(p.read_text(encoding="utf-8").splitlines()) > 300]
    assert long == []
