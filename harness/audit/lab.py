"""Where the audit's runs are made: the toys' catalog, a cache of its own, one short run at a time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import harness
from harness.catalog.discover import Catalog
from harness.catalog.scenario import Scenario, Stage
from harness.catalog.setup import Setup
from harness.errors import TailraceError
from harness.plan.attempt import Attempt
from harness.record.read import StoredRun, open_run
from harness.record.schema import RunMeta
from harness.run.bench import Bench, this_bench
from harness.run.cell import Progress
from harness.run.locks import ENVIRONMENT as LOCK
from harness.run.locks import only_harness
from harness.run.race import race

TOYS = Path(harness.__file__).parents[1] / "tests" / "toys"
RATE = 300.0
WINDOW_S = 1.5
POOL = 4096


class Silent:
    """An observer that tells nobody."""

    def say(self, message: str) -> None:
        """A line about preparation."""

    def started(self, attempt: Attempt, upcoming: Attempt | None) -> None:
        """A run begins."""

    def progress(self, progress: Progress) -> None:
        """The generators' latest word."""

    def finished(self, attempt: Attempt, meta: RunMeta) -> None:
        """A run left its record."""


@dataclass(frozen=True)
class Lab:
    """`bench` measures, `catalog` holds the toys, `scratch` is removed in the end."""

    bench: Bench
    catalog: Catalog
    scratch: Path

    def attempt(self, setup: str = "faulty", fault: str = "none", seed: int = 1) -> Attempt:
        """A short, steady, open load on a toy: 300 requests a second for 1.5 s after 0.2 s of warm-up."""
        found = self.catalog.setup(setup)
        workload = self.catalog.workload("echo").model_copy(update={"pool": POOL})
        knobs = {**found.knobs, **({"fault": fault} if "fault" in found.knobs else {})}
        return Attempt("audit", "", found, workload, steady(), 1.0, knobs, repetition=seed, seed=seed)

    def run(self, attempt: Attempt, beside: AbstractContextManager[None] | None = None,
            bench: Bench | None = None) -> StoredRun:
        """The record of one run, made while `beside` lasts."""
        bench = bench or self.bench
        with beside or nullcontext():
            [run_id] = race([attempt], bench, Silent())
        return open_run(bench.folder / run_id)


def steady(duration_s: float = WINDOW_S, rate: float = RATE, rate_end: float | None = None) -> Scenario:
    """The audit's load."""
    stage = Stage(arrivals="poisson", duration_s=duration_s, rate=rate, rate_end=rate_end)
    return Scenario(name="audit", title="A short steady load", question="Is it measured rightly?", seed=1,
                    warmup_s=0.2, timeout_s=2.0, stage=(stage,), slo={"p(99)": "< 500ms"})


def named(setup: Setup, name: str) -> Setup:
    """The setup under another name, as an arm of its own."""
    return setup.model_copy(update={"name": name})


@contextmanager
def lab() -> Iterator[Lab]:
    """A lab for as long as the context lasts; no other tailrace can measure meanwhile.

    Raises TailraceError where the toys are not there, or another tailrace is measuring.
    """
    if not (TOYS / "setups" / "faulty").is_dir():
        raise TailraceError(f"{TOYS}: the toys that the audit seeds faults with are not there",
                            "run it from a checkout of tailrace")
    with only_harness(), tempfile.TemporaryDirectory(prefix="tr-audit-") as folder:
        scratch = Path(folder)
        with _own_cache(scratch / "cache"):
            catalog = Catalog(TOYS)
            bench = this_bench(catalog, scratch / "results")
            yield Lab(replace(bench, judged_per_run=500), catalog, scratch)


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Environments are built below `folder`, so that spoiling one harms nobody, and races there lock each other out
    alone: the machine's lock is the lab's."""
    own = {"TAILRACE_CACHE": str(folder), LOCK: f"audit-{os.getpid()}"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
