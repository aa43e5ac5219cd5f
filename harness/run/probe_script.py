"""Looks at processes and the host a few times a second; standard library only.

Run as `python -I -S probe_script.py SPEC.json` with `roots` (scope -> list of pids; they and their descendants are
looked at), `below` (the same without the pids themselves), `cpus` (scope -> list of CPU numbers), `own` (CPUs to run
on), `interval_s`, `out`. Writes tab-separated lines `t_ns` (CLOCK_MONOTONIC), `scope`, `pid`, `name`, `metric`,
`value`. A line `end` on standard input makes it look once more, at shared memory too, and end; so does the end of
input, without looking.
"""

import collections
import json
import os
import select
import sys
import time
from typing import IO, Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Probes until told to end."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 -- pathlib takes longer to import than to run this
        spec = json.load(file)
    os.sched_setaffinity(0, spec["own"])
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # the generator on the same CPU always goes first
    due = time.monotonic()
    with open(spec["out"], "w", encoding="utf-8") as out:  # noqa: PTH123 -- as above
        while True:
            look(spec, out, shared=False)
            due += spec["interval_s"]
            while due <= time.monotonic():
                due += spec["interval_s"]
            if select.select([0], [], [], due - time.monotonic())[0]:
                if os.read(0, 16).startswith(b"end"):
                    look(spec, out, shared=True)
                return


def look(spec: dict[str, Any], out: IO[str], shared: bool) -> None:
    """Writes one moment's lines; `shared` adds the proportional set size, which costs the kernel a walk over pages."""
    now = time.monotonic_ns()
    stats = processes()
    children = collections.defaultdict(list)
    for pid, (_, parent, _, _) in stats.items():
        children[parent].append(pid)
    starts = dict(spec["roots"])
    starts.update((scope, [child for pid in pids for child in children[pid]]) for scope, pids in spec["below"].items())
    for scope, todo in starts.items():
        for pid in family(todo, children):
            if pid not in stats:
                continue
            name, _, cpu_s, rss_mb = stats[pid]
            figures = {"cpu_s": cpu_s, "rss_mb": rss_mb, "pss_mb": pss_mb(pid) if shared else None,
                       "outside_cpus": outside(pid, set(spec["cpus"][scope]), shared)}
            out.writelines(f"{now}\t{scope}\t{pid}\t{name}\t{metric}\t{value:.3f}\n"
                           for metric, value in figures.items() if value is not None)
    for scope, metric, value in host(spec["cpus"]):
        out.write(f"{now}\t{scope}\t0\t\t{metric}\t{value:.6f}\n")
    out.flush()


def outside(pid: int, cpus: set[int], threads: bool) -> int | None:
    """How many CPUs the process may use that are not its own, with `threads` the most of any of its threads; None when
    it has gone."""
    try:
        tasks = [int(name) for name in os.listdir(f"/proc/{pid}/task")] if threads else [pid]  # noqa: PTH208 -- as below
        return max(len(os.sched_getaffinity(task) - cpus) for task in tasks)
    except (OSError, ValueError):
        return None


def family(pids: list[int], children: dict[int, list[int]]) -> list[int]:
    """The pids and all that descend from them."""
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


def processes() -> dict[int, tuple[str, int, float, float]]:
    """pid -> (name, parent, CPU seconds so far, resident MB) of every process."""
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 -- this runs beside a measurement
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb", 0) as file:  # noqa: PTH123 -- as above
                head, _, rest = file.read().rpartition(b")")
        except OSError:
            continue
        fields = rest.split()
        name = head.partition(b"(")[2].decode(errors="replace").translate({9: " ", 10: " "})
        found[int(entry)] = (name, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS,
                             int(fields[21]) * PAGE_MB)
    return found


def host(cpus: dict[str, list[int]]) -> list[tuple[str, str, float]]:
    """(scope, metric, value): seconds so far in which each scope's CPUs were busy or stolen, of them all; seconds so
    far in which some task of the host waited for cpu, memory or io (pressure stall information)."""
    rows = []
    busy, stolen = {}, {}
    with open("/proc/stat", "rb", 0) as file:  # noqa: PTH123 -- as above
        for line in file.read().split(b"\n"):
            words = line.split()
            if words and words[0].startswith(b"cpu") and words[0] != b"cpu":
                ticks = [int(word) for word in words[1:9]]
                number = int(words[0][3:])
                busy[number] = (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / TICKS
                stolen[number] = ticks[7] / TICKS
    for scope, numbers in cpus.items():
        rows.append((scope, "cores_busy_s", sum(busy.get(number, 0.0) for number in numbers)))
        rows.append((scope, "cores_stolen_s", sum(stolen.get(number, 0.0) for number in numbers)))
    for kind in ("cpu", "memory", "io"):
        try:
            with open(f"/proc/pressure/{kind}", "rb", 0) as file:  # noqa: PTH123 -- as above
                total = file.read().split(b"\n")[0].rpartition(b"total=")[2]
        except OSError:
            continue
        rows.append(("host", f"pressure_{kind}_s", int(total) / 1e6))
    return rows + kept_back()


def kept_back() -> list[tuple[str, str, float]]:
    """Seconds so far in which this control group was out of its share of CPU, and pages moved to or from swap."""
    rows = []
    for path, word, unit in (("/sys/fs/cgroup/cpu.stat", b"throttled_usec", 1e6),
                             ("/sys/fs/cgroup/cpu/cpu.stat", b"throttled_time", 1e9)):
        told = named(path).get(word)
        if told is not None:
            rows.append(("host", "throttled_s", told / unit))
            break
    pages = named("/proc/vmstat")
    if b"pswpin" in pages and b"pswpout" in pages:
        rows.append(("host", "swapped_pages", float(pages[b"pswpin"] + pages[b"pswpout"])))
    return rows


def named(path: str) -> dict[bytes, int]:
    """The numbers of a file of lines `name number`; none where there is no such file."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123 -- as above
            words = [line.split() for line in file.read().split(b"\n")]
    except OSError:
        return {}
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def pss_mb(pid: int) -> float | None:
    """Memory in MB with shared pages counted by share; None where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb", 0) as file:  # noqa: PTH123 -- as above
            for line in file.read().split(b"\n"):
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        return None
    return None


if __name__ == "__main__":
    main()
