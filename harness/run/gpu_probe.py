"""Looks at the GPU a few times a second, in a process of its own: NVML may fail or hang without hurting a run.

Run as `python -m harness.run.gpu_probe SPEC.json` with `warden` (what descends from it is the server's), `before` (pids
that were on the GPU before the server was started), `own` (CPUs to run on), `interval_s`, `out`. Writes lines as
probe_script.py does: scope `gpu` for the card, `server` for memory of the server's processes. Ends as that script does;
when NVML stops answering it writes a last line `gpu_lost`, whose name says why, and ends.
"""

import collections
import json
import math
import os
import select
import sys
import time
from collections.abc import Collection
from typing import IO, Any

from harness.run.gpu import NoGpuError, figures, opened, processes, strangers
from harness.run.probe_script import family
from harness.run.probe_script import processes as running

_LONGEST = 160


def main() -> None:
    """Probes until told to end, or until the GPU is lost."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 -- pathlib takes longer to import than to run this
        spec = json.load(file)
    os.sched_setaffinity(0, spec["own"])
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # the generator on the same CPU always goes first
    with open(spec["out"], "w", encoding="utf-8") as out:  # noqa: PTH123 -- as above
        try:
            with opened() as (nvml, handle):
                watch(spec, out, nvml, handle)
        except (NoGpuError, OSError) as error:
            lost(out, error)


def watch(spec: dict[str, Any], out: IO[str], nvml: Any, handle: Any) -> None:
    """Looks every `interval_s` until a line `end` or the end of input comes, or until nothing is told any more."""
    due = time.monotonic()
    ending = False
    while not ending:
        try:
            out.writelines(lines(spec, nvml, handle))
        except nvml.NVMLError as error:
            return lost(out, error)
        out.flush()
        due += spec["interval_s"]
        while due <= time.monotonic():
            due += spec["interval_s"]
        if select.select([0], [], [], due - time.monotonic())[0]:
            ending = True
            if os.read(0, 16).startswith(b"end"):
                out.writelines(lines(spec, nvml, handle))
    return None


def lines(spec: dict[str, Any], nvml: Any, handle: Any) -> list[str]:
    """One moment's lines. Raises NVMLError when the card tells nothing."""
    now = time.monotonic_ns()
    told = [line(now, "gpu", 0, "", metric, value) for metric, value in figures(nvml, handle).items()]
    try:
        listed = processes(nvml, handle)
    except nvml.NVMLError:
        return told
    names = descendants(spec["warden"])
    others = strangers(listed, names, spec["before"])
    told.append(line(now, "gpu", 0, "", "gpu_strangers", len(others)))
    return told + [line(now, "server", pid, names[pid], "gpu_mem_mb", mb) for pid, mb in listed.items()
                   if pid in names and math.isfinite(mb)]


def descendants(pid: int) -> dict[int, str]:
    """pid -> name of everything that descends from a process."""
    stats = running()
    children: dict[int, list[int]] = collections.defaultdict(list)
    for each, (_, parent, _, _) in stats.items():
        children[parent].append(each)
    found: Collection[int] = family(list(children[pid]), children)
    return {each: stats[each][0] for each in found if each in stats}


def line(t_ns: int, scope: str, pid: int, name: str, metric: str, value: float) -> str:
    """A line of the probes' file."""
    return f"{t_ns}\t{scope}\t{pid}\t{name}\t{metric}\t{value:.6f}\n"


def lost(out: IO[str], error: Exception) -> None:
    """Says when and why the GPU no longer tells anything."""
    why = " ".join(str(error).split())[:_LONGEST]
    out.write(line(time.monotonic_ns(), "gpu", 0, why, "gpu_lost", 1.0))


if __name__ == "__main__":
    main()
