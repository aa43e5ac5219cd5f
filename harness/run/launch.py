"""What starts a server: its command and everything it is told (docs/design.md, "What a server is told")."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.setup import Knob
from harness.errors import TailraceError
from harness.plan.attempt import Attempt
from harness.run.exchange import HOST
from harness.run.process import Command

THREADS_KNOB = "threads"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
                     "TOKENIZERS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Place:
    """Where a server is started: its environment's Python, the workload's prepared files, its own temporary folder
    (a subfolder of the run's), its log and its CPUs."""

    python: Path
    model_dir: Path
    scratch: Path
    log: Path
    cpus: tuple[int, ...]


def server_command(attempt: Attempt, place: Place, port: int) -> Command:
    """The command that starts the attempt's setup on that port. Raises TailraceError when it cannot be written out or
    found."""
    setup = attempt.setup
    env = server_env(attempt, place, port)
    values = {**{name: text(value) for name, value in attempt.knobs.items()},
              "host": HOST, "port": str(port), "python": str(place.python)}
    try:
        words = [word.format_map(values) for word in setup.command]
    except (KeyError, ValueError, IndexError) as error:
        raise TailraceError(f"{setup.folder / 'setup.toml'}: `command` cannot be written out: {error}",
                            f"known: {', '.join(sorted(values))}") from None
    program = shutil.which(words[0], path=env["PATH"])
    if program is None:
        raise TailraceError(f"{setup.folder / 'setup.toml'}: the program '{words[0]}' is not found",
                            "add its package to the setup's requirements, or name it in [needs] programs")
    return Command([program, *words[1:]], cwd=str(setup.folder), env=env, cpus=place.cpus, log=str(place.log),
                   stop_timeout_s=setup.stop_timeout_s, remove_if_orphaned=str(place.scratch.parent))


def server_env(attempt: Attempt, place: Place, port: int) -> dict[str, str]:
    """All that the server finds in its environment; nothing else of the harness's own is passed on."""
    setup, workload = attempt.setup, attempt.workload
    threads = _threads(attempt.knobs)
    return {
        "PATH": f"{place.python.parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(place.scratch), "TMPDIR": str(place.scratch), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": ":".join(str(folder) for folder in (setup.folder, setup.folder.parent, workload.folder)),
        "HOST": HOST, "PORT": str(port), "WORKLOAD": str(workload.folder), "MODEL_DIR": str(place.model_dir),
        "DEVICE": "cpu", "SERVER_CORES": str(len(place.cpus)), "THREADS": threads,
        **dict.fromkeys(_THREAD_VARIABLES, threads), "TOKENIZERS_PARALLELISM": "false",
        **{f"KNOB_{name.upper().replace('-', '_')}": text(value) for name, value in attempt.knobs.items()},
    }


def text(value: Knob) -> str:
    """A knob's value as servers read it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _threads(knobs: dict[str, Knob]) -> str:
    return text(knobs.get(THREADS_KNOB, 1))
