"""Real servers, real pauses: what was done to them is what `explain` says of their slowest percent."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.explain import Explanation, explain
from harness.analyse.frames import read_view
from harness.audit.clean import disturbances
from harness.catalog.discover import Catalog
from harness.plan.attempt import Attempt
from harness.plan.expand import resolve_knobs
from harness.record.read import StoredRun, open_run
from harness.run.bench import Bench
from harness.run.cell import Progress
from harness.run.race import race
from harness.run.warden import descendants

pytestmark = pytest.mark.live

TOYS = Path(__file__).parents[1] / "toys"
SERVER, HOST = ("toy.tells_times",), ("toy.tells_times", "harness.load.generator", "hiccup.py")
STOP_S = 0.3
TRIES = 3
Tell = Callable[..., StoredRun]


class Stopper:
    """A race's observer that stops the processes whose command line has one of `words`, once, early in the load."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.stopped: list[int] = []

    def progress(self, progress: Progress) -> None:
        if progress.t_s < 0.4 or self.stopped or not self.words:
            return
        self.stopped = [pid for pid in descendants() if any(word in command(pid) for word in self.words)]
        try:
            for pid in self.stopped:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(STOP_S)
        finally:
            for pid in self.stopped:
                os.kill(pid, signal.SIGCONT)

    def say(self, message: str) -> None: ...

    def started(self, attempt: Attempt, upcoming: Attempt | None) -> None: ...

    def finished(self, attempt: Attempt, meta: Any) -> None: ...


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def tell(bench: Bench, scratch_parent: Path) -> Tell:
    """Runs the toy `tells` (or another) for 2.4 s and gives its record."""
    def run(habit: str = "none", stop: tuple[str, ...] = (), toy: str = "tells", profile: str = "default",
            **stage: Any) -> StoredRun:
        catalog = Catalog(TOYS)
        setup, scenario = catalog.setup(toy), catalog.scenario("brief").resolved(1)
        first = scenario.stage[0].model_copy(update={"arrivals": "poisson", "rate": 120.0, "duration_s": 2.4, **stage})
        attempt = Attempt("toys", "", setup, catalog.workload("echo"),
                          scenario.model_copy(update={"stage": (first,), "profile": profile}), 1.0,
                          resolve_knobs(setup, {"habit": habit} if toy == "tells" else {}, 1), seed=11)
        watcher = Stopper(stop)
        [run_id] = race([attempt], bench, watcher)
        assert bool(watcher.stopped) == bool(stop)
        return open_run(bench.folder / run_id)

    return run


def dominated(cause: str, tell: Tell, **done: Any) -> Explanation:
    """What explains such a run, whose greatest cause must be this one.

    The slowest percent is three requests: a pause of a shared machine outweighs what was done here. Where the gauges
    beside the run tell of one, it is measured again, twice at most.
    """
    for _ in range(TRIES):
        run = tell(**done)
        assert (run.meta.status, run.meta.reason) == ("ok", "")
        found = explain(run)
        if found.shares.get(cause, 0) > 0.5 or not disturbances(read_view(run)):
            break
    assert next(iter(found.shares)) == cause, found
    assert found.shares[cause] > 0.5, found.shares
    assert found.examples[0].cause == cause
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.sums > 0.98, found.sums
    return found


def test_a_batch_that_waits_for_company(tell: Tell) -> None:
    found = dominated("batch", tell, habit="waits")
    assert found.examples[0].parts_ms["wait"] > 90


def test_a_garbage_collection(tell: Tell) -> None:
    found = dominated("collection", tell, habit="collects")
    assert max(example.parts_ms["gc"] for example in found.examples) > 90


def test_connections_that_do_not_last(tell: Tell) -> None:
    found = dominated("cold", tell, habit="closes")
    assert found.examples[0].parts_ms["respond"] > 80


def test_an_answer_in_two_halves(tell: Tell) -> None:
    found = dominated("network", tell, habit="trickles")
    assert found.examples[0].parts_ms["receive"] > 90


def test_long_inputs(tell: Tell, bench: Bench) -> None:
    found = dominated("long_input", tell, profile="long")
    sizes = open_run(bench.folder / found.run_id).payload_bytes()
    assert sorted(set((sizes // 10_000).tolist())) == [0, 2]


def test_bursts(tell: Tell) -> None:
    dominated("burst", tell, arrivals="burst", burst=40)


def test_more_load_than_it_can_serve(tell: Tell) -> None:
    dominated("capacity", tell, arrivals="constant", rate=600.0)


def test_a_server_that_is_stopped(tell: Tell) -> None:
    found = dominated("server_pause", tell, stop=SERVER)
    assert found.pauses["server"][1] == pytest.approx(1e3 * STOP_S, rel=0.3)


def test_a_server_that_stalls_and_tells_nothing_true(tell: Tell) -> None:
    found = dominated("server_pause", tell, toy="stalls", rate=100.0)
    assert any("tells no times of its own that can be believed" in line for line in found.cannot)


def test_a_host_that_is_stopped(tell: Tell) -> None:
    found = dominated("host_pause", tell, stop=HOST)
    assert found.pauses["host"][1] > 0.8e3 * STOP_S
