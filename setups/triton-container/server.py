"""Starts Triton's container, then the front; at SIGTERM the front answers what it has, and the container goes."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import container
import repository
from replica.lifeline import die_with_parent
from replica.loopback import free_ports, is_ready

HOST = os.environ["HOST"]
READY = "/v2/models/model/ready"
LOOK_S = 0.2


def main() -> int:
    """0 after SIGTERM, 1 when the container or the front ended by itself."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    model_dir = Path(os.environ["MODEL_DIR"])
    with tempfile.TemporaryDirectory(prefix="triton-", ignore_cleanup_errors=True) as made:
        folder, (port, grpc_port) = Path(made), free_ports(2)
        ports = {"HTTP": port, "GRPC": grpc_port, "METRICS": int(os.environ["METRICS_PORT"])}
        repository.write(folder / "models", model_dir / "model.onnx", os.environ)
        triton = container.start(folder, model_dir, ports)
        try:
            while triton.poll() is None and not is_ready(port, READY) and not told.wait(LOOK_S):
                pass
            serve(triton, port, told)
        finally:
            container.end(triton, folder, ports)
    return 0 if told.is_set() else 1


def serve(triton: subprocess.Popen[bytes], port: int, told: threading.Event) -> None:
    """Returns after SIGTERM, or when the front or Triton ended."""
    if told.is_set() or triton.poll() is not None:
        return
    front = subprocess.Popen(
        [Path(sys.executable).with_name("uvicorn"), "front:app", "--host", HOST, "--port", os.environ["PORT"],
         "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
         "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "8", "--workers", os.environ["KNOB_WORKERS"]],
        env={**os.environ, "TRITON_PORT": str(port)}, start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509  no threads here
    while triton.poll() is None and front.poll() is None and not told.wait(LOOK_S):
        pass
    front.terminate()
    front.wait()


if __name__ == "__main__":
    sys.exit(main())
