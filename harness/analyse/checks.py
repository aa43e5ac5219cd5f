"""The table of accusations: everything a run is examined for, in the order in which a reader should hear of it."""

from collections.abc import Callable

from harness.analyse import load_checks, setup_checks
from harness.analyse.frames import RunView
from harness.analyse.model import Check

CHECKS: tuple[Callable[[RunView], Check], ...] = (
    load_checks.status,
    load_checks.completeness,
    load_checks.shared_cores,
    load_checks.lag,
    load_checks.rate,
    load_checks.arrivals,
    load_checks.host_pauses,
    load_checks.generator_cpu,
    load_checks.collector_pauses,
    load_checks.littles_law,
    load_checks.closed_loop,
    setup_checks.answers,
    setup_checks.errors,
    setup_checks.connections,
    setup_checks.saturation,
    setup_checks.warmup,
    setup_checks.server_timing,
)


def checks_of(view: RunView) -> tuple[Check, ...]:
    """What every check of the table says about the run; a run without counted rows is only asked whether it ended."""
    if not len(view.rows):
        return (load_checks.status(view), load_checks.completeness(view))
    return tuple(check(view) for check in CHECKS)
