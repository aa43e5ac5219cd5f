"""Which CPUs belong to the server and which to the load, so that neither takes the other's time."""

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """CPU numbers. With one CPU in all both share it, and such a run is invalid."""

    server: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether server and load are on the same CPU."""
        return bool(set(self.server) & set(self.load))


def split(usable: Iterable[int] | None = None) -> Cores:
    """The last max(1, n // 4) of the CPUs this process may use (or of `usable`) for the load, the rest for the
    server."""
    cpus = sorted(os.sched_getaffinity(0) if usable is None else set(usable))
    if len(cpus) == 1:
        return Cores(tuple(cpus), tuple(cpus))
    load = max(1, len(cpus) // 4)
    return Cores(tuple(cpus[:-load]), tuple(cpus[-load:]))
