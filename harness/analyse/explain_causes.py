"""What each slow request waited for, in ms by cause: docs/explain.md says how and what it cannot tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.analyse.explain_parts import RUN_PARTS, SERVER_PARTS, Flags, Flights, Floats, run_ms
from harness.analyse.explain_pauses import Pauses
from harness.analyse.explain_queue import Backlog
from harness.analyse.explain_usual import ModelTimes, line, parallelism
from harness.analyse.quantiles import median

CAUSES = ("host_pause", "server_pause", "collection", "burst", "capacity", "long_input", "model", "batch", "cold",
          "network", "http", "generator", "untold")

FEW_COLD = 3  # cold connections from which their cost is told


@dataclass(frozen=True)
class Evidence:
    """What is known of a run: its flights, their parts in ms, model times, pauses, and requests that had to wait in the
    generator because the setup held all its connections (`crowded`, [n])."""

    seen: Flights
    parts: Mapping[str, Floats]
    times: ModelTimes
    pauses: Pauses
    crowded: Flags

    @cached_property
    def usual_ms(self) -> dict[str, float]:
        """The median of each part over the good answers."""
        return {name: median(values[self.seen.good]) for name, values in self.parts.items()}


def causes_ms(known: Evidence, slow: NDArray[np.intp], met: Backlog) -> dict[str, Floats]:
    """CAUSES, [m] each: what is beyond each part's median in the run, charged to what it was spent on. `slow` are
    indices of flights, `met` the backlog that each of them met."""
    excess = {name: np.maximum(values[slow] - known.usual_ms[name], 0.0) for name, values in known.parts.items()}
    spent = {cause: np.zeros(len(slow)) for cause in CAUSES}
    _charge_client(known, slow, excess, spent)
    paused = _charge_pauses(known, slow, met, excess, spent)
    spent["collection"] += excess.pop("gc")
    spent["batch"] += excess.pop("wait")
    queued = excess.pop("queue") + _charge_respond(known, slow, met, excess.pop("respond"), spent)
    queued += np.where(known.crowded[slow], excess["lag"], 0.0)
    spent["generator"] += np.where(known.crowded[slow], 0.0, excess.pop("lag"))
    run = [excess.pop(name) for name in RUN_PARTS if name in excess]
    _charge_model(known, slow, np.asarray(sum(run)), spent)
    _charge_queue(known, slow, met, queued, paused, spent)
    return spent


def _charge_client(known: Evidence, slow: NDArray[np.intp], excess: dict[str, Floats],
                   spent: dict[str, Floats]) -> None:
    """Lag, connecting, sending and receiving: pauses of the generator's host and collector, else the network."""
    seen, pauses = known.seen, known.pauses
    due, sent, opened, written = seen.due_ns[slow], seen.sent_ns[slow], seen.open_ns[slow], seen.written_ns[slow]
    spans = {"lag": (due, sent), "connect": (sent, opened), "send": (opened, written),
             "receive": (seen.end_ns[slow], seen.done_ns[slow])}
    for name, (start, end) in spans.items():
        for cause, stretch in (("host_pause", pauses.host), ("collection", pauses.generator_collector)):
            charged = np.minimum(excess[name], stretch.within(start, end))
            spent[cause] += charged
            excess[name] = excess[name] - charged
    spent["cold"] += excess.pop("connect")
    spent["network"] += excess.pop("send") + excess.pop("receive")


def _charge_pauses(known: Evidence, slow: NDArray[np.intp], met: Backlog, excess: dict[str, Floats],
                   spent: dict[str, Floats]) -> Floats:
    """Takes out of the server's parts what stood still since the backlog each request met had begun; how much."""
    seen, pauses = known.seen, known.pauses
    start = np.minimum(met.since_ns, seen.written_ns[slow])
    stood = {"host_pause": pauses.host_wide, "server_pause": pauses.server, "collection": pauses.collector}
    within = {cause: stretch.within(start, seen.end_ns[slow]) for cause, stretch in stood.items()}
    told = [name for name in SERVER_PARTS if name in excess]
    inside = sum((excess[name] for name in told), np.zeros(len(slow)))
    total = sum(within.values(), np.zeros(len(slow)))
    charged = np.minimum(inside, total)
    for cause, each in within.items():
        spent[cause] += charged * each / np.maximum(total, 1e-9)
    for name in told:
        excess[name] = excess[name] * (1 - charged / np.maximum(inside, 1e-9))
    return np.asarray(charged)


