"""Which values of a setup's knobs serve best? Successive halving over few, short runs; pure: measuring is handed in.

Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization": every candidate is
measured a little, the better part more. Two things are added. All candidates of a repetition meet the same schedule and
payloads, so they are compared by pairs; and a candidate leaves as soon as it is not credibly better than the default,
so a search that cannot find anything ends early.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analyse.compare import paired
from harness.analyse.model import Interval
from harness.catalog.setup import Knob

Knobs = dict[str, Knob]
Change = tuple[tuple[str, Knob], ...]
Measure = Callable[[Knobs, int], float]
RUNGS = ((4, 1), (2, 2), (1, 3))  # how many stay beside the default after so many repetitions each
FRESH = 5
LEAST = 1e-3                      # of a figure whose logarithm is taken: nothing good was answered


@dataclass(frozen=True)
class Found:
    """What a search came to: the winner (the default's own knobs where nothing is better), the means of the fresh runs
    of both, their ratio with its interval over `fresh` valid pairs, the smallest ratio above 1 that four in five
    searches would have told (NaN: too few pairs), how many runs it took, and why it ended."""

    knobs: Knobs
    default_score: float
    score: float
    ratio: Interval
    fresh: int
    runs: int
    why: str
    detectable: float = math.nan

    @property
    def better(self) -> bool:
        """Whether the interval of the ratio lies above 1."""
        return self.ratio.low > 1


def candidates(choices: Mapping[str, Sequence[Knob]], default: Mapping[str, Knob], count: int,
               seed: int) -> list[Knobs]:
    """The default and at most `count` other settings, no two alike. Half of them change one knob, the next two, and
    only where those are used up are more changed; each takes the knobs and then the values that were taken least, as a
    Latin hypercube does (McKay, Beckman & Conover 1979).

    The default is what an engine's documentation recommends, so what is better lies near it; and of settings drawn
    from all combinations most would be spoilt by some one knob, few workers for example.
    """
    draw, used, drawn = random.Random(seed), Counter[object](), list[Change]()
    for width, most in ((1, -(-count // 2)), (2, count), (1, count), *((n, count) for n in range(3, len(choices) + 1))):
        if len(drawn) >= most:
            continue
        pool = [change for change in _changes(choices, default, width) if change not in drawn]
        draw.shuffle(pool)
        while pool and len(drawn) < most:
            change = min(pool, key=lambda each: (sum(used[name] for name, _ in each), sum(used[pair] for pair in each)))
            pool.remove(change)
            drawn.append(change)
            used.update([*change, *(name for name, _ in change)])
    return [dict(default), *({**default, **dict(change)} for change in drawn)]


def _changes(choices: Mapping[str, Sequence[Knob]], default: Mapping[str, Knob], width: int) -> list[Change]:
    """Every way to change that many knobs."""
    others = {name: [value for value in choices[name] if value != default[name]] for name in sorted(choices)}
    return [tuple(zip(names, values, strict=True)) for names in itertools.combinations(others, width)
            for values in itertools.product(*(others[name] for name in names))]


def most_runs(settings: int, fresh: int, rungs: Sequence[tuple[int, int]] = RUNGS) -> int:
    """How many runs a search of so many settings takes at most."""
    spent, alive = 0, settings
    for keep, repetitions in rungs:
        spent += alive * repetitions
        alive = min(alive, keep + 1)
    return spent + 2 * fresh


def search(settings: Sequence[Knobs], measure: Measure, rungs: Sequence[tuple[int, int]] = RUNGS, fresh: int = FRESH,
           say: Callable[[str], None] = lambda _: None) -> Found:
    """The best of `settings`, of which the first is the default. `measure` gives a score (greater is better; NaN where
    no measurement was valid, and the pair is dropped) for knobs and a repetition, whose number decides the schedule;
    fresh runs have numbers that the search never used."""
    scores: dict[int, list[float]] = {index: [] for index in range(len(settings))}
    alive, repetition, why = list(scores), 0, ""
    for keep, repetitions in rungs:
        if len(alive) == 1:
            break
        for _ in range(repetitions):
            for index in _turn(alive, repetition):
                scores[index].append(measure(settings[index], repetition))
            repetition += 1
        alive = survivors({index: scores[index] for index in alive}, keep)
        say(f"after {repetition} repetitions: {len(alive) - 1} of {len(settings) - 1} settings may beat the default")
    if len(alive) == 1:
        why = "nothing tried is credibly better than the default"
    best = max(alive[1:], key=lambda index: _mean_log(scores[index]), default=0)
    spent = sum(len(each) for each in scores.values())
    return _confirmed(settings, best, measure, range(repetition, repetition + fresh), spent, why)


def survivors(scores: Mapping[int, Sequence[float]], keep: int) -> list[int]:
    """The default (0) and the `keep` best others, without those that repetitions show not to be better than it: of one
    repetition by their order alone, of more by the interval of the ratio to the default over pairs."""
    ordered = sorted((index for index in scores if index), key=lambda index: -_mean_log(scores[index]))
    return [0, *(index for index in ordered[:keep] if _credible(scores[index], scores[0]))]


def _credible(ours: Sequence[float], default: Sequence[float]) -> bool:
    logs = _logs(ours, default)
    return len(logs) < 2 or paired(logs)[0].high > 1


def _confirmed(settings: Sequence[Knobs], best: int, measure: Measure, repetitions: range, spent: int,
               why: str) -> Found:
    """The best against the default in fresh runs, taking turns: a search's own figures flatter who won it."""
    if best == 0:
        nothing = Interval(1.0, 1.0, 1.0)
        return Found(settings[0], math.nan, math.nan, nothing, 0, spent, why)
    pairs = []
    for repetition in repetitions:
        got = {index: measure(settings[index], repetition) for index in _turn([0, best], repetition)}
        pairs.append((got[best], got[0]))
    runs, valid = spent + 2 * len(pairs), [pair for pair in pairs if not any(map(math.isnan, pair))]
    if len(valid) < 2:
        return Found(settings[0], math.nan, math.nan, Interval(math.nan, math.nan, math.nan), len(valid), runs,
                     f"{len(valid)} of {len(pairs)} fresh pairs were measured validly, too few to tell")
    ours, default = [pair[0] for pair in valid], [pair[1] for pair in valid]
    ratio, _, detectable = paired(_logs(ours, default))
    better = ratio.low > 1
    why = "fresh runs confirm the best setting" if better else "fresh runs do not show the best setting to be better"
    return Found(settings[best] if better else settings[0], sum(default) / len(valid), sum(ours) / len(valid), ratio,
                 len(valid), runs, why, detectable)


def _turn(indices: Sequence[int], repetition: int) -> list[int]:
    """Every second repetition runs backwards, so that a drift of the machine falls on all alike."""
    return list(indices) if repetition % 2 == 0 else list(reversed(indices))


def _logs(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Log ratios of the pairs of which both were measured validly."""
    return [math.log(max(a, LEAST) / max(b, LEAST)) for a, b in zip(ours, theirs, strict=True)
            if not (math.isnan(a) or math.isnan(b))]


def _mean_log(scores: Sequence[float]) -> float:
    """Over what was measured validly; of nothing, less than any."""
    logs = [math.log(max(score, LEAST)) for score in scores if not math.isnan(score)]
    return sum(logs) / len(logs) if logs else -math.inf
