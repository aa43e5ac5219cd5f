"""Starts TorchServe's Java process with a configuration and a model store of its own."""

import contextlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from replica.lifeline import die_with_parent
from replica.loopback import free_ports

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders><Console name="out"><PatternLayout pattern="%d{ISO8601} %p %c - %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def main() -> int:
    """TorchServe's exit code, after SIGTERM or when it ended by itself."""
    with tempfile.TemporaryDirectory(prefix="ts-", ignore_cleanup_errors=True) as folder:
        # In a session of its own: a SIGTERM for the group would reach the workers before their Java process.
        java = subprocess.Popen(command(Path(folder)), cwd=folder, start_new_session=True,
                                preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: java.terminate())
        code = java.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(java.pid, signal.SIGKILL)  # workers that have not noticed
    return 0 if code == 128 + signal.SIGTERM else abs(code)


def command(folder: Path) -> list[str]:
    """What `torchserve --start --foreground` would run, with files in `folder` alone."""
    home = Path(importlib.util.find_spec("ts").origin).parents[1]
    (folder / "log4j2.xml").write_text(LOGGING, "utf-8")
    (folder / "config.properties").write_text("".join(f"{key}={value}\n" for key, value in settings().items()), "utf-8")
    return ["java", f"-Dmodel_server_home={home}", f"-Djava.io.tmpdir={folder}",
            f"-Dlog4j.configurationFile=file://{folder / 'log4j2.xml'}", "-XX:+ExitOnOutOfMemoryError",
            "-cp", f"{home / 'ts' / 'frontend'}/*", "org.pytorch.serve.ModelServer",
            "--python", str(interpreter(folder)), "-f", str(folder / "config.properties"),
            "-s", str(store(folder)), "-ncs", "--disable-token-auth", "-m", "model=model"]


def interpreter(folder: Path) -> Path:
    """What TorchServe runs its workers with: this interpreter, through worker.py."""
    script = folder / "python"
    worker = Path(__file__).with_name("worker.py")
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(worker))} "$@"\n', "utf-8")
    script.chmod(0o700)
    return script


def settings() -> dict[str, str]:
    """config.properties: every port on loopback; gRPC's two and the management's cannot be turned off."""
    host, ports = os.environ["HOST"], [str(port) for port in free_ports(3)]
    return {"inference_address": f"http://{host}:{os.environ['PORT']}",
            "management_address": f"http://{host}:{ports[2]}", "metrics_address": f"http://{host}:{os.environ['METRICS_PORT']}",
            "grpc_inference_address": host, "grpc_inference_port": ports[0],
            "grpc_management_address": host, "grpc_management_port": ports[1],
            "metrics_mode": "prometheus", "disable_system_metrics": "true",
            "job_queue_size": os.environ["KNOB_QUEUE"], "max_request_size": str(16 << 20),
            "decode_input_request": "false"}  # bodies reach the handler as they are


def store(folder: Path) -> Path:
    """A model store that holds `model`, not archived: TorchServe reads such a folder as it reads an archive."""
    version = folder / "store" / "model"
    (version / "MAR-INF").mkdir(parents=True)
    workers = int(os.environ["KNOB_WORKERS"])
    (version / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({
        "createdOn": "", "runtime": "python", "archiverVersion": "0.12.0", "model": {
            "modelName": "model", "modelVersion": "1.0", "handler": "served.py", "configFile": "model.yaml"}}), "utf-8")
    (version / "model.yaml").write_text(json.dumps({  # JSON is YAML
        "minWorkers": workers, "maxWorkers": workers, "batchSize": int(os.environ["KNOB_MAX_BATCH"]),
        "maxBatchDelay": int(os.environ["KNOB_MAX_DELAY_MS"]), "responseTimeout": 60, "startupTimeout": 110}), "utf-8")
    (version / "served.py").write_text("from served import Handler as Handler\n", "utf-8")
    return folder / "store"


if __name__ == "__main__":
    sys.exit(main())
