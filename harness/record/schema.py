"""What a run leaves on disk: the columns of requests.parquet and the fields of run.json."""

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.catalog.device import arm

SCHEMA = 4

# Times are ns of this machine's monotonic clock since the run's t0 (the first counted due time is >= 0; warm-up is
# negative); ABSENT where a thing never happened. latency = done − due, service = done − sent, lag = sent − due.
ABSENT = -(1 << 62)

COLUMNS: dict[str, str] = {
    "seq": "int32",            # position in the schedule; every one from 0 to n−1 exactly once
    "stage": "int8",           # index of the scenario's stage; −1 is warm-up and never counted
    "due_ns": "int64",         # when the schedule wanted it sent
    "sent_ns": "int64",        # when the send call was made
    "connected_ns": "int64",   # when a cold connection first took bytes; ABSENT where it was open, or never opened
    "written_ns": "int64",     # when the last of several send calls took its rest; ABSENT where the first took all
    "first_byte_ns": "int64",  # kernel's receive stamp of the first bytes where it gives one, else when they were read
    "done_ns": "int64",        # when the whole answer was read, or the request was given up
    "status": "int16",         # HTTP status; 0 when there was no answer
    "error": "string",         # "" | timeout | refused | reset | malformed | unsent | aborted
    "bytes": "int32",          # body bytes of the answer
    "batch": "int16",          # size of the batch it was served in; 0 when the setup does not tell
    "queue_us": "int32",       # told by the setup's Server-Timing header; −1 when not told
    "wait_us": "int32",        # waiting for the batch to fill
    "model_us": "int32",
    "gc_us": "int32",          # the server's garbage collector, within the other three
    "copy_us": "int32",        # to the GPU and back, within model_us; −1 when not told
    "kernel_us": "int32",      # the GPU's kernels, within model_us
    "cold": "bool",            # sent on a connection opened for it
    "judged": "int8",          # 0 not sampled, 1 right, 2 wrong
}

# Columns that a load may leave out and that an older schema did not know, and what stands in their place. Those of
# GPU_COLUMNS are in the file only where some answer tells them.
BLANK: dict[str, int] = {"connected_ns": ABSENT, "written_ns": ABSENT, "gc_us": -1, "copy_us": -1, "kernel_us": -1}
GPU_COLUMNS = ("copy_us", "kernel_us")

Status = Literal["ok", "void", "failed", "skipped"]


@dataclass(frozen=True)
class RunMeta:
    """run.json. `ok`: rows were measured; `void`: rows exist but the run was cut short; `failed`: a reason and perhaps
    rows; `skipped`: the machine or the engine lacks something, with the reason.

    `hashes` are content hashes of setup, workload, scenario, lock, harness; `facts` are figures of the run itself
    (start_s, seconds to the first right answer; env_bytes; t0_unix_ns; generator: cpu shares, processes, rows;
    golden results; payload pool; judged counts; probes' rate; gpu: the one computed on);
    `machine_id` points to machine.json; `device` is what the model computed on, cpu or gpu.
    """

    schema: int
    run_id: str
    status: Status
    reason: str
    setup: str
    workload: str
    scenario: str
    load: float
    repetition: int
    block: int
    order: int
    started_utc: str
    finished_utc: str
    machine_id: str
    plan: str
    baseline: str
    knobs: dict[str, Any]
    scenario_resolved: dict[str, Any]
    setup_facts: dict[str, Any]
    workload_facts: dict[str, Any]
    seeds: dict[str, int]
    server_cpus: list[int]
    load_cpus: list[int]
    hashes: dict[str, str]
    versions: dict[str, str]
    git: dict[str, Any]
    device: str = "cpu"
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # sha256 of every other file of the folder
    digest: str = ""  # of all the other fields (record/seal.py); "" where written with schema 3 or older

    @property
    def arm(self) -> str:
        """The setup and what it computed on, as comparisons call it."""
        return arm(self.setup, self.device)
