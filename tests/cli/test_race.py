"""What a race is refused before it measures, and what it leaves out when it resumes."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.catalog.discover import Catalog
from harness.cli.ask import asked_plan
from harness.cli.kept import kept_first, measured
from harness.cli.race import Asked, How, race, refuse_page
from harness.errors import UsageError
from harness.plan.attempt import Attempt
from harness.plan.expand import expand, missing
from harness.record.read import StoredRun, find_runs
from harness.record.schema import Status
from harness.record.write import RunWriter, write_machine
from harness.run.bench import Bench, this_bench
from harness.run.cell import Outcome
from harness.run.provenance import content, describe

ROOT = Path(__file__).resolve().parents[2]
HOW = How(resume=False, dry_run=False, gate=False, web_port=None, prices=[], json=False)


def asked(plan: str | None = "race", setups: list[str] | None = None, workloads: list[str] | None = None,
          baseline: str | None = None) -> Asked:
    return Asked(plan, setups or [], workloads or [], None, [], {}, None, None, baseline, [], None, 10)


@pytest.mark.parametrize(("what", "how", "said"), [
    (asked(), replace(HOW, prices=["flask=cheap"]), "write SETUP=USD/h"),
    (asked(), replace(HOW, prices=["flsk=1/h"]), "did you mean 'flask'"),
    (asked(baseline="flsk"), HOW, "plan race does not race the baseline 'flsk'; did you mean 'flask'"),
    (asked(None, ["fastapi"], ["embed"], "flask"), HOW, "this race does not race the baseline 'flask'"),
])
def test_what_cannot_be_is_refused_before_anything_runs(what: Asked, how: How, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        race(what, tmp_path / "results", how)
    assert said in str(refused.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("price", ["flask=0.3/h", "flask (gpu)=7", "redis-batching=0.3/h"])
def test_a_planned_setup_has_a_price_whether_or_not_it_can_run_here(price: str, tmp_path: Path) -> None:
    assert race(asked(setups=["flask"]), tmp_path, replace(HOW, prices=[price], dry_run=True)) == 0


def test_a_page_is_refused_for_what_it_would_not_show() -> None:
    catalog = Catalog(ROOT / "tests" / "toys")
    attempts = expand(asked_plan(catalog, ["calm"], ["echo"], "brief", [], {}), catalog, 1)
    refuse_page(attempts)
    grpc = attempts[0].setup.model_copy(update={"protocol": "oip-grpc"})
    with pytest.raises(UsageError, match="--web: calm is loaded over gRPC"):
        refuse_page([replace(attempts[0], setup=grpc)])


def test_resuming_asks_again_for_what_was_skipped(tmp_path: Path) -> None:
    catalog = Catalog(ROOT / "tests" / "toys")
    bench = this_bench(catalog, tmp_path)
    attempts = expand(asked_plan(catalog, ["calm"], ["echo"], "brief", [], {}, repetitions=3), catalog, 1)
    write_machine(bench.results, bench.machine.id, {})
    for attempt, status in zip(attempts, ("ok", "skipped", "failed"), strict=True):
        record(attempt, bench, status)
    left = missing(attempts, measured(bench.folder), content)
    assert [attempt.repetition for attempt in left] == [1, 2]


def test_a_search_that_goes_on_takes_what_was_measured_once_each_and_then_measures(tmp_path: Path) -> None:
    catalog = Catalog(ROOT / "tests" / "toys")
    bench = this_bench(catalog, tmp_path)
    first, second = expand(asked_plan(catalog, ["calm"], ["echo"], "brief", [], {}, repetitions=2), catalog, 1)
    write_machine(bench.results, bench.machine.id, {})
    for status in ("ok", "void", "ok"):
        record(first, bench, status)
    kept = {run.folder.name for run in find_runs(bench.folder).runs if run.meta.status == "ok"}

    def run(attempt: Attempt, _upcoming: Attempt | None) -> StoredRun:
        record(attempt, bench, "ok")
        return max(find_runs(bench.folder).runs, key=lambda each: each.folder.name)

    resumed = kept_first(run, bench.folder)
    given = [resumed(attempt, None) for attempt in (first, second, first, first)]
    assert {given[0].folder.name, given[2].folder.name} == kept
    assert [each.meta.repetition for each in given] == [0, 1, 0, 0]
    assert len({each.folder for each in given}) == 4


def record(attempt: Attempt, bench: Bench, status: Status) -> None:
    with RunWriter(bench.folder, setup="calm", workload="echo", scenario="brief",
                   repetition=attempt.repetition) as writer:
        writer.finish(describe(attempt, bench, writer, Outcome(status, "why")))
