"""Where packages come from: what the options of `tailrace prepare` say, checked and remembered in the cache."""

import os
import shutil
from pathlib import Path

from harness.errors import UsageError
from harness.parcel.manifest import NAME, fetch, read_manifest
from harness.parcel.source import Source, cache_folder, remember
from harness.run.preinstalled import preinstalled


def choose(wheels: list[Path], offline: bool, system: str | None, online: bool) -> None:
    """Remembers what was asked for, and forgets everything with `online`; with nothing asked, what was remembered
    stays. Raises TailraceError for a folder without wheels and a Python that does not answer."""
    asked = Source(tuple(each for folder in wheels for each in _folders_of_wheels(folder)), offline,
                   _python(system) if system else "")
    if online and asked != Source():
        raise UsageError("--online contradicts --wheels, --offline and --system-packages", "leave one of them out")
    if online or asked != Source():
        remember(asked)


def _folders_of_wheels(folder: Path) -> list[str]:
    """Where wheels lie below the folder; those of a parcel come into the cache, with the models beside them."""
    if any(folder.glob(f"part-*/{NAME}")):
        fetch(folder, read_manifest(folder), cache_folder())
        folder = cache_folder() / "wheels"
    folders = sorted({str(wheel.parent.resolve()) for wheel in folder.rglob("*.whl")})
    if not folders:
        raise UsageError(f"{folder}: there is no wheel in it", "name a folder that `tailrace pack` made")
    return folders


def _python(name: str) -> str:
    # Not resolved: a virtual environment's interpreter is a link, and is known by where it lies.
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"--system-packages {name}: no such program", "name an interpreter, for example python3")
    return preinstalled(os.path.abspath(found)).python  # noqa: PTH100  Path.resolve would follow the link
