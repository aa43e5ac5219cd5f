"""What an audit is made of and what it says."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analyse.model import Check, Severity
from harness.audit.lab import Lab
from harness.record.read import StoredRun

Outcome = Literal["trusted", "distrusted", "untold"]


@dataclass(frozen=True)
class Seeded:
    """What a fault left to be examined: every check that was made, and the run's status with its reason."""

    checks: tuple[Check, ...]
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Fault:
    """One kind of fault. It is caught where one of the checks `codes` says `least` or worse, or where the run's reason
    holds `reason` (if given). `seed` makes it for real, given the lab, clean runs to alter, and the number of the try.
    With `quick` it is seeded in a quick audit, too; if it is `spare`, only where time is left.
    """

    name: str
    how: str
    codes: tuple[str, ...]
    seed: Callable[[Lab, Sequence[StoredRun], int], Seeded]
    reason: str = ""
    quick: bool = True
    spare: bool = False
    least: Severity = "warning"


@dataclass(frozen=True)
class Trial:
    """One try at one fault: whether it was caught, and what was said about it."""

    fault: str
    how: str
    caught: bool
    said: str


@dataclass(frozen=True)
class Difference:
    """By repetitions (pairs of runs), the smallest ratio between two setups that would be told here with 80 % power."""

    metric: str
    ratio: float
    p_value: float
    spread: float
    detectable: dict[int, float]


@dataclass(frozen=True)
class Asked:
    """What an audit has to try before it may speak: so many kinds of faults so often each, and clean runs."""

    kinds: int
    tries: int
    clean_runs: int


@dataclass(frozen=True)
class Audit:
    """Everything the audit found. `clean_runs` are runs without a fault while the machine did nothing else, `disturbed`
    those beside which it did; `false` are accusations of the former, as (run, code, message)."""

    asked: Asked
    trials: tuple[Trial, ...]
    clean_runs: int
    disturbed: int
    false: tuple[tuple[str, str, str], ...]
    noise: tuple[Difference, ...]
    pairs: int
    seconds: float

    @property
    def caught(self) -> int:
        """Tries in which the fault was caught."""
        return sum(trial.caught for trial in self.trials)

    @property
    def left_out(self) -> tuple[int, int]:
        """Kinds of faults that were tried less often than asked, or never, and clean runs that were not made."""
        tried = Counter((trial.fault, trial.how) for trial in self.trials)
        whole = sum(tries >= self.asked.tries for tries in tried.values())
        return max(self.asked.kinds - whole, 0), max(self.asked.clean_runs - self.clean_runs, 0)

    @property
    def outcome(self) -> Outcome:
        """`distrusted` where less than 95 % were caught or a clean run was accused, however little was tried; else
        `trusted` where nothing was left out, `untold` where something was."""
        if self.caught < 0.95 * len(self.trials) or self.false:
            return "distrusted"
        return "trusted" if self.trials and not any(self.left_out) else "untold"
