"""`--until verdict` and `abortOnFail`: runs that end once what they were made for is known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.analyse.looking import begin, certainly_broken, decided, look, standing, why_not
from harness.errors import UsageError
from harness.plan.attempt import Attempt
from harness.run.live_rows import Sitting

VERDICT = "verdict"


class Certificates:
    """The certificates of one running attempt's promises; each look goes on where the last one ended."""

    def __init__(self, attempt: Attempt) -> None:
        self._until_verdict = attempt.until == VERDICT
        self._looking = begin(attempt.scenario)

    @property
    def said(self) -> str:
        return standing(self._looking)

    @property
    def requests(self) -> int:
        return self._looking.requests

    def look(self, latency_ns: NDArray[np.float64], due_ns: NDArray[np.int64], now_ns: int) -> str:
        self._looking = look(self._looking, latency_ns, due_ns, now_ns)
        return certainly_broken(self._looking) or (decided(self._looking) if self._until_verdict else "")


def sitting(attempt: Attempt) -> Sitting | None:
    """Who judges the attempt while it runs: nobody where nothing depends on it."""
    aborts = any(promise.abort for promise in attempt.scenario.promises)
    return Certificates(attempt) if attempt.until or aborts else None


def until(asked: str | None, cap_s: float, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts as they are to be run: with `verdict`, each for at most `cap_s` seconds. Raises UsageError where a
    run could not be judged on the way."""
    if asked not in (None, VERDICT):
        raise UsageError(f"--until {asked}: not understood", f"write --until {VERDICT}, or leave it out")
    for attempt in attempts:
        what = "--until verdict" if asked else "abortOnFail"
        why = why_not(attempt.scenario)
        if why and (asked or any(promise.abort for promise in attempt.scenario.promises)):
            raise UsageError(f"{what}: scenario {attempt.scenario.name} cannot be judged while it runs: {why}",
                             "choose a scenario of one steady open-loop stage with an absolute promise")
    return [_capped(attempt, cap_s) for attempt in attempts] if asked else list(attempts)


def _capped(attempt: Attempt, cap_s: float) -> Attempt:
    stage = attempt.scenario.stage[0].model_copy(update={"duration_s": cap_s})
    return replace(attempt, until=VERDICT, scenario=attempt.scenario.model_copy(update={"stage": (stage,)}))
