"""Parts of a run, one per generator process, as one set of columns in which every seq stands once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import RunFailedError
from harness.load.rows import ERRORS, Columns
from harness.record.schema import COLUMNS


def merge_parts(prefixes: Sequence[str | Path], expected: int | None = None) -> Columns:
    """The columns of `<prefix>.npz` of all parts ordered by seq, without `judged`; `error` holds str objects.

    Raises RunFailedError when a part is missing or unreadable, or when a seq from 0 to `expected` − 1 (by default to
    the highest one) is missing or doubled.
    """
    parts = [_read(Path(f"{prefix}.npz")) for prefix in prefixes]
    seq = np.concatenate([part["seq"] for part in parts])
    _complete(seq, len(seq) if expected is None else expected)
    order = np.argsort(seq, kind="stable")
    columns = {name: np.concatenate([part[name] for part in parts])[order] for name in COLUMNS if name in parts[0]}
    columns["error"] = np.array(ERRORS, dtype=object)[columns["error"]]
    return columns


def read_answers(prefixes: Sequence[str | Path]) -> list[tuple[int, bytes]]:
    """(seq, answer body) of the sampled answers of all parts, by seq. Raises RunFailedError."""
    answers: list[tuple[int, bytes]] = []
    for prefix in prefixes:
        part = _read(Path(f"{prefix}.answers.npz"))
        bodies, offsets = part["bodies"].tobytes(), part["offsets"].tolist()
        answers.extend((int(seq), bodies[offsets[k]:offsets[k + 1]]) for k, seq in enumerate(part["seq"].tolist()))
    return sorted(answers)


def _read(path: Path) -> Columns:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise RunFailedError(f"{path}: the generator left no readable rows: {error}", "look at load.log") from None


def _complete(seq: np.ndarray[tuple[int, ...], np.dtype[np.int32]], expected: int) -> None:
    counts = np.bincount(seq, minlength=expected)
    missing, doubled = np.flatnonzero(counts == 0), np.flatnonzero(counts > 1)
    surplus = len(counts) - expected
    if len(missing) or len(doubled) or surplus > 0:
        first = int(min([*missing[:1], *doubled[:1], *([expected] if surplus > 0 else [])]))
        raise RunFailedError(f"of {expected} requests {len(missing)} have no row, {len(doubled)} have several and "
                             f"{max(surplus, 0)} rows are beyond the schedule, first seq {first}",
                             "a generator process died or the parts belong to different runs: look at load.log")
