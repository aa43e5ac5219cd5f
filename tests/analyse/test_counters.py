"""What Triton and TorchServe count, in texts that they answered around 32 requests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from harness.analyse.cells import cell
from harness.analyse.counters import mean_ms, requests_by_batch, samples
from harness.analyse.figures import figures
from harness.analyse.frames import RunView
from harness.record.scrape import NOTHING, Scrape

CAPTURED = Path(__file__).parent / "captured"
Queue = Callable[..., dict[str, NDArray[Any]]]
Seen = Callable[..., RunView]


def looked(engine: str, when: str) -> Scrape:
    statistics = CAPTURED / f"{engine}-{when}.json"
    return Scrape((CAPTURED / f"{engine}-{when}.txt").read_text("utf-8"),
                  statistics.read_text("utf-8") if statistics.exists() else "")


TRITON = looked("triton", "before"), looked("triton", "after")
TORCHSERVE = looked("torchserve", "before"), looked("torchserve", "after")


@pytest.mark.parametrize("text", [each.metrics for each in (*TRITON, *TORCHSERVE)] + [
    'a{x="1}",y="\\"}"} 2\na{x="2"} 3e2 1700000000\nb NaN\n', "no metrics at all\n", ""])
def test_prometheus_text_is_read_as_its_own_client_reads_it(text: str) -> None:
    expected: dict[str, float] = {}
    for family in text_string_to_metric_families("" if text.startswith("no ") else text):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")  # which the client adds to counters that lack it
            expected[name] = expected.get(name, 0.0) + sample.value
    found = {name.removesuffix("_total"): value for name, value in samples(text).items()}
    assert found == pytest.approx(expected, nan_ok=True)


def test_means_of_requests_are_differences_over_the_load() -> None:
    assert mean_ms(*TRITON) == pytest.approx({
        "queue": (459750 - 2337) / 32e3, "model": (3622 + 1120124 + 18061 - 263 - 237069 - 488) / 32e3})
    assert mean_ms(*TORCHSERVE) == pytest.approx({"queue": (25700985.596 - 19242617.1) / 32e3})


def on_gpu(text: str, copy_us: float, kernel_us: float) -> Scrape:
    """Triton's text with what the instances of ours count on a GPU, spread over two labels."""
    return Scrape(text + f'tailrace_copy_us{{model="model"}} {copy_us}\n' + "".join(
        f'tailrace_kernel_us{{model="model",part="{part}"}} {kernel_us / 2}\n' for part in (1, 2)))


def test_copies_and_kernels_that_triton_counts_are_taken_out_of_the_model() -> None:
    plain = mean_ms(*TRITON)
    before, after = on_gpu(TRITON[0].metrics, 500, 7000), on_gpu(TRITON[1].metrics, 64_500, 327_000)
    told = mean_ms(before, after)
    assert (told["copy"], told["kernel"]) == pytest.approx((2.0, 10.0))
    assert told["model"] == pytest.approx(plain["model"] - 12.0)
    assert told["queue"] == plain["queue"]
    assert mean_ms(TRITON[0], after)["copy"] == pytest.approx(64.5 / 32)  # a counter appears with its first batch
    for other in (on_gpu(TRITON[1].metrics, 100, 327_000), on_gpu(TRITON[1].metrics, 64_500, 1e9)):
        assert mean_ms(before, other) == plain, "began anew, or is of other requests"


def test_requests_that_torchserve_never_answered_are_not_counted() -> None:
    pending = TORCHSERVE[1].metrics.replace('hostname="localhost",} 34.0', 'hostname="localhost",} 84.0')
    assert pending != TORCHSERVE[1].metrics
    told = mean_ms(TORCHSERVE[0], Scrape(pending))
    assert told["queue"] == pytest.approx(mean_ms(*TORCHSERVE)["queue"] * 32 / 33)


def test_a_histogram_counts_the_requests_of_the_load() -> None:
    assert requests_by_batch(*TRITON) == {1: 1, 2: 2, 3: 6, 4: 4, 5: 5, 6: 6, 8: 8}
    assert requests_by_batch(*TORCHSERVE) == {}


@pytest.mark.parametrize("looks", [
    (TRITON[1], TRITON[0]), (TRITON[0], TRITON[0]), (NOTHING, TRITON[1]), (TRITON[0], NOTHING),
    (Scrape("up 1\n", "{}"), Scrape("up 1\n", '{"model_stats": [{"batch_stats": 3}]}'))])
def test_counters_that_began_anew_stood_still_or_are_missing_tell_nothing(looks: tuple[Scrape, Scrape]) -> None:
    assert mean_ms(*looks) == {}
    assert requests_by_batch(*looks) == {}


def untold(columns: dict[str, NDArray[Any]], *names: str) -> dict[str, NDArray[Any]]:
    return {**columns, **{name: np.full_like(columns[name], 0 if name == "batch" else -1) for name in names}}


def test_a_cell_has_them_where_answers_tell_nothing_and_says_so(queue: Queue, seen: Seen) -> None:
    before = Scrape("nv_inference_request_success 0\n" + "".join(
        f"nv_inference_{name}_duration_us 0\n" for name in ("queue", "compute_input", "compute_infer",
                                                            "compute_output")), TRITON[0].statistics)
    after = Scrape("nv_inference_request_success 100\nnv_inference_queue_duration_us 20000\n"
                   "nv_inference_compute_input_duration_us 1000\nnv_inference_compute_infer_duration_us 50000\n"
                   "nv_inference_compute_output_duration_us 2000\n", TRITON[1].statistics)
    silent = untold(queue(3), "queue_us", "wait_us", "model_us", "batch")
    quiet = cell([figures(replace(seen(silent), before=before, after=after), {})], [])
    assert quiet.counted == ("queue", "model", "batches")
    assert (quiet.time_ms["queue"], quiet.time_ms["model"]) == pytest.approx((0.2, 0.53))
    assert sum(quiet.time_ms.values()) == pytest.approx(sum(cell([figures(seen(silent), {})], []).time_ms.values()))
    assert quiet.batches[8] == pytest.approx(8 / 32)
    device = Scrape(after.metrics + "tailrace_copy_us 3000\ntailrace_kernel_us 40000\n", after.statistics)
    gpu = cell([figures(replace(seen(silent), before=before, after=device), {})], [])
    assert set(gpu.counted) == {"queue", "model", "copy", "kernel", "batches"}
    assert [gpu.time_ms[part] for part in ("copy", "kernel", "model")] == pytest.approx([0.03, 0.4, 0.1])
    assert sum(gpu.time_ms.values()) == pytest.approx(sum(quiet.time_ms.values()))
    told = cell([figures(replace(seen(queue(3)), before=before, after=device), {})], [])
    assert told.counted == ()
    assert "kernel" not in told.time_ms
    assert told.batches == {1: 1.0}


def test_means_that_do_not_fit_into_the_answers_are_left_out(queue: Queue, seen: Seen) -> None:
    silent = seen(untold(queue(3), "queue_us", "wait_us", "model_us"))
    assert figures(replace(silent, before=TRITON[0], after=TRITON[1]), {}).counted == ()