def _charge_respond(known: Evidence, slow: NDArray[np.intp], met: Backlog, excess: Floats,
                    spent: dict[str, Floats]) -> Floats:
    """Charges what the server does not tell of its stretch; returns what of it was waiting behind others, in ms.

    What a cold connection adds is its own estimate; where the model's time is not told, a line through all requests
    says what each request ahead and each byte of input usually add.
    """
    seen = known.seen
    told_model, told_queue = "model" in seen.tells, "queue" in seen.tells
    ahead = seen.ahead.astype(np.float64)
    cold = np.minimum(excess, _cold_ms(seen, known.parts["respond"], ahead) * seen.cold[slow])
    spent["cold"] += cold
    left: Floats = np.asarray(excess - cold)
    if told_queue:
        spent["http"] += left
        return np.zeros(len(slow))
    if told_model:
        waited = np.where(met.ahead > 0, left, 0.0)
        spent["http"] += left - waited
        return np.asarray(waited)
    good = seen.good
    usual = line(known.parts["respond"][good], ahead=ahead[good], bytes=seen.bytes[good].astype(np.float64))
    beyond = np.maximum(seen.bytes[slow] - median(seen.bytes[good]), 0)
    long = np.minimum(left, usual.slopes.get("bytes", 0.0) * beyond)
    more = np.maximum(met.ahead - median(ahead[good]), 0)
    waited = np.minimum(left - long, usual.slopes.get("ahead", 0.0) * more)
    spent["long_input"] += long
    spent["untold"] += left - long - waited
    return np.asarray(waited)


def _cold_ms(seen: Flights, respond_ms: Floats, ahead: Floats) -> float:
    """How much longer a request takes on a connection opened for it: the median difference of cold ones from the median
    of warm ones that found as many others ahead, since a backlog opens connections too. 0 where there are too few."""
    cold, warm = seen.good & seen.cold, np.flatnonzero(seen.good & ~seen.cold)
    alike = {count: respond_ms[warm[ahead[warm] == count]] for count in np.unique(ahead[cold])}
    usual = {count: median(found) for count, found in alike.items() if len(found)}
    more = [value - usual[count] for value, count in zip(respond_ms[cold], ahead[cold], strict=True) if count in usual]
    return max(0.0, float(np.median(more))) if len(more) >= FEW_COLD else 0.0


def _charge_model(known: Evidence, slow: NDArray[np.intp], excess: Floats, spent: dict[str, Floats]) -> None:
    """The request's own model run: a longer input than usual, a larger batch, else the model itself."""
    times = known.times
    long = np.minimum(excess, np.maximum(times.expected - times.of_batch, 0.0)[slow])
    batch = np.minimum(excess - long, np.maximum(times.of_batch - times.usual, 0.0)[slow])
    spent["long_input"] += long
    spent["batch"] += batch
    spent["model"] += excess - long - batch


def _charge_queue(known: Evidence, slow: NDArray[np.intp], met: Backlog, queued: Floats, paused: Floats,
                  spent: dict[str, Floats]) -> None:
    """Waiting behind others: first the work of those served since the backlog began that is beyond the usual (long
    inputs, slow model runs), then their number: more came than planned, or the server was as busy as it can be."""
    seen, times = known.seen, known.times
    model_ms = run_ms(known.parts)
    runs = 1.0 / np.maximum(seen.batch, 1)
    workers = parallelism(seen, model_ms)
    start, end = met.since_ns, seen.end_ns[slow]
    long = np.maximum(_net(seen, (times.expected - times.of_batch) * runs, slow, (start, end)), 0.0) / workers
    model = np.maximum(_net(seen, (model_ms - times.expected) * runs, slow, (start, end)) - paused, 0.0) / workers
    work = long + model
    charged = np.minimum(queued, work)
    spent["long_input"] += charged * long / np.maximum(work, 1e-9)
    spent["model"] += charged * model / np.maximum(work, 1e-9)
    left = queued - charged
    explained = np.where(queued + paused > 0, (charged + paused) / np.maximum(queued + paused, 1e-9), 0.0)
    came, behind = np.maximum(met.came, 0.0), np.maximum(met.left, 0.0) * (1 - explained)
    share = came / np.maximum(came + behind, 1e-9)
    known_why = (met.ahead > 0) & (came + behind > 0)
    spent["burst"] += np.where(known_why, left * share, 0.0)
    spent["capacity"] += np.where(known_why, left * (1 - share), 0.0)
    spent["untold"] += np.where(known_why, 0.0, left)


def _net(seen: Flights, work_ms: Floats, slow: NDArray[np.intp], span: tuple[NDArray[np.int64], NDArray[np.int64]]
         ) -> Floats:
    """Work beyond the mean, in ms, of the requests that the server finished inside each span, the request itself left
    out."""
    beyond = np.where(seen.answered, work_ms - np.mean(work_ms[seen.good]), 0.0)
    total = np.concatenate([[0.0], np.cumsum(beyond[seen.by_end])])
    first, last = np.searchsorted(seen.ends, span[0]), np.searchsorted(seen.ends, span[1], side="right")
    inside = total[last] - total[first]
    return np.asarray(inside - beyond[slow])
