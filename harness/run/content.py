"""Things named by the hash of what they are made of, and made once."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.errors import TailraceError

_HASH_DIGITS = 16


def hash_paths(paths: Iterable[Path], *also: str) -> str:
    """16 hex digits over files (and all files below folders): their relative names and bytes, and the texts `also`.

    Caches of Python (`__pycache__`) and hidden files do not count. The order of `paths` does, where they lie does not.
    """
    total = hashlib.sha256()
    for text in also:
        total.update(f"text {len(text.encode())}\n{text}".encode())
    for path in paths:
        for file in files_below(path):
            name = path.name if file == path else file.relative_to(path).as_posix()
            total.update(f"file {name}\n{hash_file(file)}\n".encode())
    return total.hexdigest()[:_HASH_DIGITS]


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hex. Raises TailraceError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TailraceError(f"{path}: cannot be read: {error.strerror}", "check that it is there") from None


def files_below(path: Path) -> list[Path]:
    """The file itself, or a folder's files in the order of their names, without caches and hidden files."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not any(
        part.startswith(".") or part == "__pycache__" for part in file.relative_to(path).parts))


def made_once(target: Path, make: Callable[[Path], None], intact: Callable[[Path], bool] = Path.is_dir) -> Path:
    """The folder `target`, made by `make(scratch)` unless it is there and `intact`.

    The scratch folder lies beside and is renamed when it is whole, so an interrupted making leaves nothing that counts.
    Of two processes that want the same folder one makes it and the other waits for it. Raises TailraceError when the
    disk refuses, and whatever `make` raises.
    """
    if intact(target):
        return target
    # Of this process alone: what an interrupted one left running must not write into it.
    scratch = target.with_name(f".{target.name}.making-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not intact(target):
                for left in target.parent.glob(f".{target.name}.making-*"):
                    shutil.rmtree(left, ignore_errors=True)
                _make(target, scratch, make)
    except OSError as error:
        raise TailraceError(f"{error.filename or target}: cannot be written: {error.strerror}",
                            "free some space, or set TAILRACE_CACHE to a folder that can be written") from None
    return target


def _make(target: Path, scratch: Path, make: Callable[[Path], None]) -> None:
    scratch.mkdir()
    try:
        make(scratch)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
