"""The table of accusations: everything a run is examined for, in the order in which a reader should hear of it."""

from collections.abc import Callable

from harness.analyse import (
    arrival_checks,
    gpu_checks,
    load_checks,
    machine_checks,
    record_checks,
    setup_checks,
    steady_checks,
)
from harness.analyse.frames import RunView
from harness.analyse.model import Check

WITHOUT_ROWS: tuple[Callable[[RunView], Check], ...] = (
    load_checks.status,
    record_checks.altered,
    record_checks.lock,
    load_checks.completeness,
)
CHECKS: tuple[Callable[[RunView], Check], ...] = (
    *WITHOUT_ROWS,
    load_checks.shared_cores,
    machine_checks.moved_cores,
    load_checks.lag,
    record_checks.receive_lag,
    load_checks.rate,
    arrival_checks.arrivals,
    arrival_checks.ramp,
    load_checks.host_pauses,
    machine_checks.other_work,
    machine_checks.stolen,
    machine_checks.pressure,
    machine_checks.throttled,
    load_checks.generator_cpu,
    load_checks.collector_pauses,
    record_checks.wall_clock,
    load_checks.littles_law,
    arrival_checks.closed_loop,
    setup_checks.answers,
    record_checks.cached,
    record_checks.payloads,
    setup_checks.errors,
    record_checks.retries,
    machine_checks.died,
    record_checks.ending,
    record_checks.log,
    record_checks.listeners,
    setup_checks.connections,
    steady_checks.saturation,
    steady_checks.drained,
    steady_checks.warmup,
    steady_checks.drift,
    steady_checks.pauses,
    setup_checks.server_timing,
)


ON_A_GPU: tuple[Callable[[RunView], Check], ...] = (
    gpu_checks.gpu_throttled,
    gpu_checks.gpu_shared,
    gpu_checks.gpu_seen,
)


def checks_of(view: RunView) -> tuple[Check, ...]:
    """What every check of the table says about the run; a run without counted rows is only asked whether it ended, and
    only one on a GPU about that."""
    if not len(view.rows):
        return tuple(check(view) for check in WITHOUT_ROWS)
    return tuple(check(view) for check in (CHECKS if view.meta.device == "cpu" else (*CHECKS, *ON_A_GPU)))
