"""What README.md shows of results can be made again: the records it names are in the tree, whole and unaltered."""

import re
from pathlib import Path

import pytest

from harness.record.read import find_runs
from harness.record.verify import verify

ROOT = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"results/([a-z]+)", (ROOT / "README.md").read_text("utf-8"))))


@pytest.mark.parametrize("name", NAMED)
def test_the_records_that_the_readme_names_are_whole(name: str) -> None:
    runs = find_runs(ROOT / "results" / name).runs
    assert runs
    assert {run.meta.run_id: said for run in runs if (said := verify(run))} == {}
