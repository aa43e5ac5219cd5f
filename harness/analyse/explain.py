"""Why the slowest percent of a run was slow: shares of causes that sum to 1, with examples by row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analyse.explain_causes import CAUSES, Evidence, causes_ms
from harness.analyse.explain_parts import COLUMNS, Columns, Flights, flights, parts_ms, run_ms, whole
from harness.analyse.explain_pauses import Pauses, pauses
from harness.analyse.explain_queue import backlog, plan_of
from harness.analyse.explain_usual import model_times
from harness.analyse.frames import NEEDED, RunView, view
from harness.analyse.quantiles import kth_smallest, median
from harness.errors import TailraceError
from harness.record.read import StoredRun

SLOWEST = 0.01
EXAMPLES = 5
FEWEST = 100


@dataclass(frozen=True)
class Example:
    """One slow request: what most of its delay was spent on, and where it spent its time."""

    seq: int
    due_s: float
    latency_ms: float
    cause: str
    share: float
    parts_ms: Mapping[str, float]


@dataclass(frozen=True)
class Explanation:
    """The slowest percent of a run's answered requests.

    `shares` maps causes to their share of the delay, averaged over the `slowest` requests, most first, sum 1; `main`
    counts the requests whose greatest cause each is. `usual_ms` and `slow_ms` map parts to the median of all answers
    and the mean of the slowest. `sums` is the share of answers whose parts sum to the whole within 2 %. `pauses` maps
    a kind to (how many, ms in all). `cannot` says what this run does not tell. `failed` requests have no latency and
    are slower than any of these.
    """

    run_id: str
    setup: str
    workload: str
    scenario: str
    answered: int
    failed: int
    slowest: int
    median_ms: float
    from_ms: float
    worst_ms: float
    shares: Mapping[str, float]
    main: Mapping[str, int]
    usual_ms: Mapping[str, float]
    slow_ms: Mapping[str, float]
    sums: float
    pauses: Mapping[str, tuple[int, float]]
    cannot: tuple[str, ...]
    examples: tuple[Example, ...]


def explain(run: StoredRun) -> Explanation:
    """Why the run's slowest percent was slow. Raises TailraceError for a run without rows or answers."""
    columns = run.columns(*dict.fromkeys((*NEEDED, *COLUMNS)))
    return explained(view(run.meta, columns), columns, run.payload_bytes(), run.probes())


def explained(seen_run: RunView, columns: Columns, payload_bytes: NDArray[Any],
              probes: Mapping[str, NDArray[Any]]) -> Explanation:
    """The same from a run's view and its columns. Raises TailraceError for fewer than FEWEST answers."""
    meta = seen_run.meta
    seen = flights(columns, payload_bytes)
    n = int(np.count_nonzero(seen.good))
    if n < FEWEST:
        raise TailraceError(f"run {meta.run_id}: {n} requests were answered, too few for a slowest percent",
                            f"measure at least {FEWEST}")
    known = _evidence(seen_run, seen, probes)
    latency = (seen.done_ns - seen.due_ns) / 1e6
    slow = _slowest(seen, latency)
    spent = causes_ms(known, slow, backlog(seen, slow, plan_of(seen_run.scenario, seen)))
    table = np.column_stack([spent[cause] for cause in CAUSES])
    table[table.sum(axis=1) <= 0, CAUSES.index("untold")] = 1.0
    table /= table.sum(axis=1, keepdims=True)
    shares, best = table.mean(axis=0), table.argmax(axis=1)
    order = [index for index in np.argsort(-shares, kind="stable") if shares[index] > 0]
    return Explanation(
        meta.run_id, meta.setup, meta.workload, meta.scenario, n,
        int(np.count_nonzero(seen_run.rows.failed & ~seen_run.rows.unanswered)), len(slow),
        median(latency[seen.good]), float(latency[slow[-1]]), float(latency[slow[0]]),
        {CAUSES[index]: float(shares[index]) for index in order},
        {CAUSES[index]: int(np.count_nonzero(best == index)) for index in order if np.any(best == index)},
        known.usual_ms, {name: float(np.mean(known.parts[name][slow])) for name in known.parts},
        whole(seen, known.parts), _told_pauses(known.pauses), _cannot(seen_run, seen),
        _examples(known, slow, table, latency))


