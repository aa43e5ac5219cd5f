"""Where runs are made and with what: the same for every run of a race."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.catalog.discover import Catalog
from harness.run.cores import Cores, split
from harness.run.machine import Machine, this_machine
from harness.run.provenance import git_state, harness_hash

if TYPE_CHECKING:
    from harness.plan.attempt import Attempt
    from harness.run.live_rows import Sitting


@dataclass(frozen=True)
class Bench:
    """`results` is the root of all machines' results. `judged_per_run` is about how many answers of a run are judged.
    `realtime` asks for real-time priority for the generators, which they use where the kernel allows it. `web_port`
    opens Locust's own page there. `judge` says who looks at an attempt's rows while it runs, and may stop it."""

    results: Path
    machine: Machine
    cores: Cores
    git: dict[str, Any] = field(default_factory=dict)
    harness_hash: str = ""
    judged_per_run: int = 200
    realtime: bool = True
    web_port: int | None = None
    judge: "Callable[[Attempt], Sitting | None]" = lambda _attempt: None

    @property
    def folder(self) -> Path:
        """Where this machine's runs go."""
        return self.results / self.machine.id


def this_bench(catalog: Catalog, results: Path, web_port: int | None = None) -> Bench:
    """The bench that this machine is, for runs of `catalog`'s setups."""
    return Bench(results=results.resolve(), machine=this_machine(),
                 cores=split(os.sched_getaffinity(0)), git=git_state(catalog.root), harness_hash=harness_hash(),
                 web_port=web_port)
