"""What machine this is: facts that timings depend on, and a name made from those that do not change.

No host name, user name or address is read.
"""

import ctypes.util
import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.record.schema import SCHEMA
from harness.run import docker, gpu
from harness.run.environments import lacking_packages

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_CPU = Path("/sys/devices/system/cpu/cpu0")


@dataclass(frozen=True)
class Machine:
    """`id` names its folder of results; it is the same after a reboot or an update."""

    id: str
    facts: dict[str, Any] = field(default_factory=dict)


def this_machine() -> Machine:
    """The machine this runs on. A fact the kernel does not tell is ""."""
    told = gpu.facts()
    lasting = {
        "architecture": platform.machine(), "cpu": cpu_model(), "cpus": len(os.sched_getaffinity(0)),
        "cpu_quota": _cpu_quota(), "caches": _caches(), "memory_gib": round(memory_bytes() / 2**30),
        "virtualisation": _virtualisation(), "gpus": told.get("names") or gpus(),
    }
    changing = {
        "cpus_in_all": os.cpu_count(), "governor": _text(_CPU / "cpufreq/scaling_governor"),
        "threads_per_core": _threads_per_core(), "kernel": platform.release(), "python": platform.python_version(),
        "libc": "-".join(platform.libc_ver()), "gpu": told,
    }
    digest = hashlib.sha256(repr(sorted(lasting.items())).encode()).hexdigest()[:6]
    words = re.sub(r"\(.*?\)|@.*| CPU| Processor|\d+-Core", "", str(lasting["cpu"]))
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or lasting["architecture"]
    name = f"{slug}-{lasting['cpus']}c-{lasting['memory_gib']}g-{digest}"
    return Machine(name, {"schema": SCHEMA, "id": name, **lasting, **changing})


def cpu_model() -> str:
    """The CPU as it calls itself."""
    match = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1].strip() if match else ""


def memory_bytes() -> int:
    """The memory this process may use: the machine's, or its control group's limit where that is lower."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    total = int(match[1]) * 1024 if match else 0
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _text(Path("/sys/fs/cgroup") / name)
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def gpus() -> list[str]:
    """NVIDIA GPUs that the kernel's driver knows."""
    texts = [_text(path) for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return [match[1].strip() for text in texts if (match := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]


def lacking(needs: dict[str, Any], folder: Path) -> str:
    """What this machine lacks of a setup's `needs`, as a sentence; "" when nothing. `folder` lies on the disk that
    would be used."""
    missing = [f"a GPU ({why})"] if needs.get("gpu") and (why := gpu.why_none()) else []
    missing += ["java"] if needs.get("java") and not shutil.which("java") else []
    missing += [f"docker ({why})"] if needs.get("docker") and (why := docker.why_none()) else []
    missing += [f"lib{_PYTHON}.so.1.0 (its package is often called lib{_PYTHON})"] if needs.get(
        "shared_python") and not _has_shared_python() else []
    missing += [f"the program {name}" for name in needs.get("programs", ()) if not program(name)]
    missing += [f"the package {each} (no index or wheel folder that uv is told of has it)"
                for each in lacking_packages(needs.get("packages", ()))]
    memory, disk = memory_bytes() / 2**30, shutil.disk_usage(folder).free / 2**30
    if needs.get("memory_gb", 0) > memory:
        missing.append(f"{needs['memory_gb']:g} GB of memory (it has {memory:.1f})")
    if needs.get("disk_gb", 0) > disk:
        missing.append(f"{needs['disk_gb']:g} GB of free disk (it has {disk:.1f})")
    return f"this machine lacks {', '.join(missing)}" if missing else ""


def program(name: str) -> str | None:
    """Where the program is, for a setup as for the harness."""
    return shutil.which(name, path=programs_path())


def programs_path() -> str:
    """PATH, and the folders of servers that Debian puts on root's alone."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"


def _has_shared_python() -> bool:
    """Whether an engine that embeds this Python's version can load it."""
    beside = Path(sysconfig.get_config_var("LIBDIR") or "/") / f"lib{_PYTHON}.so.1.0"
    return beside.exists() or ctypes.util.find_library(_PYTHON) is not None


def _cpu_quota() -> str:
    """CPUs' worth of time per second that a control group allows; "" when unlimited."""
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if not period:
        quota, period = (_text(Path("/sys/fs/cgroup/cpu") / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return f"{int(quota) / int(period):g}" if quota.isdigit() and period.isdigit() else ""


def _caches() -> dict[str, str]:
    found = {}
    for cache in sorted(_CPU.glob("cache/index*")):
        kind = _text(cache / "type")
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        found[f"L{_text(cache / 'level')}{suffix}"] = _text(cache / "size")
    return found


def _virtualisation() -> str:
    """The hypervisor's product name, `virtual` where only the CPU tells, "" on bare metal."""
    if not re.search(r"^flags\s*:.*\bhypervisor\b", _text(Path("/proc/cpuinfo")), re.MULTILINE):
        return ""
    return _text(Path("/sys/class/dmi/id/sys_vendor")) or _text(Path("/sys/hypervisor/type")) or "virtual"


def _threads_per_core() -> int:
    siblings = _text(_CPU / "topology/thread_siblings_list")
    return len(re.findall(r"\d+", siblings)) or 1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
