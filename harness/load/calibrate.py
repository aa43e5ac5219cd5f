"""How far can this machine's measurements be trusted? A target whose delays are known tells.

Nothing here is random: schedules and service times are seeded, so a second calibration asks the same questions.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.catalog.scenario import Stage
from harness.load.arrivals import due_times
from harness.load.calibration import Calibration, OraclePoint, RatePoint, StallPoint
from harness.load.oracle import departures
from harness.load.rig import Load, grpc_target, measure, target
from harness.load.rows import Columns
from harness.load.stock import reported_p99_ms

SEED = 20
LADDER = (500, 1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 20_000, 24_000, 28_000, 32_000)
QUICK_LADDER = (500, 4_000, 12_000, 20_000, 28_000)
GRPC_LADDER = (100, 500, 1_000, 2_000, 4_000)
QUICK_GRPC_LADDER = (100, 1_000)
RATES = (16_000, 8_000, 4_000, 2_000, 1_000, 500)
QUICK_RATES = (16_000, 4_000, 500)
ORACLE_TRIES = 2
STALL_RATE, STALL_S, STALL_SERVICE_NS = 500.0, 1.0, 200_000
STOCK = {"Fast": "FastHttpUser", "Plain": "HttpUser"}
BLOCK_NS, BLOCK_EVERY_S, BASE_LOAD = 60_000_000, 0.75, 0.7

Say = Callable[[str], None]


def calibrate(load_cpus: Sequence[int], target_cpus: Sequence[int], quick: bool, say: Say) -> Calibration:
    """Measures in about half a minute (`quick`) or two, one generator process on the last load CPU against
    a target on the first target CPU. Raises RunFailedError."""
    cpu, server = load_cpus[-1], target_cpus[0]
    with tempfile.TemporaryDirectory(prefix="tailrace-calibrate-") as name:
        folder = Path(name)
        say("how fast can one core send on time?")
        rates, said = _ladder(cpu, server, folder, quick)
        say("and over gRPC?")
        calls = _grpc_ladder(cpu, server, folder, quick)
        say("does it report what a known queue does?")
        oracle, late_us = _against_oracle(cpu, server, folder, quick)
        say("does it see a stall of one second?")
        stalls = [_stall(cpu, server, folder, quick)]
        kinds: tuple[Literal["Fast", "Plain"], ...] = ("Fast",) if quick else ("Fast", "Plain")
        for kind in kinds:
            say(f"what does stock Locust see ({STOCK[kind]})?")
            stalls.append(_stock(kind, cpu, server, folder, quick))
    return Calibration(rates, oracle, tuple(stalls), late_us, float(said["hiccup_ms"]),
                       bool(said["realtime"]), cpu == server, calls)


def _ladder(cpu: int, server: int, folder: Path, quick: bool) -> tuple[tuple[RatePoint, ...], dict[str, Any]]:
    """Every rate of the ladder in rising order, several times; after each a rest, so that one which was too much for
    the machine does not spoil the next."""
    ladder, tries, duration_s = (QUICK_LADDER, 2, 0.4) if quick else (LADDER, 3, 1.0)
    stages: list[dict[str, object]] = []
    for rate in ladder * tries:
        stages += [{"arrivals": "poisson", "rate": float(rate), "duration_s": duration_s},
                   {"arrivals": "poisson", "rate": float(ladder[0]), "duration_s": duration_s / 4}]
    with target(server) as running:
        rows, said, _ = measure(Load(stages, [b"0"], 1.0, SEED), running.port, cpu, folder)
    turns = range(0, len(stages), 2 * len(ladder))
    return tuple(_rate_point(float(rate), [_stage(rows, turn + 2 * rung) for turn in turns])
                 for rung, rate in enumerate(ladder)), said


def _grpc_ladder(cpu: int, server: int, folder: Path, quick: bool) -> tuple[RatePoint, ...]:
    """The same over gRPC, against a server in Python that answers at once: what its latency holds is the floor of any
    figure measured over gRPC."""
    ladder, tries, duration_s = (QUICK_GRPC_LADDER, 1, 0.8) if quick else (GRPC_LADDER, 2, 1.0)
    stages: list[dict[str, object]] = []
    for rate in ladder * tries:
        stages += [{"arrivals": "poisson", "rate": float(rate), "duration_s": duration_s},
                   {"arrivals": "poisson", "rate": float(ladder[0]), "duration_s": duration_s / 2}]
    with grpc_target(server) as port:
        rows, _, _ = measure(Load(stages, [b"0"], 1.0, SEED, "grpc"), port, cpu, folder)
    return tuple(_rate_point(float(rate), [_stage(rows, 2 * (turn * len(ladder) + rung)) for turn in range(tries)])
                 for rung, rate in enumerate(ladder))


def _rate_point(rate: float, tries: list[Columns]) -> RatePoint:
    lags = np.array([_quantiles_ms(_lag_ns(part), 0.5, 0.99, 0.999) for part in tries])
    latencies = np.array([_quantiles_ms(_latency_ns(part), 0.5, 0.99) for part in tries])
    errors = sum(int((part["error"] != "").sum()) for part in tries)
    p50, p99, p999 = np.median(lags, axis=0).tolist()
    latency_p50, latency_p99 = np.median(latencies, axis=0).tolist()
    return RatePoint(rate, p50, p99, p999, float(lags[:, 1].min()), latency_p50, latency_p99, errors)


def _against_oracle(cpu: int, server: int, folder: Path, quick: bool) -> tuple[tuple[OraclePoint, ...], float]:
    """Falling rates, twice, in one run through one queue whose every departure Lindley's recursion gives from the
    schedule. Of a rate's two tries the one counts whose requests went out more punctually (lag p99.9), which says
    nothing about the answers' times but which of the two the host disturbed less."""
    rates, duration_s = (QUICK_RATES, 0.8) if quick else (RATES, 4.0)
    stages = [{"arrivals": "poisson", "rate": float(rate), "duration_s": duration_s} for rate in rates * ORACLE_TRIES]
    due_ns, stage = due_times([Stage.model_validate(s) for s in stages], SEED, 1.0)
    service_ns = service_times_ns(np.array([*rates * ORACLE_TRIES, rates[0]], np.float64)[stage], SEED)
    truth_ns = departures(due_ns, service_ns) - due_ns
    with target(server) as running:
        bodies = [b"%d" % each for each in service_ns.tolist()]
        rows, _, _ = measure(Load(stages, bodies, 1.0, SEED), running.port, cpu, folder)
    points = []
    for at, rate in enumerate(rates):
        tries = [at + len(rates) * k for k in range(ORACLE_TRIES)]
        best = min(tries, key=lambda index: _quantiles_ms(_lag_ns(_stage(rows, index)), 0.999))
        points.append(_oracle_point(float(rate), _stage(rows, best), truth_ns[stage == best]))
    return tuple(points[::-1]), float(running.told["late_p99_us"])


