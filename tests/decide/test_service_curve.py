"""Service time against batch size: the law that made the batches is found, on a CPU's slope and on a GPU's plateau."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness.decide.capacity import Probe, Result, Search, Settings
from harness.decide.service_curve import service_curve
from harness.decide.twin import Clients, Service, Structure, Twin, play, poisson_s
from harness.decide.twin_law import line
from harness.decide.twin_read import served_us, structure_of
from harness.decide.twin_seen import Seen, batches

pytestmark = pytest.mark.simulated

NOISE = np.random.default_rng(2).lognormal(0, 0.05, (2, 20_000))
NOISE /= NOISE.mean(axis=1, keepdims=True)
KNOBS = {"workers": 12, "max_batch": 32, "owners": 1, "device_batch": 256, "queue": 8192, "max_wait_ms": 2}
ADAPTIVE = {"mlops": {"batching": "adaptive: by cost", "deadlines": True}}


def recorded(a_s: float, b_s: float, rate: float, most: int = 64) -> Seen:
    """A run of a setup with one worker whose batches of n take a + b·n."""
    curve = np.concatenate([[0.0], a_s + b_s * np.arange(1, most + 1)])
    twin = Twin(Structure(max_batch=most), Service(curve, np.ones(2), NOISE, np.full(9, 1e-3)), Clients())
    due = poisson_s(rate, 4_000, 3)
    done = play(twin, due, 4)
    return Seen(f"run-{rate:g}", rate, due, done.latency_s, np.ones(len(due), bool), done.batch, done.served_s,
                done.served_s + done.queue_s)


@pytest.mark.parametrize(("a_s", "b_s", "rates"), [
    (0.003, 0.002, (100.0, 300.0, 450.0)),          # a CPU: an item costs its share
    (0.002, 0.00001, (500.0, 4_000.0, 15_000.0))])  # a GPU: hardly anything
def test_the_law_that_made_the_batches_is_found(a_s: float, b_s: float, rates: tuple[float, ...]) -> None:
    curve = service_curve([batches(recorded(a_s, b_s, rate), 1) for rate in rates])
    assert curve is not None
    largest = curve.size[-1]
    assert largest > 4
    assert curve.at_ms(np.array([1.0]))[0] == pytest.approx((a_s + b_s) * 1e3, rel=0.05)
    assert curve.at_ms(np.array([largest]))[0] == pytest.approx((a_s + b_s * largest) * 1e3, rel=0.05)
    assert curve.gain() == pytest.approx((a_s + b_s) * largest / (a_s + b_s * largest), rel=0.08)
    low, high = curve.band_ms(curve.size)
    assert np.all(low <= curve.at_ms(curve.size) + 1e-9)
    assert np.all(curve.at_ms(curve.size) <= high + 1e-9)
    assert np.all((curve.low_ms <= curve.mean_ms) & (curve.mean_ms <= curve.high_ms) | (curve.count < 20))


def test_one_size_alone_is_no_curve() -> None:
    assert service_curve([batches(recorded(0.001, 0.0, 5.0, most=1), 1)]) is None
    assert service_curve([]) is None


def test_a_plateau_with_noise_stays_flat() -> None:
    sizes, counts = np.array([1, 8, 64]), np.array([50, 50, 50])
    a, b = line(sizes, np.array([2.02, 2.0, 1.99]), counts)
    assert (a, b) == (pytest.approx(2.0, rel=0.01), 0.0)
    assert line(sizes, np.array([0.9, 8.0, 64.0]), counts)[1] == pytest.approx(1.0, rel=0.1)


def test_on_a_gpu_its_owners_are_the_servers() -> None:
    cpu, gpu = (structure_of(KNOBS, ADAPTIVE, 12, device) for device in ("cpu", "gpu"))
    assert (cpu.workers, cpu.max_batch, gpu.workers, gpu.max_batch) == (12, 32, 1, 256)
    assert gpu.balancer == "shared"
    kept = structure_of({"workers": 4, "max_batch": 64, "max_wait_ms": 5}, {}, 12, "gpu")
    assert (kept.workers, kept.max_batch, kept.wait_s) == (4, 64, 0.005)


def test_a_gpu_with_owners_is_busy_for_its_copies_and_kernels() -> None:
    rows = {"model_us": np.array([9000, 9000, -1]), "copy_us": np.array([200, -1, -1]),
            "kernel_us": np.array([1500, 1600, -1])}
    assert served_us(rows, KNOBS, "gpu").tolist() == [1700, 1600, -1]
    assert served_us(rows, KNOBS, "cpu").tolist() == [9000, 9000, -1]
    assert served_us(rows, {"workers": 4}, "gpu").tolist() == [9000, 9000, -1]
    silent = rows | {"kernel_us": np.full(3, -1)}
    assert served_us(silent, KNOBS, "gpu").tolist() == [9000, 9000, -1]


def test_a_search_on_a_gpu_aims_its_burst_higher_and_no_real_one_runs_out_of_requests() -> None:
    from harness.cli.capacity import settings_on  # noqa: PLC0415  the command's own

    asked = SimpleNamespace(seed=3, longest_s=60.0)
    on_cpu, on_gpu = (settings_on(device, asked, 40_000.0) for device in ("cpu", "gpu"))  # type: ignore[arg-type]
    assert (on_cpu.seed, on_cpu.longest_s, on_cpu.most_rate) == (3, 60.0, 40_000.0)
    assert on_cpu == replace(on_gpu, batch_gain=Settings().batch_gain)
    assert on_gpu.batch_gain > on_cpu.batch_gain
    assert Search(unasked, (), Structure(), Clients(), on_cpu).reach == 40_000.0


def unasked(probe: Probe) -> Result:
    raise AssertionError(f"nobody sends {probe}")
