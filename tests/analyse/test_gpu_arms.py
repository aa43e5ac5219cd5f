"""One setup on the CPU and on a GPU: two arms, compared, priced and shown."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.analyse.arms import told_apart
from harness.analyse.compare import baselines
from harness.analyse.gpu_figures import with_price
from harness.analyse.model import Analysis, Cell
from harness.analyse.summary import analyse
from harness.catalog.device import parted
from harness.record.schema import RunMeta
from harness.record.write import RunWriter, write_machine
from harness.report import gpu as gpu_table
from harness.report.tables import markdown
from tests.analyse.nvml import Queue, looks, on_gpu


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, queue: Queue, meta: RunMeta,
         generator: Callable[..., dict[str, Any]]) -> Path:
    """Three repetitions of one setup on the CPU (1 ms of service) and on a GPU (0.5 ms, 300 W)."""
    folder = tmp_path_factory.mktemp("both")
    write_machine(folder, "box", {"cpus": 4, "cpu": "simulated"})
    for device, service_ms in (("cpu", 1.0), ("gpu", 0.5)):
        for repetition in range(3):
            columns = queue(repetition, service_ms=service_ms)
            with RunWriter(folder / "box", setup=f"toy-{device}", workload="echo", scenario="calm",
                           repetition=repetition) as writer:
                writer.server_log.write_text("")
                writer.write_requests(on_gpu(columns) if device == "gpu" else columns)
                writer.write_probes(looks(busy=0.25) if device == "gpu" else [])
                writer.finish(replace(meta, run_id=writer.run_id, repetition=repetition, device=device,
                                      seeds={"attempt": repetition}, facts={"generators": [generator(len(
                                          columns["seq"]))]}))
    return folder


@pytest.fixture(scope="module")
def analysis(both: Path) -> Analysis:
    """What they say, against the arm on the CPU."""
    return analyse(both, baseline="toy")


def cells(analysis: Analysis) -> dict[str, Cell]:
    return {cell.setup: cell for cell in analysis.cells}


def test_cpu_and_gpu_of_one_setup_are_two_arms_and_never_pooled(analysis: Analysis) -> None:
    found = cells(analysis)
    assert set(found) == {"toy", "toy (gpu)"}
    assert {name: len(cell.runs) for name, cell in found.items()} == {"toy": 3, "toy (gpu)": 3}
    assert (found["toy"].device, found["toy (gpu)"].device) == ("cpu", "gpu")
    assert found["toy"].gpu is None
    assert found["toy (gpu)"].time_ms["kernel"] > 0
    assert "kernel" not in found["toy"].time_ms


def test_the_gpu_is_compared_with_the_cpu_pair_by_pair(analysis: Analysis) -> None:
    [p99] = [each for each in analysis.comparisons if each.metric == "p99"]
    assert (p99.setup, p99.baseline, p99.pairs) == ("toy (gpu)", "toy", 3)
    assert p99.ratio.value == pytest.approx(0.5 * 0.5 / 0.75, rel=0.25)  # M/M/1: 1/(µ−λ) of 2000 and of 1000 a second
    found = cells(analysis)
    for baseline, base in (("toy (gpu)", "toy (gpu)"), ("toy", "toy")):
        assert {cell.setup for cell in baselines(list(found.values()), baseline).values()} == {base}
    alone = baselines([found["toy (gpu)"]], "toy")
    assert [cell.setup for cell in alone.values()] == ["toy (gpu)"], "a plan's baseline is the arm that ran"


def test_energy_reaches_the_cell_and_the_table(analysis: Analysis) -> None:
    use = cells(analysis)["toy (gpu)"].gpu
    assert use is not None
    assert use.power_w == pytest.approx(300.0)
    assert use.busy == pytest.approx(0.25)
    assert use.joules_per_request == pytest.approx(300 / 500, rel=0.02)
    assert use.kwh_per_million_good == pytest.approx(300 / 500 * 1e6 / 3.6e6, rel=0.02)
    assert use.energy_from == "counter"
    priced = with_price(use, 0.12)
    assert priced is not None
    assert priced.usd_per_million_good == pytest.approx(0.12 * use.kwh_per_million_good)
    head, [*row] = gpu_table.rows(analysis)
    assert row[:4] == ["echo · calm", "toy (gpu)", "25.0 %", "75.0 %"]
    assert len(head) == len(row)
    assert any("energy counter" in note for note in gpu_table.notes(analysis))
    assert "toy (gpu)" in markdown(analysis).replace("\\", "")


def test_a_report_of_the_cpu_says_nothing_of_a_gpu(analysis: Analysis) -> None:
    cpu = replace(analysis, cells=tuple(cell for cell in analysis.cells if cell.device == "cpu"))
    assert gpu_table.rows(cpu) == []
    assert gpu_table.html(cpu) == ""
    assert gpu_table.markdown(cpu) == []
    assert gpu_table.grid(cpu) is None


def test_cells_of_one_arm_with_other_knobs_are_told_apart(analysis: Analysis) -> None:
    gpu = replace(cells(analysis)["toy (gpu)"], knobs={"owners": 1, "precision": "full"})
    half = replace(gpu, knobs={"owners": 1, "precision": "half"})
    many = replace(gpu, load=2.0)
    assert [cell.setup for cell in told_apart([gpu, half, many])] == [
        "toy (gpu)", "toy (gpu) precision=half", "toy (gpu)"]
    assert [cell.setup for cell in told_apart([gpu, replace(half, load=2.0)])] == ["toy (gpu)"] * 2
    assert parted("toy (gpu) precision=half") == ("toy precision=half", "gpu")


def test_the_gpus_table_says_the_same_everywhere(analysis: Analysis) -> None:
    page, marked = gpu_table.html(analysis), "\n".join(gpu_table.markdown(analysis)).replace("\\", "")
    console = Console(width=200, record=True, file=io.StringIO())
    grid = gpu_table.grid(analysis)
    assert grid is not None
    console.print(grid)
    printed = console.export_text()
    for cell in gpu_table.rows(analysis)[1]:
        assert cell in marked
        assert cell in printed
        assert cell.replace(" %", "\u00a0%") in page