def _oracle_point(rate: float, rows: Columns, truth_ns: NDArray[np.int64]) -> OraclePoint:
    true99, true999 = _quantiles_ms(truth_ns, 0.99, 0.999)
    seen99, seen999 = _quantiles_ms(_latency_ns(rows), 0.99, 0.999)
    return OraclePoint(rate, len(truth_ns), true99, seen99, seen99 / true99 - 1, true999, seen999,
                       seen999 / true999 - 1, _quantiles_ms(_lag_ns(rows), 0.99)[0])


def service_times_ns(rate: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Service times for requests at `rate` (per row): exponential at 70 % utilisation, and every 0.75 s a request
    that takes 60 ms, so that p99 is tens of ms at any rate and 1 % of it is more than the clock's noise."""
    usual = np.random.default_rng([seed, 2]).exponential(BASE_LOAD / rate * 1e9).astype(np.int64)
    per_block = np.maximum(1, np.rint(rate * BLOCK_EVERY_S)).astype(np.int64)
    change = np.flatnonzero(np.diff(rate, prepend=rate[:1]))
    start = np.zeros(len(rate), np.int64)
    start[change] = change
    position = np.arange(len(rate)) - np.maximum.accumulate(start)
    return usual + np.where(position % per_block == per_block // 4, BLOCK_NS, 0)


def _stall(cpu: int, server: int, folder: Path, quick: bool) -> StallPoint:
    duration_s = 4.0 if quick else 12.0
    stages = [{"arrivals": "constant", "rate": STALL_RATE, "duration_s": duration_s}]
    with target(server, stall_after_s=duration_s / 4 + 0.5, stall_s=STALL_S) as running:
        rows, _, t0_ns = measure(Load(stages, [b"%d" % STALL_SERVICE_NS], 0.5, SEED), running.port, cpu, folder)
    truth = _stall_truth_ms(rows["due_ns"], rows["stage"] >= 0, running.told["stall_from_ns"] - t0_ns)
    seen = _quantiles_ms(_latency_ns(_stage(rows, 0)), 0.99)[0]
    return StallPoint("tailrace", truth, seen, seen / truth - 1)


def _stock(kind: Literal["Fast", "Plain"], cpu: int, server: int, folder: Path, quick: bool) -> StallPoint:
    """Stock Locust under the same stall; the truth is what requests sent at its rate, waiting for nobody, see."""
    duration_s = 4 if quick else 12
    with target(server, stall_after_s=duration_s / 4, stall_s=STALL_S) as running:
        seen = reported_p99_ms(kind, running.port, cpu, STALL_RATE, duration_s=duration_s, folder=folder)
    due_ns, stage = due_times([Stage(arrivals="constant", rate=STALL_RATE, duration_s=duration_s)], SEED, 0.0)
    truth = _stall_truth_ms(due_ns, stage >= 0, round(duration_s / 4 * 1e9))
    return StallPoint(f"Locust {STOCK[kind]}", truth, seen, seen / truth - 1)


def _stall_truth_ms(due_ns: NDArray[np.int64], counted: NDArray[np.bool_], stall_from_ns: int) -> float:
    left = departures(due_ns, np.full(len(due_ns), STALL_SERVICE_NS), stall_from_ns, round(STALL_S * 1e9))
    return _quantiles_ms((left - due_ns)[counted], 0.99)[0]


def _stage(rows: Columns, index: int) -> Columns:
    mask = rows["stage"] == index
    return {name: column[mask] for name, column in rows.items()}


def _latency_ns(rows: Columns) -> NDArray[np.float64]:
    """Latency from the due time; a failed request's is infinite."""
    return np.where(rows["error"] == "", (rows["done_ns"] - rows["due_ns"]).astype(np.float64), np.inf)


def _lag_ns(rows: Columns) -> NDArray[np.int64]:
    sent = rows["sent_ns"] > -(1 << 61)
    return np.asarray((rows["sent_ns"] - rows["due_ns"])[sent])


def _quantiles_ms(values_ns: NDArray[Any], *shares: float) -> list[float]:
    """Order statistics (nearest rank) in ms; infinite where there is no value."""
    if not len(values_ns):
        return [float("inf")] * len(shares)
    return [float(q) / 1e6 for q in np.quantile(values_ns, shares, method="inverted_cdf")]
