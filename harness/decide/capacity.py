"""The highest load a setup carries within its promise, found in few probes.

A light probe and a short saturated burst fit the twin; it says where the promise ends; probes around there correct its
speed on the very arrivals they were sent, and the certificate says which of them passed and which failed. `search` is
pure: what sends a probe comes in as an argument.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from harness.analyse.model import Verdict
from harness.catalog.slo import Promise
from harness.decide.capacity_boundary import FINEST, Boundary, boundary, strictest, tuned
from harness.decide.capacity_verdict import drowned, limited, verdict_of
from harness.decide.twin import Clients, Structure, Twin, ceiling
from harness.decide.twin_fit import fitted
from harness.decide.twin_seen import Seen, most_answered
from harness.errors import TailraceError
from harness.record.capacity import Capacity, Rate

__all__ = ["Capacity", "Found", "Probe", "Rate", "Result", "Sent", "search"]

Kind = Literal["light", "burst", "load"]

WARMUP_S = 1.0  # what a probe sends before it counts
BUDGETED = 0.97  # of what is left: Poisson arrivals may be some more than expected
LEAST_SERVED = 0.1  # of what a lone request took: whatever a setup may wait for company, this much of it is work
BELOW = 0.9  # of a load at which the generator gave out: what it may still be asked for
STEP = 1.5  # no load is sent, nor promised, at more than so many times what was answered already
SURE = 0.80  # of the boundary: a load that a last probe can be certified to pass at, where none was
# An interval's half: so many standard errors of the probes' speeds, and at least so much of the rate, for the fit errs
# too; chosen on seeds 9000 to 9105 of benchmarks/capacity.py, which says how often the truth lies within.
WIDTH, LEAST_HALF = 2.0, 0.03


@dataclass(frozen=True)
class Probe:
    """A load to send: Poisson arrivals at `rate` for `duration_s`, drawn from `seed`."""

    kind: Kind
    rate: float
    duration_s: float
    seed: int

    @property
    def requests(self) -> float:
        """How many are expected."""
        return self.rate * self.duration_s


@dataclass(frozen=True)
class Result:
    """What a probe recorded. `refused` says why it certifies nothing ("" where it may), `blames` whose fault that is:
    the generator's ends the search."""

    seen: Seen
    refused: str = ""
    blames: str = ""


@dataclass(frozen=True)
class Sent:
    """A probe, what came of it, and what the certificate says of the promise there."""

    probe: Probe
    result: Result
    verdict: Verdict


@dataclass(frozen=True)
class Settings:
    """How a search goes. `start_rate` must be light for the setup; `most_rate` is what the generator may be asked. The
    first burst assumes that batches carry `batch_gain` times as much; a load lasts `least_s` at least, a burst
    `burst_s`, and none is sent for which `requests` leaves less."""

    probes: int = 6
    requests: int = 49_000
    start_rate: float = 20.0
    most_rate: float = 8_000.0
    light: int = 200
    burst: int = 3_500
    longest_s: float = 120.0
    least_s: float = 1.0
    burst_s: float = 0.5
    batch_gain: float = 2.0
    seed: int = 1
    plan: tuple[tuple[float, int], ...] = ((0.84, 12_000), (0.985, 13_000), (1.06, 6_000), (0.98, 12_000))
    shade: float = 0.01


@dataclass(frozen=True)
class Found:
    """The capacity. `last_passed` and `first_failed` are certified loads (NaN, inf where there is none); `binding` says
    what ends it; `why` is a sentence where no capacity can be given, and then `rate.value` is NaN."""

    rate: Rate
    last_passed: float
    first_failed: float
    binding: str
    shape: str
    twin: Twin | None
    boundary: Boundary | None
    sent: tuple[Sent, ...]
    why: str = ""

    @property
    def requests(self) -> int:
        """How many requests it took."""
        return sum(len(each.result.seen.due_s) for each in self.sent)


