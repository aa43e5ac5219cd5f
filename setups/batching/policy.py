"""How many jobs a worker gets, which of them run together, and whether they wait for more. Pure.

`cost(n, mean, longest)` is the learned seconds of a batch of n whose bodies have so many bytes.
"""

import math
from collections.abc import Callable, Sequence

Cost = Callable[[int, float, float], float]

FRONT_REQUEST_S = 90e-6   # CPU a front spends on one request: parse, admit, hand over, answer
FULL = 0.25               # of the gain asked for is enough when the queue is long: then throughput is what shortens it
SPREAD_WORTH_S = 1e-3     # below this a batch is not worth spreading over idle workers: messages cost more
BROKER_WORTH_S = 5e-3     # above this a round trip through a broker is short beside the batch


def best_size(cost: Cost, size: float, limit: int, gain: float) -> int:
    """The smallest batch size whose items are within `gain` of the cheapest: a bigger one delays more than it saves."""
    each = [cost(n, size, size) / n for n in range(1, limit + 1)]
    return 1 + next(i for i, seconds in enumerate(each) if seconds * (1 - gain) <= min(each))


def share(queued: int, idle: int, workers: int, best: int, full: int, seconds: float) -> int:
    """How many of the queued jobs one of the idle workers gets at most: `best`, a batch of which takes `seconds`, and
    up to `full` of a queue that holds more than `best` for each of the workers.

    Several idle workers split the queue evenly, unless a batch is so short that messages would cost more.
    """
    most = max(best, min(full, queued // max(workers, 1)))
    if seconds < SPREAD_WORTH_S:
        return most
    return max(1, min(most, math.ceil(queued / max(idle, 1))))


def ahead(workers: int, seconds: float, cores: int) -> int:
    """How many batches to have under way through a broker: those that run, and where they are short, as many waiting.

    A batch formed early misses company that comes later; one formed late leaves a worker idle for a round trip, which
    on one core costs nothing: the round trip needs that core.
    """
    return workers if seconds > BROKER_WORTH_S or cores == 1 else 2 * workers


def expected_s(queued: int, workers: int, best: int, seconds: float) -> float:
    """Seconds until a job that joins `queued` others is answered, where `workers` run batches of `best` in `seconds`:
    the queue before it, half of what runs now, and its own batch."""
    if queued == 0:
        return 0.0
    return queued * seconds / best / max(workers, 1) + 1.5 * seconds


def wait_s(taken: int, best: int, others_idle: bool, utilisation: float, rate: float, one_s: float,
           grown_s: float, longest_s: float) -> float:
    """Seconds to wait for another job before starting a batch of `taken`; 0 for a lone request.

    A job that joins saves `one_s` - `grown_s` (its cost alone, less what it adds to the batch), worth as much as
    workers are busy; each of those taken pays the expected 1 / rate until it comes. In simulated queues anything laxer
    made the 99th percentile worse: a queue fills by itself while workers are busy.
    """
    if taken < 2 or taken >= best or others_idle or rate <= 0:
        return 0.0
    gap_s = 1 / rate
    worth = (one_s - grown_s) * utilisation > gap_s * taken
    return min(gap_s, longest_s) if worth and gap_s <= longest_s else 0.0


def pick(sizes: Sequence[int], slack_s: Sequence[float], cost: Cost, most: int, gain: float) -> list[int]:
    """Which jobs run now, as indices in order of age: always job 0, the oldest, and at most `most`.

    Where padding costs more than `gain`, those near it in length that save most of what each would cost alone: the run
    of neighbours by length, job 0 in it, with the least cost for the work done. Else the next oldest. No batch of
    several costs more than the least slack of its members, nor comes within `gain` of running its members alone.
    """
    if most <= 1 or len(sizes) == 1:
        return [0]
    count = min(most, len(sizes))
    mean = sum(sizes) / len(sizes)
    if cost(count, mean, max(sizes)) <= (1 + gain) * cost(count, mean, mean):
        return _oldest(sizes, slack_s, cost, count)
    return _alike(sizes, slack_s, cost, most, gain)


def fronts_for(item_s: float, cores: int) -> int:
    """How many front processes keep up with workers that need `item_s` CPU seconds for an item on `cores` cores."""
    return max(1, min(cores, math.ceil(cores * FRONT_REQUEST_S / (FRONT_REQUEST_S + item_s) - 0.1)))


def _oldest(sizes: Sequence[int], slack_s: Sequence[float], cost: Cost, count: int) -> list[int]:
    slack, longest, total = slack_s[0], sizes[0], sizes[0]
    for i in range(1, count):
        slack, longest, total = min(slack, slack_s[i]), max(longest, sizes[i]), total + sizes[i]
        if cost(i + 1, total / (i + 1), longest) > slack:
            return list(range(i))
    return list(range(count))


def _alike(sizes: Sequence[int], slack_s: Sequence[float], cost: Cost, most: int, gain: float) -> list[int]:
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    oldest = order.index(0)
    apart = [cost(1, sizes[i], sizes[i]) for i in order]
    least, found = 1 - gain, (oldest, oldest + 1)
    for begin in range(max(0, oldest - most + 1), oldest + 1):
        work = sum(apart[begin:oldest])
        total = sum(sizes[i] for i in order[begin:oldest])
        slack = min((slack_s[i] for i in order[begin:oldest]), default=math.inf)
        for end in range(oldest + 1, min(len(order), begin + most) + 1):
            work += apart[end - 1]
            total += sizes[order[end - 1]]
            slack = min(slack, slack_s[order[end - 1]])
            seconds = cost(end - begin, total / (end - begin), sizes[order[end - 1]])
            if end - begin > 1 and seconds <= slack and seconds < least * work:
                least, found = seconds / work, (begin, end)
    return sorted(order[found[0]:found[1]])
