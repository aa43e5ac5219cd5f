"""How many replicas of a model one GPU has room for.

`python -m replica.room PROGRAM ARGUMENT...` becomes that program, with the number as one more argument.
"""

import os
import subprocess
import sys

MIB_PER_GB = 1e9 / 2**20


def replicas() -> int:
    """As many as KNOB_WORKERS asks for; on a GPU no more than its free memory holds at KNOB_REPLICA_GB each, and says
    so on standard error. A driver that cannot be asked leaves the number as it is."""
    asked = int(os.environ["KNOB_WORKERS"])
    if os.environ.get("DEVICE", "cpu") != "gpu":
        return asked
    told = _free_mib(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0])
    count = fitting(asked, told, float(os.environ["KNOB_REPLICA_GB"]))
    if count < asked:
        print(f"{count} workers instead of {asked}: the GPU's free memory holds no more", file=sys.stderr, flush=True)
    return count


def fitting(asked: int, told: str, each_gb: float) -> int:
    """`asked`, or what fits into the MiB that nvidia-smi told, one at least; `asked` when it told no number."""
    line = told.strip().partition("\n")[0]
    return max(1, min(asked, int(int(line) / MIB_PER_GB / each_gb))) if line.isdecimal() else asked


def _free_mib(gpu: str) -> str:
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run([*command, *(["-i", gpu] if gpu else [])], capture_output=True, text=True, timeout=10,
                              check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


if __name__ == "__main__":
    os.execvp(sys.argv[1], [*sys.argv[1:], str(replicas())])  # noqa: S606 no shell is meant
