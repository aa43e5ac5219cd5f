"""A stranger adds a setup by copying a folder and editing at most 90 lines: counted on the one that was added so."""

import difflib
from pathlib import Path

from harness.catalog.discover import find_catalog

ROOT = Path(__file__).resolve().parents[2]
COPIED, ADDED = "fastapi", "granian"
MOST = 90


def text(setup: str) -> dict[str, list[str]]:
    """What a person writes of a setup: everything but the lock, which a command makes."""
    folder = ROOT / "setups" / setup
    return {path.name: path.read_text("utf-8").splitlines() for path in sorted(folder.iterdir())
            if path.is_file() and path.name != "requirements.txt"}


def test_it_takes_fewer_lines_than_promised_and_none_in_the_harness() -> None:
    before, after = text(COPIED), text(ADDED)
    assert set(after) == set(before)
    edited = [line for name in after for line in difflib.unified_diff(before[name], after[name], n=0)
              if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert 0 < len(edited) <= MOST
    assert not [path for path in (ROOT / "harness").rglob("*.py") if ADDED in path.read_text("utf-8").lower()]


def test_it_is_a_setup_like_any_other() -> None:
    setup = find_catalog(ROOT).setup(ADDED)
    assert setup.lock.read_text("utf-8").count("--hash=sha256:") > 10
    assert setup.engine in (ROOT / "docs" / "adding-a-setup.md").read_text("utf-8").lower()
