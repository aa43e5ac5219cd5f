"""Two machines, or CPU and GPU, beside each other: what is compared, how, and what is said to be missing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.analyse.model import Analysis, Cell, Interval, PromiseVerdict, RunSummary
from harness.analyse.sides import alone, faced, sides, unpaired

NONE = Interval(math.nan, math.nan, math.nan)
PROMISE = "p(99) < 100ms"


def cell(setup: str, goodput: list[float], *, device: str = "cpu", load: float = 1.0, offered: float = 100.0,
         verdict: str = "pass", p99_ms: float = 20.0, schedules: bool = True, workload: str = "embed",
         promise: str = PROMISE) -> Cell:
    runs = tuple(RunSummary(f"{setup}{load}{i}", i, "ok", "", (), 1000, offered, value, value, 0.0,
                            {0.5: 5.0, 0.99: p99_ms * (1 + 0.01 * i)}, schedule=f"{load}-{i}" if schedules else "")
                 for i, value in enumerate(goodput))
    mean = float(np.mean(goodput))
    said = PromiseVerdict(promise, verdict, NONE, 100.0, "")  # type: ignore[arg-type]
    return Cell(setup, workload, "steady", load, offered, False, runs, {0.99: Interval(p99_ms, p99_ms, p99_ms)},
                Interval(mean, mean, mean), NONE, 0.0, verdict, "", (said,), {}, {}, 2.0, 100.0, 1.0,  # type: ignore[arg-type]
                None, device=device)


def analysis(machine: str, *cells: Cell, **more: object) -> Analysis:
    facts: dict[str, object] = {"machine_id": machine, "cpu": f"CPU {machine}", "cpus": 4, "gpus": ["NVIDIA H100"]}
    return replace(Analysis("p", "", "", facts, cells, (), {}, {}, ""), **more)  # type: ignore[arg-type]


def test_two_groups_are_compared_as_welch_does() -> None:
    rng = np.random.default_rng(3)
    for n, m in ((5, 5), (3, 9), (2, 4)):
        one, other = rng.lognormal(1.0, 0.2, n), rng.lognormal(0.8, 0.05, m)
        ratio, p, detectable, freedom = unpaired(list(one), list(other))
        oracle = stats.ttest_ind(np.log(one), np.log(other), equal_var=False)
        interval = oracle.confidence_interval(0.95)
        assert p == pytest.approx(oracle.pvalue)
        assert freedom == pytest.approx(oracle.df)
        assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((interval.low, interval.high))
        assert detectable > 1


def test_groups_that_do_not_vary_are_equal_or_not() -> None:
    assert unpaired([2.0, 2.0], [1.0, 1.0])[:2] == (Interval(2.0, 2.0, 2.0, 0.95), 0.0)
    assert unpaired([1.0, 1.0], [1.0, 1.0])[1] == 1.0


def test_cpu_and_gpu_of_one_machine_are_two_sides_and_two_machines_too() -> None:
    both = analysis("a", cell("zmq", [90, 91, 92]), cell("zmq (gpu)", [900, 910, 905], device="gpu"))
    found = sides([both, both])
    assert [(side.name, side.device) for side in found] == [("CPU a, 4 CPUs", "cpu"), ("NVIDIA H100", "gpu")]
    other = replace(both, machine={**both.machine, "machine_id": "b"})
    assert [side.name for side in sides([both, other])] == [
        "CPU a, 4 CPUs, a", "NVIDIA H100, a", "CPU a, 4 CPUs, b", "NVIDIA H100, b"]


def test_the_highest_load_within_the_promise_stands_for_a_side() -> None:
    cpu = analysis("a", cell("zmq", [90, 91, 92]), cell("zmq", [60, 61, 62], load=2.0, offered=200, verdict="fail"))
    gpu = analysis("b", *(cell("zmq (gpu)", [95 * load] * 3, load=load, offered=100 * load, device="gpu",
                               schedules=False) for load in (1.0, 8.0)))
    base, other = sides([cpu, gpu])
    [each] = faced(base, [other])
    assert (each.base.offered_rate, each.cell.offered_rate) == (100, 800)
    assert not each.same_load
    assert each.ratios["goodput"].ratio.value == pytest.approx(760 / 91, rel=0.01)
    assert each.ratios["goodput"].told


def test_pairs_where_schedules_are_alike_else_groups() -> None:
    """Of one schedule, the noise that both share falls out of the ratio; of unlike ones, it hides the gain."""
    noise = [1.0, 2.0, 0.5, 1.5, 0.8]
    base = analysis("a", cell("zmq", [100 * x for x in noise]))
    same = cell("zmq (gpu)", [110 * x for x in noise], device="gpu")
    unlike = replace(same, runs=tuple(replace(run, schedule=f"other-{run.repetition}") for run in same.runs))
    ratios = {}
    for name, gpu in (("same", same), ("unlike", unlike)):
        one, other = sides([base, analysis("b", gpu)])
        ratios[name] = faced(one, [other])[0].ratios["goodput"]
        assert ratios[name].ratio.value == pytest.approx(1.1)
    assert ratios["same"].told
    assert not ratios["unlike"].told
    assert ratios["unlike"].ratio.low < 1 < ratios["unlike"].ratio.high


def test_another_promise_is_another_question() -> None:
    one, other = sides([analysis("a", cell("zmq", [90, 91])),
                        analysis("b", cell("zmq", [90, 91], promise="p(99) < 50ms"))])
    assert faced(one, [other]) == ()


def test_what_one_side_lacks_is_said_with_its_reason() -> None:
    one, other = sides([
        analysis("a", cell("zmq", [90, 91]), cell("flask", [80, 81])),
        analysis("b", cell("zmq (gpu)", [900, 901], device="gpu"),
                 skipped={"flask (gpu) × embed": "flask does not serve on the GPU"})])
    assert alone(one, [other]) == ("flask on embed was not measured on NVIDIA H100: flask does not serve on the GPU.",)
    assert alone(one, []) == ()


def test_what_cannot_be_compared_says_why() -> None:
    one, other = sides([analysis("a", cell("zmq", [90])), analysis("b", cell("zmq", [95]))])
    assert faced(one, [other])[0].ratios["goodput"].note.startswith("fewer than two valid repetitions")
    one, other = sides([analysis("a", cell("zmq", [0.0, 0.0])), analysis("b", cell("zmq", [95, 96]))])
    assert "no finite goodput" in faced(one, [other])[0].ratios["goodput"].note
