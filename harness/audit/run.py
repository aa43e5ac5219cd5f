"""The audit: faults seeded and looked for, clean runs and what they are accused of, the noise of two like arms."""

import time
from collections.abc import Callable, Sequence

from harness.analyse.model import Severity
from harness.audit.clean import ACCUSING, accusations, clean_runs
from harness.audit.lab import Lab, lab
from harness.audit.machine_faults import MACHINE_FAULTS
from harness.audit.model import Asked, Audit, Fault, Seeded, Trial
from harness.audit.noise import noise_floor
from harness.audit.record_faults import RECORD_FAULTS
from harness.audit.server_faults import SERVER_FAULTS
from harness.record.read import StoredRun

FAULTS: tuple[Fault, ...] = (*RECORD_FAULTS, *SERVER_FAULTS, *MACHINE_FAULTS)
TRIES, QUICK_TRIES = 3, 1
CLEAN, QUICK_CLEAN = 50, 4
LIMIT_MIN, QUICK_LIMIT_MIN = 25.0, 3.0
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "invalid")
SPARE_S = 5.0      # what one try takes, generously
CLEAN_PART = 0.45  # of the time, at most, goes into clean runs


def audit(quick: bool, say: Callable[[str], None], minutes: float | None = None) -> Audit:
    """Makes clean runs in two arms, then seeds every fault (with `quick` the less slow ones, once) and examines all.
    What there is no time for within so many `minutes` is left out, and the audit tells: clean runs beside which the
    machine was never idle, spare kinds of faults, then later tries.

    Raises TailraceError where the toys are missing, another tailrace is measuring, or a clean run fails.
    """
    began, limit_s = time.monotonic(), 60 * (minutes or (QUICK_LIMIT_MIN if quick else LIMIT_MIN))
    wanted, tries = (QUICK_CLEAN, QUICK_TRIES) if quick else (CLEAN, TRIES)
    with lab() as place:
        clean = clean_runs(place, wanted, began + CLEAN_PART * limit_s, say)
        false = tuple(each for run in clean.idle for each in accusations(run))
        for run, code, words in false:
            say(f"ACCUSED {run}: {code} {words}")
        faults = [fault for fault in FAULTS if (fault.quick and not fault.spare) or not quick]
        basis = [run for pair in clean.pairs for run in pair]
        trials = _trials(place, basis, faults, tries, began + limit_s, say)
        noise = noise_floor(clean.pairs)
    return Audit(Asked(len(faults), tries, wanted), tuple(trials), len(clean.idle), clean.disturbed, false, noise,
                 len(clean.pairs), time.monotonic() - began)


def _trials(place: Lab, clean: Sequence[StoredRun], faults: Sequence[Fault], tries: int, until_s: float,
            say: Callable[[str], None]) -> list[Trial]:
    """The tries in order of the faults. A spare kind is begun only while all its tries have time."""
    made: dict[Fault, list[Trial]] = {fault: [] for fault in faults}
    order = [(fault, number) for number in range(tries) for fault in faults if not fault.spare]
    order += [(fault, number) for fault in faults if fault.spare for number in range(tries)]
    for at, (fault, number) in enumerate(order, 1):
        needed_s = SPARE_S * (tries - number) if fault.spare else 0.0
        if time.monotonic() + needed_s > until_s and not (fault.spare and made[fault]):
            continue
        trial = judged(fault, fault.seed(place, clean, number))
        made[fault].append(trial)
        say(f"{at}/{len(order)} {'caught' if trial.caught else 'MISSED'}  {fault.name}: {trial.said}")
    return [trial for tried in made.values() for trial in tried]


def judged(fault: Fault, found: Seeded) -> Trial:
    """Whether what was found accuses of the fault: one of its checks says as much as it must, or the run's reason."""
    enough = SEVERITIES[SEVERITIES.index(fault.least):]
    told = [check for check in found.checks if check.code in fault.codes and check.severity in enough]
    if told:
        return Trial(fault.name, fault.how, True, f"{told[0].severity}: {told[0].message}")
    if fault.reason and fault.reason in found.reason:
        return Trial(fault.name, fault.how, True, f"{found.status}: {found.reason}")
    others = "; ".join(f"{check.code} {check.severity}" for check in found.checks if check.severity in ACCUSING)
    return Trial(fault.name, fault.how, False, f"{found.status} {found.reason} {others}".strip() or "nothing")
