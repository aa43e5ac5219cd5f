"""The published fraud runs of two setups, in a results folder of a test's own."""

import re
from pathlib import Path

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def linked(folder: Path) -> Path:
    """Links them below `folder`; their machine's folder there."""
    (machine,) = PUBLISHED.iterdir()
    (folder / machine.name).mkdir()
    for path in machine.iterdir():
        if path.name == "machine.json" or re.search(r"Z-(flask|fastapi)-fraud-", path.name):
            (folder / machine.name / path.name).symlink_to(path)
    return folder / machine.name
