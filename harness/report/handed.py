"""How the process that reports hands its kernel what it found, so that records are read once: as numbers and text."""

import time
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from harness.analyse.explain import Explanation
from harness.analyse.model import Analysis
from harness.decide.twin_seen import Batches
from harness.errors import TailraceError
from harness.report.rows import Drawings, Drawn

HANDED = "TAILRACE_ANALYSIS"    # names, in the kernel's environment, the file in which it finds that
PATIENCE_S = 600.0
TEXT = "text"
ARRAYS = Batches._fields


@dataclass(frozen=True)
class Figures:
    """A run drawn, without its arrays."""

    duration_s: float
    tail: Explanation | None


@dataclass(frozen=True, config=ConfigDict(ser_json_inf_nan="constants"))
class Told:
    """What was found, without arrays; `runs` by id, in the order of the arrays."""

    analysis: Analysis
    runs: dict[str, Figures]


SAID = TypeAdapter(Told | None)


def hand(found: tuple[Analysis, Drawings] | None, path: Path) -> None:
    """Leaves what was found for the kernel that waits for it; None: nothing could be."""
    told, arrays = None, {}
    if found is not None:
        analysis, drawings = found
        told = Told(analysis, {name: Figures(run.duration_s, run.tail)
                               for name, run in drawings.items()})
        for i, run in enumerate(drawings.values()):
            arrays[f"{i}.grid"] = run.grid
            arrays |= {f"{i}.{name}": getattr(run.batched, name) for name in ARRAYS}
    arrays[TEXT] = np.frombuffer(SAID.dump_json(told), dtype=np.uint8)
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    aside.rename(path)


def received(path: Path) -> tuple[Analysis, Drawings]:
    """What `hand` leaves at `path`. Raises TailraceError when nothing could be found."""
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > until:
            raise TailraceError(f"{path}: no analysis came within {PATIENCE_S:g} s", "make the report again")
        time.sleep(0.02)
    with np.load(path, allow_pickle=False) as arrays:
        told = SAID.validate_json(arrays[TEXT].tobytes())
        if told is None:
            raise TailraceError("the records could not be analysed", "the report's own message says why")
        return told.analysis, {
            name: Drawn(run.duration_s, arrays[f"{i}.grid"], run.tail,
                        Batches(*(arrays[f"{i}.{each}"] for each in ARRAYS)))
            for i, (name, run) in enumerate(told.runs.items())}
