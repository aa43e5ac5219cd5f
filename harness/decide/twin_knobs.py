"""What a setup calls the things a what-if may change, and whether a what-if starts from what was recorded."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.catalog.setup import Modelled
from harness.catalog.toml import validate
from harness.decide.twin_whatif import Change, Subject
from harness.errors import UsageError

OWNERS = "owners"
NEAR = 0.1  # a load counts as the one named within so much of it


def modelled_of(facts: Mapping[str, Any]) -> Modelled:
    """The `[twin]` table of the recorded setup; of records from before there was one, what its batching is called."""
    if facts.get("twin") is not None:
        return validate(Modelled, dict(facts["twin"]), "setup_facts.twin")
    return Modelled(adaptive=str((facts.get("mlops") or {}).get("batching", "")).startswith("adaptive"))


def reads_deadlines(facts: Mapping[str, Any]) -> bool:
    """Whether the recorded setup drops what missed its deadline."""
    return (facts.get("mlops") or {}).get("deadlines") is True


def knob_names(facts: Mapping[str, Any], knobs: Mapping[str, Any], device: str) -> dict[Subject, str]:
    """The knob behind each subject of a what-if; on a GPU owners and device_batch where the setup has owners."""
    owned = device == "gpu" and OWNERS in knobs
    return {"wait_ms": modelled_of(facts).wait, "max_batch": "device_batch" if owned else "max_batch",
            "workers": OWNERS if owned else "workers", "queue": "queue"}


def changed_knobs(changes: Sequence[Change], facts: Mapping[str, Any], knobs: Mapping[str, Any],
                  device: str) -> dict[str, int | float]:
    """The knobs that the changes change, with their new values."""
    names = knob_names(facts, knobs, device)
    return {names[change.subject]: int(change.to) if change.to == int(change.to) else change.to
            for change in changes if change.subject in names}


def check_start(setup: str, changes: Sequence[Change], facts: Mapping[str, Any], knobs: Mapping[str, Any], device: str,
                rate: float) -> None:
    """Raises UsageError for a change of what the setup does not have or only learns, or one that says another value
    is in force than was recorded, or than the change before it left."""
    names, now = knob_names(facts, knobs, device), {**knobs}
    adaptive = modelled_of(facts).adaptive
    values: dict[str, float] = {"machines": 1.0, "rate": rate}
    for change in changes:
        name = names.get(change.subject, change.subject)
        if change.subject in names and name not in now:
            raise UsageError(f"{setup} has no knob {name}, so nothing can be said of another",
                             f"its knobs are {', '.join(sorted(now))}")
        if change.subject == "wait_ms" and adaptive:
            raise UsageError(f"{setup} learns how long a batch waits, and {name} only bounds that: the twin cannot say "
                             "what another bound does", f"measure it: tailrace run --knob {setup}.{name}={change.to:g}")
        was = values.get(change.subject, now.get(name, math.nan))
        if isinstance(was, int | float) and math.isfinite(was) and not math.isnan(change.was):
            slack = NEAR * was if change.subject == "rate" else 0.0
            if abs(change.was - was) > slack:
                raise UsageError(f"{name} is {was:.4g} in the runs of {setup}, not {change.was:g}",
                                 f"say what follows from there: {was:.4g} to {change.to:g}")
        if change.subject in names:
            now[name] = change.to
        elif change.subject == "demand":
            values["rate"] *= change.to
        else:
            values[change.subject] = change.to
