"""What starts a server: its command and everything it is told (docs/design.md, "What a server is told")."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.catalog.setup import Knob, Setup, knob_text
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.plan.expand import resolve_knobs
from harness.run import gpu
from harness.run.exchange import HOST
from harness.run.machine import programs_path
from harness.run.process import Command
from harness.run.sockets import free_port

THREADS_KNOB = "threads"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
                     "TOKENIZERS_NUM_THREADS", "RAYON_NUM_THREADS")
_LONGEST_TMP = 40


@dataclass(frozen=True)
class Place:
    """Where a server is started: the Python of each of the setup's parts, the workload's prepared files, the run's
    scratch folder, its log, its CPUs and the device its model computes on. The folders `temporary` and `home` in the
    scratch folder are the server's own."""

    pythons: tuple[Path, ...]
    model_dir: Path
    scratch: Path
    log: Path
    cpus: tuple[int, ...]
    device: str = "cpu"

    def __post_init__(self) -> None:
        for folder in (self.temporary, self.home):
            folder.mkdir(exist_ok=True)

    @property
    def python(self) -> Path:
        """That of the setup's own environment."""
        return self.pythons[0]

    @property
    def temporary(self) -> Path:
        """What TMPDIR says."""
        return self.scratch / "t"

    @property
    def home(self) -> Path:
        """What HOME says: nobody's settings or caches are in it."""
        return self.scratch / "h"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for one run, removed after it. Its name is short: a Unix socket's path must stay below 108 bytes."""
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= _LONGEST_TMP else "/tmp"  # noqa: S108 -- the folder made in it is private
    with tempfile.TemporaryDirectory(prefix="tr-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def server_command(setup: Setup, workload: Workload, knobs: Mapping[str, Knob], place: Place, port: int) -> Command:
    """The command that starts the setup on that port. Raises TailraceError when it cannot be written out or found."""
    env = server_env(setup, workload, knobs, place, port)
    for part in setup.parts[1:]:
        own = engine_knobs(setup.with_knobs(knobs), len(place.cpus), place.device)
        env["BEHIND"] = str(_write_behind(part, workload, own, replace(place, pythons=place.pythons[1:])))
    values = {**{name: knob_text(value) for name, value in knobs.items()},
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
                   stop_timeout_s=setup.stop_timeout_s, remove_if_orphaned=str(place.scratch))


def engine_knobs(setup: Setup, cores: int, device: str) -> dict[str, Knob]:
    """Every knob's value of the setup behind this one; none where nothing stands behind it. Raises TailraceError."""
    return {name: value for part in setup.parts[1:]
            for name, value in resolve_knobs(part, setup.behind_knobs(part), cores, device).items()}


def _write_behind(part: Setup, workload: Workload, own: Mapping[str, Knob], place: Place) -> Path:
    """A JSON file with all that starts the setup which stands behind another, and how to speak to it."""
    part, port = part.with_knobs(own), free_port()
    command = server_command(part, workload, own, place, port)
    told = {"command": list(command.command), "cwd": command.cwd, "env": dict(command.env), "port": port,
            "protocol": part.codec.name, "predict": part.predict, "ready": part.ready,
            "stop_timeout_s": part.stop_timeout_s}
    path = place.scratch / "behind.json"
    path.write_text(json.dumps(told), "utf-8")
    return path


def server_env(setup: Setup, workload: Workload, knobs: Mapping[str, Knob], place: Place,
               port: int) -> dict[str, str]:
    """All that the server finds in its environment; of the harness's own, what the setup `passes` and no more."""
    threads = knob_text(knobs.get(THREADS_KNOB, 1))
    return {
        **{name: os.environ[name] for name in setup.passes if name in os.environ},
        "PATH": f"{place.python.parent}:{programs_path()}", "LANG": "C.UTF-8",
        "HOME": str(place.home), "TMPDIR": str(place.temporary), "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": ":".join(str(folder) for folder in (setup.folder, setup.folder.parent, *workload.imports)),
        "HOST": HOST, "PORT": str(port), "METRICS_PORT": str(free_port()),
        "WORKLOAD": str(workload.folder), "MODEL_DIR": str(place.model_dir),
        "SERVER_CORES": str(len(place.cpus)), "DEVICE": place.device, **gpu.variables(place.device, os.environ),
        "THREADS": threads,
        **dict.fromkeys(_THREAD_VARIABLES, threads), "TOKENIZERS_PARALLELISM": "false",
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime's wheel reports to its maker unless told not to
        **{f"KNOB_{name.upper().replace('-', '_')}": knob_text(value) for name, value in knobs.items()},
    }

