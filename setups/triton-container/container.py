"""The container: `docker compose` in the foreground, and taking away what it made."""

import json
import os
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from replica.lifeline import die_with_parent

COMPOSE = Path(__file__).resolve().parents[2] / "compose" / "triton.yaml"
DOWN_S = 20


def start(folder: Path, model_dir: Path, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
    """Triton in its container, with the repository in `folder` and the workload's files as version 1 of its model."""
    write_override(folder, model_dir)
    # In a session of its own: a SIGTERM for the group would end it before it has answered.
    return subprocess.Popen([*command(folder), "up", "--pull", "never", "--no-color", "--abort-on-container-exit"],
                            env=environment(folder, ports), start_new_session=True,
                            preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509  no threads here


def end(compose: subprocess.Popen[bytes], folder: Path, ports: Mapping[str, int]) -> None:
    """Ends it, and removes container and network."""
    compose.terminate()
    compose.wait()
    subprocess.run([*command(folder), "down", "--volumes", "--timeout", "1"], env=environment(folder, ports),
                   timeout=DOWN_S, check=False)


def command(folder: Path) -> list[str]:
    """`docker compose` for this run's project alone."""
    return ["docker", "compose", "--project-name", f"tailrace-triton-{os.getpid()}", "--file", str(COMPOSE),
            "--file", str(folder / "override.json")]


def write_override(folder: Path, model_dir: Path) -> None:
    """What compose/triton.yaml cannot know: the second of two folders that lie in one another."""
    service = {"volumes": [f"{model_dir}:/models/model/1:ro"]}
    (folder / "override.json").write_text(json.dumps({"services": {"triton": service}}), "utf-8")


def environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables of compose/triton.yaml besides this process's own."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return {**os.environ, "MODELS": str(folder / "models"), "SERVER_CPUS": cores,
            **{f"{name}_PORT": str(port) for name, port in ports.items()}}
