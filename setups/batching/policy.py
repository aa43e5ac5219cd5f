"""How many jobs a worker takes, which of them run together, and whether it waits for more. Pure.

`cost(n, size)` is the learned seconds of a batch of n whose longest body has `size` bytes.
"""

import math
from collections.abc import Callable, Sequence

Cost = Callable[[int, float], float]

FRONT_REQUEST_S = 90e-6   # CPU a front spends on one request: parse, admit, hand over, answer
SPREAD_WORTH_S = 1e-3     # below this a batch is not worth spreading over idle workers: messages cost more


def best_size(cost: Cost, size: float, limit: int, gain: float) -> int:
    """The batch size that serves most items per second, grown only where an item gets cheaper by more than `gain`."""
    best, each = 1, cost(1, size)
    for n in range(2, limit + 1):
        per_item = cost(n, size) / n
        if per_item < each * (1 - gain):
            best, each = n, per_item
    return best


def window(cost: Cost, size: float, best: int, gain: float) -> int:
    """How many jobs to look at for a batch of `best`: more where like lengths save padding."""
    return 3 * best if best > 1 and cost(best, size) > (1 + gain) * cost(best, size / 2) else best


def share(queued: int, idle: int, workers: int, best: int, most: int, seconds: float) -> int:
    """How many of the queued jobs one idle worker gets: at least 1 and at most `most`.

    Several idle workers split evenly where the batch (of `seconds`) is worth it. A long queue is split among all
    workers, so that none holds jobs which another could start sooner.
    """
    fair = max(best, math.ceil(queued / max(workers, 1)))
    if seconds > SPREAD_WORTH_S:
        fair = min(fair, math.ceil(queued / max(idle, 1)))
    return max(1, min(queued, fair, most))


def wait_s(taken: int, best: int, others_idle: bool, utilisation: float, rate: float, one_s: float,
           grown_s: float, longest_s: float) -> float:
    """Seconds to wait for another job before starting a batch of `taken`; 0 for a lone request.

    A job that joins saves `one_s` - `grown_s` (its cost alone, less what it adds to the batch), worth as much as workers are
    busy; it costs everyone taken the expected 1 / rate until it comes.
    """
    if taken < 2 or taken >= best or others_idle or rate <= 0:
        return 0.0
    gap_s = 1 / rate
    worth = (one_s - grown_s) * utilisation > gap_s
    return min(gap_s, longest_s) if worth and gap_s <= longest_s else 0.0


def plan(sizes: Sequence[int], slack_s: Sequence[float], alone: Sequence[bool], cost: Cost, best: int,
         gain: float) -> list[list[int]]:
    """Groups of indices to run one after another; each index once, index 0 (the oldest) in the first group.

    Groups have at most `best` members, none costs more than the least slack of its members (a single one may), and
    like lengths go together where padding would cost more than `gain`. `alone` marks jobs that must run on their own.
    """
    shared = [i for i in range(len(sizes)) if not alone[i]]
    if best <= 1 or len(shared) < 2:
        groups = [[i] for i in shared]
    elif _length_matters(sizes, shared, cost, best, gain):
        groups = _by_length(sizes, slack_s, shared, cost, best)
    else:
        groups = _by_age(sizes, slack_s, shared, cost, best)
    groups += [[i] for i in range(len(sizes)) if alone[i]]
    return sorted((sorted(group) for group in groups), key=lambda group: group[0])


def fronts_for(item_s: float, cores: int) -> int:
    """How many front processes keep up with workers that need `item_s` CPU seconds for an item on `cores` cores."""
    return max(1, min(cores, math.ceil(cores * FRONT_REQUEST_S / (FRONT_REQUEST_S + item_s) - 0.1)))


def _length_matters(sizes: Sequence[int], shared: list[int], cost: Cost, best: int, gain: float) -> bool:
    n = min(len(shared), best)
    return (cost(n, max(sizes[i] for i in shared))
            > (1 + gain) * cost(n, min(sizes[i] for i in shared)))


def _by_age(sizes: Sequence[int], slack_s: Sequence[float], shared: list[int], cost: Cost,
            best: int) -> list[list[int]]:
    """Even parts in order of age, a part ending early where one more would break a deadline in it."""
    part = math.ceil(len(shared) / math.ceil(len(shared) / best))
    groups: list[list[int]] = []
    for i in shared:
        if groups and len(groups[-1]) < part:
            members = [*groups[-1], i]
            if cost(len(members), max(sizes[j] for j in members)) <= min(slack_s[j] for j in members):
                groups[-1] = members
                continue
        groups.append([i])
    return groups


def _by_length(sizes: Sequence[int], slack_s: Sequence[float], shared: list[int], cost: Cost,
               best: int) -> list[list[int]]:
    """The cheapest cut of the jobs, sorted by length, into runs: dynamic programming over the end of the last run."""
    order = sorted(shared, key=lambda i: sizes[i])
    total = [0.0]
    begin = [0]
    for end in range(1, len(order) + 1):
        slack = math.inf
        cheapest, start_of_cheapest = math.inf, end - 1
        for start in range(end - 1, max(-1, end - 1 - best), -1):
            slack = min(slack, slack_s[order[start]])
            seconds = cost(end - start, sizes[order[end - 1]])
            if end - start > 1 and seconds > slack:
                continue
            if total[start] + seconds < cheapest:
                cheapest, start_of_cheapest = total[start] + seconds, start
        total.append(cheapest)
        begin.append(start_of_cheapest)
    groups: list[list[int]] = []
    end = len(order)
    while end > 0:
        groups.append(order[begin[end]:end])
        end = begin[end]
    return groups
