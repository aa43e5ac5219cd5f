"""What a recorded probe of a capacity search is believed."""

import math
from collections.abc import Sequence

from harness.analyse.checks import checks_of
from harness.analyse.frames import read_view
from harness.analyse.model import Check
from harness.decide.capacity import Result
from harness.decide.twin_read import seen
from harness.errors import TailraceError
from harness.record.read import StoredRun

DECISIVE = 0.05
DELAYS = ("lag", "receive_lag")
LIMITS = ("generator_cpu", "rate", "completeness")


def believed(run: StoredRun, limit_ms: float = math.inf) -> Result:
    """What the probe's rows say, unless the generator, the host or the harness spoiled them.

    A delay of sending or reading below a twentieth of the promise's limit decides nothing. The generator was the limit
    where its CPU, or the rate it sent at, says so; else the probe was disturbed, and its evidence is left out.
    """
    if not run.has_rows:
        raise TailraceError(f"{run.folder.name}: no requests were recorded ({run.meta.reason})",
                            "look at its server.log")
    refused, blames = accused(checks_of(read_view(run)), limit_ms)
    return Result(seen(run), refused, blames)


def accused(checks: Sequence[Check], limit_ms: float) -> tuple[str, str]:
    """(why a probe certifies nothing, whose fault that is) as the checks say; ("", "") where it may. The generator's
    own limits come before what merely disturbed it."""
    against = [check for check in checks
               if check.severity == "invalid" and check.blames in ("generator", "host", "harness")
               and not (check.code in DELAYS and check.figures.get("p99_ms", math.inf) <= DECISIVE * limit_ms)]
    if not against:
        return "", ""
    limited = next((check for check in against if check.code in LIMITS), None)
    return (limited or against[0]).message, "generator" if limited else "host"
