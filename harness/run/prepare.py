"""Model files, made once per content of the workload, proved by its golden answers before they count."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalog.discover import cache_folder
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.run.agent import Agent
from harness.run.content import files_below, hash_file, hash_paths, made_once
from harness.run.environments import environment
from harness.run.mortal import mortal

_MANIFEST = "manifest.json"
_SCRIPT = "prepare.py"


@dataclass(frozen=True)
class Prepared:
    """`folder` is what `MODEL_DIR` and `model.load` get; `hash` names the workload's content, 16 hex digits."""

    folder: Path
    hash: str


def workload_hash(workload: Workload) -> str:
    """What names a workload's content: the files of its folder and of those it shares, and its locks."""
    locks = [lock for lock in (workload.lock, workload.prepare_lock) if lock is not None]
    return hash_paths([*workload.code, *locks])


def prepare(workload: Workload, say: Callable[[str], None], verify: bool = False) -> Prepared:
    """The workload's model files, from the cache or made now; `say` hears how it goes.

    Files in the cache are believed when they have the manifest's sizes; with `verify` their sha256 is computed again.
    What is damaged is made anew. Raises TailraceError when making fails or a golden answer is wrong.
    """
    name = workload_hash(workload)
    kept = cache_folder() / "workloads" / f"{workload.name}-{name}"
    scripted = (workload.folder / _SCRIPT).is_file()

    def make(scratch: Path) -> None:
        if scripted:
            _run_script(workload, scratch, say)
        files = {file.relative_to(scratch).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)}
                 for file in files_below(scratch)}
        proved = _prove(workload, Prepared(scratch if scripted else workload.folder, name), say)
        manifest = {"workload": workload.name, "hash": name, "golden_proved": proved, "files": files}
        (scratch / _MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")

    made_once(kept, make, lambda folder: _intact(folder, verify))
    return Prepared(kept if scripted else workload.folder, name)


def _intact(folder: Path, verify: bool) -> bool:
    try:
        files: dict[str, Any] = json.loads((folder / _MANIFEST).read_text("utf-8"))["files"]
        return all((folder / name).stat().st_size == fact["bytes"]
                   and (not verify or hash_file(folder / name) == fact["sha256"]) for name, fact in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _run_script(workload: Workload, out: Path, say: Callable[[str], None]) -> None:
    """Runs prepare.py in its own environment; its last words become the message when it fails."""
    python = environment([workload.prepare_lock or workload.lock], say).python
    said = [""]
    quiet = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    with subprocess.Popen(mortal([python, "-B", _SCRIPT, out]), cwd=workload.folder, env=quiet, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    said.append(line.strip())
                    say(f"{workload.name}: {line.strip()}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise TailraceError(f"{workload.folder / _SCRIPT}: ended with {process.returncode}: {said[-1]}",
                            "run it by hand with an empty folder as its argument")


def _prove(workload: Workload, made: Prepared, say: Callable[[str], None]) -> int:
    """How many golden answers the model gave, which is all of them. Raises TailraceError when one is wrong."""
    say(f"{workload.name}: proving the golden answers")
    with Agent(workload, made, environment([workload.lock], say)) as agent:
        reasons = agent.prove()
    wrong = [f"golden answer {index}: {reason}" for index, reason in enumerate(reasons) if reason]
    if wrong:
        raise TailraceError(f"workload '{workload.name}': {len(wrong)} of {len(reasons)} golden answers are wrong; "
                            f"{wrong[0]}", "check prepare.py, model.py and golden.json against each other")
    return len(reasons)