@dataclass
class Search:
    """A search under way."""

    probe: Callable[[Probe], Result]
    promises: tuple[Promise, ...]
    hint: Structure
    clients: Clients
    settings: Settings
    sent: list[Sent] = field(default_factory=list)

    @property
    def reach(self) -> float:
        """The highest load worth asking for: what the generator sends, and the budget allows three probes of."""
        settings, blamed = self.settings, self.blamed()
        return min(settings.most_rate, BUDGETED * settings.requests / 3 / (WARMUP_S + settings.least_s),
                   BELOW * blamed.probe.rate if blamed else math.inf)

    def affords_s(self, rate: float) -> float:
        """Seconds of that load which the budget still allows, after the warm-up."""
        left = self.settings.requests - sum(len(each.result.seen.due_s) for each in self.sent)
        return BUDGETED * left / rate - WARMUP_S

    def send(self, kind: Kind, rate: float, requests: float) -> Sent:
        """Sends one more probe; its requests fit the budget and its length `longest_s`."""
        settings = self.settings
        least_s = settings.burst_s if kind == "burst" else settings.least_s
        duration_s = min(max(requests / rate, least_s), self.affords_s(rate), settings.longest_s)
        probe = Probe(kind, rate, duration_s, settings.seed + len(self.sent))
        result = self.probe(probe)
        self.sent.append(Sent(probe, result, verdict_of(result.seen, self.promises) if not result.refused
                              else "invalid"))
        return self.sent[-1]

    @property
    def left(self) -> int:
        """Probes left."""
        return self.settings.probes - len(self.sent)

    def runs(self, kind: Kind | None = None) -> list[Seen]:
        """What was seen, of one kind or all. Of a kind of which every probe was disturbed by the host, the disturbed
        ones: they tell more of the setup than nothing does, and err to the careful side."""
        kinds = get_args(Kind) if kind is None else (kind,)
        return [seen for each in kinds for seen in self._runs(each)]

    def _runs(self, kind: Kind) -> list[Seen]:
        sent = [each for each in self.sent if each.probe.kind == kind and each.result.blames != "generator"]
        calm = [each for each in sent if not each.result.refused or kind == "burst"]  # in one, something always gives
        return [each.result.seen for each in calm or sent]

    def blamed(self) -> Sent | None:
        """The lightest probe that the generator, not the setup, limited. A burst is more than can be carried, by whom
        does not matter."""
        return min((each for each in self.sent if each.result.blames == "generator" and each.probe.kind != "burst"),
                   key=lambda each: each.probe.rate, default=None)

    def answered(self) -> float:
        """The most that was answered a second by any probe; 0 where none can say."""
        return float(np.nan_to_num(most_answered([each.result.seen for each in self.sent])))


def search(probe: Callable[[Probe], Result], promises: Sequence[Promise], hint: Structure, clients: Clients,
           settings: Settings | None = None) -> Found:
    """The highest load within the promises, of a setup that is built like `hint`.

    Raises TailraceError for promises that a load cannot be searched for.
    """
    wanted = tuple(promise for promise in promises if promise.metric in ("latency", "errors"))
    if not wanted or len(wanted) != len(tuple(promises)):
        raise TailraceError("a capacity needs promises about latency or errors, and about nothing else",
                            "write for example --slo 'p(99)<100ms' --error '<0.1%'")
    under = Search(probe, wanted, hint, clients, settings or Settings())
    why = _calibrate(under)
    if why:
        return _nothing(under, why, generator=under.blamed() is not None)
    twin, spread, found = _model(under)
    for share, requests in under.settings.plan:
        if under.left <= 0 or found.rate <= 0 or _settled(under, found.rate):
            break
        rate = min(found.rate * _share(under, share), under.reach, STEP * under.answered())
        if under.affords_s(rate) < under.settings.least_s:
            break
        under.send("load", rate, requests)
        twin, spread, found = _model(under)
    return _found(under, twin, spread, found)


def _calibrate(under: Search) -> str:
    """Sends the light probe and a burst that saturates; "" or why that cannot be."""
    light = under.send("light", under.settings.start_rate, under.settings.light)
    if light.result.refused and not under.blamed():
        light = under.send("light", under.settings.start_rate, under.settings.light)
    answered = light.result.seen.latency_s[np.isfinite(light.result.seen.latency_s)]
    if under.blamed() or not len(answered):
        return light.result.refused or "no request of the lightest load was answered"
    workers = under.hint.workers * under.hint.replicas
    gain = under.settings.batch_gain if under.hint.max_batch > 1 else 1.0
    lone_s = float(np.median(answered))
    served_s = max(lone_s - under.hint.wait_s, LEAST_SERVED * lone_s)  # a full batch waits for nobody
    rate = max(2.5 * workers * gain / served_s, 2 * under.settings.start_rate)
    for _ in range(2):
        rate = min(rate, under.reach)
        burst = under.send("burst", rate, min(under.settings.burst, 3.0 * rate))
        if burst.result.blames == "generator" or burst.result.seen.saturated or rate >= under.reach:
            break
        rate *= 2.5
    return ""


