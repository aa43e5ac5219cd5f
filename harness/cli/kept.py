"""The measurements that this machine has already, for `--resume`."""

from collections.abc import Callable
from pathlib import Path

from harness.plan.attempt import Attempt
from harness.plan.expand import Key, key
from harness.record.read import StoredRun, find_runs
from harness.record.schema import RunMeta
from harness.run.provenance import content

Run = Callable[[Attempt, Attempt | None], StoredRun]


def measured(folder: Path) -> dict[Key, list[StoredRun]]:
    """The measurements below `folder` by what makes them the same, oldest first. A void or failed run is none, and what
    was skipped is asked for again: what it lacked may be here now."""
    found: dict[Key, list[StoredRun]] = {}
    for run in find_runs(folder).runs if folder.is_dir() else ():
        if run.meta.status == "ok":
            found.setdefault(_key(run.meta), []).append(run)
    return found


def kept_first(run: Run, folder: Path) -> Run:
    """`run`, which first gives each measurement of `folder` once where it is the same."""
    kept = measured(folder)

    def resumed(attempt: Attempt, upcoming: Attempt | None) -> StoredRun:
        same = kept.get(key(attempt, content(attempt)))
        return same.pop(0) if same else run(attempt, upcoming)

    return resumed


def _key(meta: RunMeta) -> Key:
    hashes = {name: value for name, value in meta.hashes.items() if name != "harness"}
    return Key(meta.setup, meta.workload, meta.scenario, meta.load, meta.repetition, tuple(sorted(meta.knobs.items())),
               meta.seeds["attempt"], tuple(sorted(hashes.items())), meta.device)
