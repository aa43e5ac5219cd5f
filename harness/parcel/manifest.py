"""A parcel: the files that a machine without a registry is brought, in parts of a bounded size.

Each `part-N/` holds whole files, pieces of files that are larger than a part, and a copy of `parcel.json`, which lists
every file with its sha256. Files are named by where they belong in the cache: `wheels/…` and `workloads/…`.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import TailraceError

NAME = "parcel.json"
_PLACE = re.compile(r"wheels/[^/]+\.whl|workloads/[A-Za-z0-9_][^/]*(?:/[^/]+)+")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Item:
    """A file: where it belongs in the cache, what it must be, and the files below the parcel that make it, in order."""

    path: str
    sha256: str
    bytes: int
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """`python` is the version that the wheels are for, like 3.12; `left_out` names what the machine is said to have."""

    python: str
    items: tuple[Item, ...]
    left_out: Mapping[str, str]


def divide(sizes: Mapping[str, int], part_bytes: int) -> list[dict[str, tuple[int, int]]]:
    """Parts of at most `part_bytes`, each name -> (offset, length): whole files, largest first, each into the first
    part that has room; a file that is larger than a part is cut."""
    pieces = [(name, start, min(part_bytes, size - start)) for name, size in sizes.items()
              for start in range(0, max(size, 1), part_bytes)]
    parts: list[dict[str, tuple[int, int]]] = []
    room: list[int] = []
    for name, start, length in sorted(pieces, key=lambda piece: -piece[2]):
        place = next((k for k, left in enumerate(room) if length <= left and name not in parts[k]), len(parts))
        if place == len(parts):
            parts.append({})
            room.append(part_bytes)
        parts[place][name] = (start, length)
        room[place] -= length
    return parts


def read_manifest(folder: Path) -> Manifest:
    """That of a parcel's parts, which all tell the same. Raises TailraceError."""
    texts = {path.parent.name: path.read_bytes() for path in sorted(folder.glob(f"part-*/{NAME}"))}
    if not texts:
        raise TailraceError(f"{folder}: there is no parcel in it", "name the folder that holds part-1, part-2, …")
    first, *others = texts
    if unlike := [each for each in others if texts[each] != texts[first]]:
        raise TailraceError(f"{folder}: {unlike[0]} is of another parcel than {first}", "bring the parts of one parcel")
    try:
        told = json.loads(texts[first])
        items = tuple(Item(str(each["path"]), str(each["sha256"]), int(each["bytes"]), tuple(map(str, each["pieces"])))
                      for each in told["items"])
        manifest = Manifest(str(told["python"]), items, dict(told["left_out"]))
    except (ValueError, KeyError, TypeError):
        raise TailraceError(f"{folder / first / NAME}: cannot be read", "bring the part again") from None
    for item in items:
        if not _PLACE.fullmatch(item.path) or any(".." in Path(each).parts or Path(each).is_absolute()
                                                  for each in (item.path, *item.pieces)):
            raise TailraceError(f"{folder / first / NAME}: names a place outside of the cache: {item.path}",
                                "do not use this parcel")
    return manifest


def write_manifest(parts: Iterable[Path], manifest: Manifest) -> None:
    """A copy into each part."""
    text = json.dumps(asdict(manifest), indent=1)
    for part in parts:
        (part / NAME).write_text(text, "utf-8")


def fetch(folder: Path, manifest: Manifest, cache: Path) -> None:
    """Puts every file of the parcel to its place in the cache; models appear whole or not at all, and what is there
    already stays. Raises TailraceError for what is missing, damaged, or cannot be written."""
    absent = sorted({piece.partition("/")[0] if not (folder / piece).parent.is_dir() else piece
                     for item in manifest.items for piece in item.pieces if not (folder / piece).is_file()})
    if absent:
        raise TailraceError(f"{folder}: {', '.join(absent[:3])} is missing", "bring every part of the parcel")
    try:
        for item in manifest.items:
            if item.path.startswith("wheels/"):
                _fetch(folder, item, cache / item.path)
        for name in sorted({item.path.split("/")[1] for item in manifest.items if item.path.startswith("workloads/")}):
            _fetch_model(folder, [item for item in manifest.items if item.path.startswith(f"workloads/{name}/")],
                         cache / "workloads" / name)
    except OSError as error:
        raise TailraceError(f"{error.filename or cache}: cannot be written: {error.strerror}",
                            "free some space, or set TAILRACE_CACHE to a folder that can be written") from None


def sum_of(path: Path) -> str:
    """A file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_model(folder: Path, items: list[Item], target: Path) -> None:
    if target.is_dir():
        return  # named by its content, and looked through before it is used
    scratch = target.with_name(f".{target.name}.making-{os.getpid()}")
    try:
        for item in items:
            _fetch(folder, item, scratch / Path(item.path).relative_to(f"workloads/{target.name}"))
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(folder: Path, item: Item, target: Path) -> None:
    if target.is_file() and target.stat().st_size == item.bytes and sum_of(target) == item.sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as whole:
            for piece in item.pieces:
                with (folder / piece).open("rb") as file:
                    shutil.copyfileobj(file, whole, _CHUNK)
        if sum_of(scratch) != item.sha256:
            raise TailraceError(f"{folder / item.pieces[0]}: is not what was packed", "bring that part again")
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