def _evidence(seen_run: RunView, seen: Flights, probes: Mapping[str, NDArray[Any]]) -> Evidence:
    parts = parts_ms(seen)
    model_ms = run_ms(parts)
    times = model_times(seen, model_ms)
    expected = times.expected if "model" in seen.tells else \
        np.full(len(seen), median(((seen.end_ns - seen.written_ns) / 1e6)[seen.good]))
    found = pauses(seen, seen_run.generators, probes, model_ms=model_ms, expected_ms=expected)
    crowded = np.zeros(len(seen), dtype=np.bool_)
    if np.any(seen_run.crowded):
        due = np.unique(seen_run.rows.due_ns[seen_run.crowded])
        crowded = np.isin(seen.due_ns, due)
    return Evidence(seen, parts, times, found, crowded)


def _slowest(seen: Flights, latency: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the slowest percent of the good answers, slowest first."""
    good = np.flatnonzero(seen.good)
    count = max(1, math.ceil(SLOWEST * len(good) - 1e-9))
    found = latency[good]
    slow = np.flatnonzero(found >= kth_smallest(found, len(found) - count))
    return np.asarray(good[slow[np.argsort(-found[slow], kind="stable")[:count]]])


def _told_pauses(found: Pauses) -> dict[str, tuple[int, float]]:
    kinds = {"host": found.host, "server": found.server, "server_collector": found.collector,
             "generator_collector": found.generator_collector}
    return {name: (len(each), each.total_ms) for name, each in kinds.items() if len(each)}


def _examples(known: Evidence, slow: NDArray[np.intp], table: NDArray[np.float64],
              latency: NDArray[np.float64]) -> tuple[Example, ...]:
    """The slowest request of each main cause, in the order of their shares, then the slowest of the rest."""
    best, shares = table.argmax(axis=1), table.mean(axis=0)
    causes = sorted(set(best.tolist()), key=lambda cause: -shares[cause])
    first = [int(np.flatnonzero(best == cause)[0]) for cause in causes]
    chosen = (first + [row for row in range(len(slow)) if row not in first])[:EXAMPLES]
    seen = known.seen
    return tuple(Example(int(seen.seq[slow[row]]), float(seen.due_ns[slow[row]] / 1e9), float(latency[slow[row]]),
                         CAUSES[best[row]], float(table[row].max()),
                         {name: float(known.parts[name][slow[row]]) for name in known.parts}) for row in chosen)


def _cannot(seen_run: RunView, seen: Flights) -> tuple[str, ...]:
    """What these records leave open, a sentence each."""
    said = []
    if not seen.told:
        said.append("The setup tells no times of its own that can be believed: queue, batch wait and model are one "
                    "stretch, and what no backlog, pause or input explains of it stays untold.")
    else:
        if "queue" not in seen.tells:
            said.append("The setup does not tell its queue: what it does not tell of its stretch counts as waiting "
                        "wherever other requests were there.")
        if "gc" not in seen.tells:
            said.append("No answer tells of a pass of the server's garbage collector: one would look like a pause of "
                        "the server, or like a slow model where a single run was under way.")
    if not np.any(seen.bytes):
        said.append("The lengths of the payloads were not recorded: a long input looks like a slow model.")
    if not seen.connect_known:
        said.append("Connecting was not timed: it is part of what the server does not tell.")
    if not seen.first_byte_known:
        said.append("First bytes were not timed: receiving is part of what the server does not tell.")
    if not all(each.get("hiccup_realtime") for each in seen_run.generators) or not seen_run.generators:
        said.append("The meter of host pauses had no realtime priority, or none ran: its pauses may be the generator's "
                    "own work, and some may be missing.")
    if seen_run.warm_up.requests:
        said.append(f"The first {seen_run.warm_up.requests:,} requests look like warming up and are left out of other "
                    "figures; here they are looked at like all others.")
    if seen_run.scenario.closed:
        said.append("Closed loop: nothing was planned to arrive, so nothing can arrive in a burst.")
    return tuple(said)
