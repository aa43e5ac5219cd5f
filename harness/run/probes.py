"""Probes beside a run: who used how much CPU and memory, and whether the host was under pressure.

Recorded per process of the scopes `server` and `load`: `cpu_s` (CPU seconds so far), `rss_mb`, and once at the end
`pss_mb`, and `outside_cpus` (how many CPUs it may use that are not its scope's). Per scope, pid 0: `cores_busy_s` and
`cores_stolen_s` (seconds so far, summed over the scope's CPUs). Scope `host`:
`pressure_cpu_s`, `pressure_memory_s`, `pressure_io_s` (seconds so far in which some task waited),
`throttled_s` (seconds so far without CPU for a quota's sake), `swapped_pages` (so far, both ways).
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.record.write import Probe
from harness.run.cores import Cores

INTERVAL_S = 0.25
_SCRIPT = Path(__file__).with_name("probe_script.py")
_END_S = 10.0


class Probes:
    """Probes while it is open; a context manager. They run in an idle-priority process on the load's CPUs.

    Looked at are what descends from `warden`, as scope `server`, and `generators` as scope `load`; `scratch` takes
    their file.
    """

    def __init__(self, warden: int, generators: Sequence[int], cores: Cores, scratch: Path) -> None:
        self._out = scratch / "probes.tsv"
        self._spec = scratch / "probes.json"
        self._spec.write_text(json.dumps({
            "roots": {"load": list(generators)}, "below": {"server": [warden]}, "own": cores.load,
            "cpus": {"server": cores.server, "load": cores.load}, "interval_s": INTERVAL_S, "out": str(self._out)}))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, "-I", "-S", str(_SCRIPT), str(self._spec)],
                                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True, env={})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end(b"")

    def finish(self, t0_ns: int) -> list[Probe]:
        """Looks a last time, ends, and tells everything seen, times counted from `t0_ns`."""
        self._end(b"end\n")
        if not self._out.is_file():
            return []
        lines = self._out.read_text(encoding="utf-8").splitlines()
        return [_probe(line.split("\t"), t0_ns) for line in lines if line.count("\t") == len(Probe._fields) - 1]

    def _end(self, word: bytes) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        with contextlib.suppress(OSError):
            os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))  # nobody is measured any more
        with contextlib.suppress(OSError):
            process.stdin.write(word)
            process.stdin.close()
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _probe(fields: list[str], t0_ns: int) -> Probe:
    t_ns, scope, pid, name, metric, value = fields
    return Probe(int(t_ns) - t0_ns, scope, int(pid), name, metric, float(value))
