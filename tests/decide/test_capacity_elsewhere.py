"""A capacity at a promise that it was not searched for: what a closed form says, and nothing where probes are gone."""

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from harness.catalog.slo import parse_promise
from harness.decide.bill_question import Question
from harness.decide.capacity import Probe
from harness.decide.capacity_elsewhere import refit, share_within
from harness.decide.choice_answer import Answer, Wishes, answered
from harness.decide.choice_grid import counted
from harness.decide.twin import Clients, Service, Structure, Twin, play, poisson_s
from harness.decide.twin_seen import Seen
from harness.record.capacity import Capacity, Rate, write_capacity
from harness.record.read import find_runs
from tests.decide.published import linked

pytestmark = pytest.mark.simulated

SERVICE_S = 0.005


@pytest.fixture(scope="module")
def exponential() -> list[Seen]:
    """Probes of an M/M/1 server: light, a burst, and two loads."""
    noise = np.random.default_rng(3).standard_exponential((2, 50_000))
    noise /= noise.mean(axis=1, keepdims=True)
    server = Twin(Structure(), Service(np.array([0.0, SERVICE_S]), np.ones(2), noise, np.zeros(1)),
                  Clients(timeout_s=30.0))
    found = []
    for seed, probe in enumerate((Probe("light", 20, 20, 1), Probe("burst", 500, 7, 2), Probe("load", 130, 80, 3),
                                  Probe("load", 150, 80, 4))):
        due = poisson_s(probe.rate, int(probe.requests), seed + 30)
        seen = play(server, due, seed + 60)
        found.append(Seen(f"run-{seed}", probe.rate, due, seen.latency_s, np.ones(len(due), dtype=bool), seen.batch,
                          seen.served_s, seen.served_s + seen.queue_s))
    return found


def ends_at(limit_s: float) -> float:
    """M/M/1: p99 = ln(100) / (µ − λ)."""
    return 1 / SERVICE_S - math.log(100) / limit_s


def test_an_exponential_server_carries_what_the_closed_form_says_at_other_promises(exponential: list[Seen]) -> None:
    promise = (parse_promise("p(99)", "< 100ms"),)
    fit = refit(exponential, Structure(), Clients(timeout_s=30.0), promise, ends_at(0.1))
    assert fit is not None
    for limit_ms in (50, 75, 200):
        share = share_within(fit, {"p(99)": f"< {limit_ms}ms"})
        assert share == pytest.approx(ends_at(limit_ms / 1e3) / ends_at(0.1), rel=0.05)
    assert share_within(fit, {"p(99)": "< 2ms"}) == 0, "a hundredth of lone requests takes 23 ms"
    assert share_within(replace(fit, most=1.0), {"p(99)": "< 200ms"}) == 1.0, "no more than was ever answered"


def test_a_twin_that_says_another_capacity_than_was_found_is_not_asked(exponential: list[Seen]) -> None:
    promise = (parse_promise("p(99)", "< 100ms"),)
    assert refit(exponential, Structure(), Clients(timeout_s=30.0), promise, 1.5 * ends_at(0.1)) is None


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published fraud runs of two setups, and for each a capacity that rests on its own."""
    folder = tmp_path_factory.mktemp("results")
    machine = linked(folder)
    for setup, rate in (("flask", 3200.0), ("fastapi", 4500.0)):
        runs = [run for run in find_runs(folder).runs if run.meta.setup == setup]
        meta = runs[0].meta
        write_capacity(machine, Capacity(
            f"20270101T000000.000Z-{setup}-fraud", setup, "fraud", "p(99)<25ms", Rate(rate, 0.97 * rate, 1.03 * rate),
            tuple(run.meta.run_id for run in runs), "latency", "smooth", meta.machine_id, replica_cpus=3,
            knobs=meta.knobs))
    return folder


def decided(results: Path) -> Answer:
    question = Question("fraud", ["p(99)<25ms"], "40000", ["flask", "fastapi"], "", results, ["flask=0.2/h",
                        "fastapi=0.2/h"], [], [], [], None)
    return answered(question, Wishes("", "", 0.05, 0.05), date(2026, 11, 24))


def test_promises_not_searched_for_are_predicted_while_the_probes_are_there(results: Path) -> None:
    answer = decided(results)
    assert [case.predicted for case in answer.cases] == [case.promise != 1.0 for case in answer.cases]
    assert all(case.known for case in answer.cases)
    assert counted(answer.cases).startswith("27 cases that the records can tell, 18 of them predicted by a twin")
    assert {case.named for case in answer.cases if case.price == 1.0} == {answer.choice.named}


def test_promises_are_not_searched_where_a_probe_is_gone(results: Path, tmp_path: Path) -> None:
    (machine,) = results.iterdir()
    (tmp_path / machine.name / "capacity").mkdir(parents=True)
    for path in machine.iterdir():
        if path.is_file() or path.name.startswith("2026"):
            (tmp_path / machine.name / path.name).symlink_to(path.resolve())
    for path in (machine / "capacity").iterdir():
        table = json.loads(path.read_text())
        table["run_ids"][0] = "gone"
        (tmp_path / machine.name / "capacity" / path.name).write_text(json.dumps(table))
    answer = decided(tmp_path)
    assert [case.known for case in answer.cases] == [case.promise == 1.0 for case in answer.cases]
    assert not any(case.predicted for case in answer.cases)
    assert counted(answer.cases) == "9 cases that the records can tell"
