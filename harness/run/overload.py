"""Is this run asking for more than can be served? Watched while it goes on, so that no time is spent on waiting.

A queue only grows when the requests unanswered rise from look to look (Kendall's trend test, Kendall 1970, §4) while
answers still come, and when one that arrives now would already wait too long (Little 1961: unanswered ÷ answered a
second). A stall has no answers between looks, a burst falls back, and a stable queue does not wait for seconds.
"""

from itertools import combinations, pairwise

from harness.catalog.scenario import Scenario
from harness.run.generators import Progress

LOOKS = 8
RISING_PAIRS = 26  # of 28: by chance in 1 of 5 000 series without a trend
APART_S = 0.4
LEAST_WAIT_S = 1.0
WORTH_S = 1.0
NS = 1e9


class Overload:
    """Looks of one run; only steady open load is judged: a ramp, a spike or a closed loop means to go beyond."""

    def __init__(self, scenario: Scenario) -> None:
        [first, *others] = scenario.stage
        self._judged = not scenario.closed and not others and first.rate_end in (None, first.rate)
        self._end_s = scenario.duration_s
        limits_s = [promise.limit / NS for promise in scenario.promises if promise.metric == "latency"]
        self._wait_s = max([LEAST_WAIT_S, *(2 * limit_s for limit_s in limits_s)])
        self._looks: list[tuple[float, int, int]] = []

    def stop_now(self, seen: Progress) -> str:
        """Why the run should stop at this look; "" while it should go on."""
        looks = self._looks
        if not self._judged or (looks and seen.t_s - looks[-1][0] < APART_S):
            return ""
        looks.append((seen.t_s, seen.done, seen.sent - seen.done))
        del looks[:-LOOKS]
        if len(looks) < LOOKS or seen.t_s <= 0 or self._end_s - seen.t_s < WORTH_S:
            return ""
        answering = all(later[1] > earlier[1] for earlier, later in pairwise(looks))
        rising = sum(later[2] > earlier[2] for earlier, later in combinations(looks, 2))
        if not answering or rising < RISING_PAIRS:
            return ""
        rate = (looks[-1][1] - looks[0][1]) / (looks[-1][0] - looks[0][0])
        waiting, wait_s = looks[-1][2], looks[-1][2] / rate
        if wait_s < self._wait_s:
            return ""
        return (f"over capacity: {waiting} requests were waiting and more came than the {rate:.0f} a second that were "
                f"answered, so the run was stopped after {seen.t_s:.1f} s")
