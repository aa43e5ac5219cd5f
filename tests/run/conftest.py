"""A bench, the toys' catalog, and a way to run one cell of it for real."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.catalog.discover import Catalog
from harness.plan.attempt import Attempt
from harness.plan.expand import resolve_knobs
from harness.record.read import StoredRun, open_run
from harness.record.schema import RunMeta
from harness.run.bench import Bench, this_bench
from harness.run.cell import Progress
from harness.run.locks import ENVIRONMENT as LOCK
from harness.run.race import race

TOYS = Path(__file__).parents[1] / "toys"


class Watcher:
    """Keeps what a race tells its observer."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seen: list[Progress] = []
        self.metas: list[RunMeta] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def started(self, attempt: Attempt, upcoming: Attempt | None) -> None:
        self.said.append(f"{attempt.setup.name} then {upcoming.setup.name if upcoming else 'nothing'}")

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def finished(self, _attempt: Attempt, meta: RunMeta) -> None:
        self.metas.append(meta)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache and a lock of this test session's own, so that a harness at work elsewhere is not in the way."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILRACE_CACHE", str(folder))
        patch.setenv(LOCK, f"tests-{os.getpid()}")
        yield folder


@pytest.fixture
def scratch_parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's scratch folders go, and nobody else's; its path is short."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """This machine, with results of the test's own."""
    return this_bench(Catalog(TOYS), tmp_path / "results")


@pytest.fixture
def attempt() -> Callable[[str], Attempt]:
    """A function from a toy's name to its attempt at two seconds of little load."""
    def make(name: str) -> Attempt:
        catalog = Catalog(TOYS)
        setup = catalog.setup(name)
        return Attempt("toys", "calm", setup, catalog.workload("echo"), catalog.scenario("brief").resolved(1), 1.0,
                       resolve_knobs(setup, {}, 1), seed=11)

    return make


@pytest.fixture
def watcher() -> Watcher:
    """An observer that keeps everything."""
    return Watcher()


@pytest.fixture
def run_toy(bench: Bench, attempt: Callable[[str], Attempt], watcher: Watcher) -> Callable[[str], StoredRun]:
    """A function from a toy's name to the record of its run."""
    def run(name: str) -> StoredRun:
        [run_id] = race([attempt(name)], bench, watcher)
        return open_run(bench.folder / run_id)

    return run
