"""Probes beside a run: who used how much CPU and memory, and whether the host was under pressure.

Recorded per process of the scopes `server` and `load`: `cpu_s` (CPU seconds so far), `rss_mb`, and once at the end
`pss_mb`, and `outside_cpus` (how many CPUs it may use that are not its scope's). Per scope, pid 0: `cores_busy_s` and
`cores_stolen_s` (seconds so far, summed over the scope's CPUs). Scope `host`:
`pressure_cpu_s`, `pressure_memory_s`, `pressure_io_s` (seconds so far in which some task waited),
`throttled_s` (seconds so far without CPU for a quota's sake), `swapped_pages` (so far, both ways).
Of a run on a GPU, scope `gpu`, pid 0: what `harness.run.gpu.figures` tells, `gpu_strangers` (processes on the card that
are not the server's) and, should it fail, `gpu_lost`; per process of the server `gpu_mem_mb`.
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
from harness.run.gpu import CHOSEN, LIBRARIES

INTERVAL_S = 0.25
_SCRIPT = Path(__file__).with_name("probe_script.py")
_GPU = "harness.run.gpu_probe"
_END_S = 10.0


class Probes:
    """Probes while it is open; a context manager. They run in idle-priority processes on the load's CPUs, the GPU's in
    one of its own.

    Looked at are what descends from `warden`, as scope `server`, and `generators` as scope `load`; `scratch` takes
    their files. `on_gpu` are the pids on the GPU before the server was started; None: none is looked at.
    """

    def __init__(self, warden: int, generators: Sequence[int], cores: Cores, scratch: Path,
                 on_gpu: Sequence[int] | None = None) -> None:
        usual = {"own": cores.load, "interval_s": INTERVAL_S}
        self._looks = [_Look(scratch / "probes", ["-I", "-S", str(_SCRIPT)], {}, {
            "roots": {"load": list(generators)}, "below": {"server": [warden]},
            "cpus": {"server": cores.server, "load": cores.load}, **usual})]
        if on_gpu is not None:
            told = {name: os.environ[name] for name in (CHOSEN, LIBRARIES) if name in os.environ}
            self._looks.append(_Look(scratch / "gpu", ["-m", _GPU], told, {
                "warden": warden, "before": list(on_gpu), **usual}))

    def __enter__(self) -> Self:
        for look in self._looks:
            look.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for look in self._looks:
            look.end(b"")

    def finish(self, t0_ns: int) -> list[Probe]:
        """Looks a last time, ends, and tells everything seen, times counted from `t0_ns`."""
        for look in self._looks:
            look.end(b"end\n")
        lines = [line for look in self._looks for line in look.lines()]
        return [_probe(line.split("\t"), t0_ns) for line in lines if line.count("\t") == len(Probe._fields) - 1]


class _Look:
    """A process that looks and writes what it sees to `<prefix>.tsv`, told by `<prefix>.json`."""

    def __init__(self, prefix: Path, words: Sequence[str], env: dict[str, str], spec: dict[str, object]) -> None:
        self._words, self._env = words, env
        self._out, self._spec = prefix.with_suffix(".tsv"), prefix.with_suffix(".json")
        self._spec.write_text(json.dumps({**spec, "out": str(self._out)}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._process = subprocess.Popen([sys.executable, *self._words, str(self._spec)], stdin=subprocess.PIPE,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                         env=self._env)

    def lines(self) -> list[str]:
        """What was seen."""
        return self._out.read_text(encoding="utf-8").splitlines() if self._out.is_file() else []

    def end(self, word: bytes) -> None:
        """Ends it, after a last look where `word` says so; one that hangs is killed."""
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
