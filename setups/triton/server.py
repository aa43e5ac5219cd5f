"""Starts the tritonserver that lies in the wheel nvidia-pytriton, on a model repository of its own."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path

from replica.lifeline import die_with_parent
from replica.loopback import free_ports

STOP_S = 5  # an idle connection kept open makes Triton wait as long
REGIONS = "tailrace-triton-"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where Triton and its instances exchange tensors

# KIND_CPU on a GPU, too: the model in the Python backend goes there by itself, and Triton needs no CUDA of its own.
CONFIG = """
backend: "python"
default_model_filename: "entry.py"
max_batch_size: {max_batch}
input [{{ name: "body", data_type: TYPE_STRING, dims: [ 1 ] }}]
output [{{ name: "answer", data_type: TYPE_STRING, dims: [ 1 ] }}]
instance_group [{{ count: {instances}, kind: KIND_CPU }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
"""


def main() -> int:
    """Triton's exit code, after SIGTERM or when it ended by itself."""
    remove_regions()
    with tempfile.TemporaryDirectory(prefix="triton-", ignore_cleanup_errors=True) as folder:
        wheel = Path(importlib.util.find_spec("pytriton").origin).parent / "tritonserver"
        command = [str(wheel / "bin" / "tritonserver"), *options(Path(folder), wheel)]
        # In a session of its own: a SIGTERM for the group would reach the instances before Triton has drained them.
        triton = subprocess.Popen(command, env=environment(wheel), start_new_session=True,
                                  preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: triton.terminate())
        code = triton.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(triton.pid, signal.SIGKILL)  # instances that it left when its time to stop was over
    remove_regions()
    return abs(code)


def remove_regions() -> None:
    """Removes shared memory that a killed Triton left: this process's, and that of others which have ended."""
    for region in SHARED_MEMORY.glob(REGIONS + "*"):
        owner = int(region.name.removeprefix(REGIONS).partition("-")[0])
        if owner == os.getpid() or not Path(f"/proc/{owner}").exists():
            region.unlink(missing_ok=True)


def options(folder: Path, wheel: Path) -> list[str]:
    """Everything on loopback, and only the model that it is told to load."""
    host, here, elsewhere = os.environ["HOST"], os.environ["PORT"], free_ports(1)[0]
    over_grpc = os.environ["KNOB_PROTOCOL"] == "oip-grpc"
    ports = {"http": elsewhere if over_grpc else here, "grpc": here if over_grpc else elsewhere,
             "metrics": os.environ["METRICS_PORT"]}
    return [f"--model-repository={repository(folder)}", "--model-control-mode=explicit", "--load-model=model",
            f"--backend-directory={backends(folder, wheel)}", "--disable-auto-complete-config",
            f"--backend-config=python,shm-region-prefix-name={REGIONS}{os.getpid()}-", f"--exit-timeout-secs={STOP_S}",
            *(f"--{each}-address={host}" for each in ports), *(f"--{each}-port={ports[each]}" for each in ports),
            "--allow-gpu-metrics=false", "--log-info=false"]


def repository(folder: Path) -> Path:
    """A model repository that holds version 1 of `model`."""
    version = folder / "models" / "model" / "1"
    version.mkdir(parents=True)
    # The Python that Triton embeds does not read PYTHONPATH.
    (version / "entry.py").write_text(f"import sys\nsys.path[:0] = {os.environ['PYTHONPATH'].split(':')}\n"
                                      "from served import TritonPythonModel as TritonPythonModel\n", "utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG.format(
        max_batch=int(os.environ["KNOB_MAX_BATCH"]), instances=int(os.environ["KNOB_WORKERS"]),
        delay_us=round(float(os.environ["KNOB_MAX_DELAY_MS"]) * 1e3)), "utf-8")
    return folder / "models"


def backends(folder: Path, wheel: Path) -> Path:
    """A backend directory that holds the Python backend with the stub of this Python's version."""
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    stub = wheel / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    for file in (*(wheel / "backends" / "python").iterdir(), *stub.iterdir()):
        (python / file.name).symlink_to(file)
    return folder / "backends"


def environment(wheel: Path) -> dict[str, str]:
    """Where Triton and its instances find their libraries. This interpreter's libpython comes first: the system's may
    be of another 3.x.y than the modules that it would load."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(wheel.parents[1] / "nvidia_pytriton.libs"),
                 *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)}


if __name__ == "__main__":
    sys.exit(main())