def _model(under: Search) -> tuple[Twin, float, Boundary]:
    """The twin of everything seen so far, its speed tuned on the loads that were carried, the standard error of that
    speed's log, and where the promise ends. A setup that drowns works slower than one that is nearly full."""
    twin, spread = tuned(fitted(under.runs(), under.hint, under.clients, under.settings.seed, np.ones(1)),
                         [run for run in under.runs("load") if not drowned(run, under.promises)],
                         strictest(under.promises).quantile or 0.99)
    return twin, spread, _bounded(under, boundary(twin, under.promises))


def _bounded(under: Search, found: Boundary) -> Boundary:
    """The boundary, limited by the loads that the setup itself answered for."""
    return limited(found, [each.result.seen for each in under.sent
                           if each.probe.kind == "load" and not each.result.blames], under.promises)


def _share(under: Search, share: float) -> float:
    """The planned share of the boundary, or one on the side that no certified probe has been on yet."""
    passed, failed = _edges(under)
    if share > 1 and math.isfinite(failed):
        return 0.97
    return SURE if under.left == 1 and math.isnan(passed) else share


def _edges(under: Search) -> tuple[float, float]:
    """The highest load certified to pass (NaN for none) and the lowest above it certified to fail (inf for none).

    The light probe's load counts only where it passed: a setup that breaks its promise there may keep it further up.
    """
    loads = [(each.result.seen.rate, each.verdict, each.probe.kind) for each in under.sent
             if each.probe.kind != "burst"]
    passed = max((rate for rate, verdict, _ in loads if verdict == "pass"), default=math.nan)
    failed = min((rate for rate, verdict, kind in loads
                  if verdict == "fail" and kind == "load" and not rate <= passed), default=math.inf)
    return passed, failed


def _settled(under: Search, rate: float) -> bool:
    """Whether certified loads enclose the boundary within 3 % already."""
    passed, failed = _edges(under)
    return passed >= 0.97 * rate and failed <= 1.05 * rate


def _found(under: Search, twin: Twin, spread: float, found: Boundary) -> Found:
    if found.rate <= 0:
        return _nothing(under, "the promise is broken at every load, however light", twin, found)
    passed, failed = _edges(under)
    promised = found.rate * (1 - under.settings.shade)
    if promised >= under.reach * 0.99:
        generator = under.reach == under.settings.most_rate or under.blamed() is not None
        return _nothing(under, "the setup carries more than the load generator can send" if generator else
                        f"the setup carries more than {under.settings.requests:,} requests can show", twin, found,
                        generator=generator)
    if promised > STEP * under.answered():
        return _nothing(under, f"no probe came near the {promised:.0f} requests/s that it seems to carry", twin, found)
    found = _bounded(under, boundary(twin, under.promises, FINEST))
    value = found.rate * (1 - under.settings.shade)
    value = min(max(value, passed if math.isfinite(passed) else 0.0), failed)
    # Speed moves the boundary more where it lies further below the ceiling: λ = φµ − c.
    half = min(max(WIDTH * spread * ceiling(twin) / found.rate, LEAST_HALF), 0.25)
    rate = Rate(value, min(found.rate * (1 - half), value), max(min(found.rate * (1 + half), failed), value))
    return Found(rate, passed, failed, found.binding, found.shape, twin, replace(found, rate=value), tuple(under.sent))


def _nothing(under: Search, why: str, twin: Twin | None = None, found: Boundary | None = None, *,
             generator: bool = False) -> Found:
    """No capacity, and why; `generator` says that it was the limit."""
    passed, failed = _edges(under)
    limited = under.blamed()
    if generator and limited:
        why = (f"the load generator, not the setup, was the limit at {limited.probe.rate:.0f} requests/s "
               f"({limited.result.refused})")
    binding = "generator" if generator else found.binding if found else "latency"
    return Found(Rate(math.nan, passed, math.inf), passed, failed, binding, "", twin, found, tuple(under.sent), why)
