"""What to conclude from a figure, in words that the figures choose; `~` stands first where nothing can be told."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analyse.compare import TELLING
from harness.analyse.model import Cell, Interval, Verdict
from harness.report.select import Match, bounded, p99
from harness.report.traces import Timeline
from harness.report.words import clean, figure, listed, milliseconds, percent, times, verb

MOVED = 1.5    # a median that moves by less between two quarters of a run is called steady
SPIKE = 5.0    # a slice's p99 this many times the usual one is called a spike
LATE = 0.1     # a share of time spent on sending late that is worth a word
SAID = {"model": "the model", "copy": "copying to and from the GPU", "kernel": "the GPU's kernels",
        "queue": "the queue", "wait": "waiting for batches to fill", "lag": "being sent late",
        "connect_send": "connecting and sending", "rest": "the rest (HTTP, scheduling)"}
_BY_COUNTERS = "from the server's own counters over the whole load, warm-up included, not told per request"


def lead(match: Match) -> str:
    """The match in a line: who keeps the promise, who does not, and for whom that cannot be told."""
    words: dict[Verdict, tuple[str, str]] = {
        "pass": ("keeps the promise", "keep the promise"), "fail": ("breaks the promise", "break the promise"),
        "inconclusive": ("cannot be judged yet (~)", "cannot be judged yet (~)"),
        "invalid": ("has no valid measurement", "have no valid measurement")}
    said = [verb([clean(cell.setup) for cell in cells], *words[verdict]) for verdict in words
            if (cells := [cell for cell in match.cells if cell.verdict == verdict])]
    promised = any(cell.promises for cell in match.cells)
    verdicts = f"{', '.join(said)}." if promised else "Nothing was promised."
    closed = any(cell.closed_loop for cell in match.cells)
    rate = "in a closed loop" if closed else f"at {figure(match.cells[0].offered_rate)} requests/s"
    return f"{clean(match.workload)} {rate}: {verdicts}"


def ranking(match: Match) -> str:
    """Whose p99 is the shortest, by how much, and who cannot be told from it."""
    cells = match.trusted
    if not cells:
        return "~ There is no valid measurement, so nothing can be said about these tails."
    best, *others = cells
    name, lead = clean(best.setup), milliseconds(p99(best).value)
    if not others:
        return f"{name} is the only valid measurement: p99 {lead}{_range(best)}."
    ratios = [(cell, match.ratio(cell, best)) for cell in others]
    tied = [cell for cell, ratio in ratios if ratio is None]
    slower = [_behind(cell, ratio) for cell, ratio in ratios if ratio is not None]
    behind = listed(slower)
    if not tied:
        return f"{name} has the shortest tail, p99 {lead}{_range(best)}; {behind}."
    names = listed([name, *(clean(cell.setup) for cell in tied)])
    last = milliseconds(p99(tied[-1]).value)
    span = lead if last == lead else f"{lead} to {last}"
    seen = [match.detectable(cell, best) for cell in tied]
    if all(math.isfinite(least) for least in seen):
        span += f"; a ratio of {times(max(seen))} would have shown"
    elif any(math.isinf(least) for least in seen):
        span += f"; not even a ratio of {times(TELLING)} would have shown"
    if not slower:
        return f"~ Inconclusive: {names} cannot be told apart at p99 ({span})."
    return f"{names} cannot be told apart at p99 (~, {span}); against {name}, {behind}."


def tails(match: Match) -> str:
    """Who has the shortest tail, who cannot be told from it, and who keeps the promise."""
    cells = match.trusted
    said = [ranking(match), *_promises(cells), *_unbounded(cells)]
    failing = [f"{clean(cell.setup)} {percent(cell.error_rate)}" for cell in cells if cell.error_rate > 0]
    if failing:
        said.append(f"Failed or answered wrongly: {listed(failing)} of the requests.")
    return " ".join([*said, *_left_out(match)])


def over_time(match: Match, seen: Mapping[str, Timeline]) -> str:
    """Whether medians held, where p99 spiked, and when requests failed."""
    lines = {clean(cell.setup): seen[cell.setup] for cell in match.cells if cell.setup in seen}
    long = {name: line for name, line in lines.items() if len(line.n) >= 4}
    said = _drift(long) if long else ["~ Too few requests to tell how latency moved during a run."]
    said += [text for name, line in long.items() if (text := _spike(name, line))]
    said += [text for name, line in lines.items() if (text := _failed_when(name, line))]
    return " ".join([*said, *_left_out(match)])


def parts(match: Match) -> str:
    """Which part takes most of each setup's time."""
    told = [cell for cell in match.cells if sum(cell.time_ms.values()) > 0]
    if not told:
        return "~ No setup tells where its time goes."
    groups: dict[str, list[Cell]] = {}
    silent: list[str] = []
    for cell in told:
        if "model" not in cell.time_ms:
            silent.append(clean(cell.setup))
            continue
        groups.setdefault(max(cell.time_ms, key=lambda part: cell.time_ms[part]), []).append(cell)
    said = []
    for part, cells in groups.items():
        shares = [cell.time_ms[part] / sum(cell.time_ms.values()) for cell in cells]
        names = [f"{clean(cell.setup)} ({percent(share)})" for cell, share in zip(cells, shares, strict=True)]
        word = "Most of the time" if min(shares) > 0.5 else "The largest part of the time"
        what = "what the CPU does of the model" if part == "model" and any(
            "kernel" in cell.time_ms for cell in cells) else SAID.get(part, part)
        said.append(f"{word} goes into {what} in {listed(names)}.")
    if silent:
        said.append(f"{verb(silent, 'does not tell its parts', 'do not tell their parts')}.")
    said += _counted(told)
    late = [clean(cell.setup) for cell in told if cell.time_ms.get("lag", 0.0) > LATE * sum(cell.time_ms.values())]
    if late:
        said.append(f"The generator's own lateness is more than a tenth of the time for {listed(late)}: "
                    "read that as the harness's, not the setup's.")
    return " ".join([*said, *_left_out(match)])


def counted_parts(cell: Cell) -> list[str]:
    """The parts of its time that only the server's own counters tell."""
    return [part for part in cell.counted if part in cell.time_ms]


def _counted(cells: Sequence[Cell]) -> list[str]:
    """One sentence for all whose counters tell the same parts."""
    by_parts: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        if parts := counted_parts(cell):
            by_parts.setdefault(tuple(parts), []).append(clean(cell.setup))
    return [f"* {verb([SAID[part] for part in parts], 'is a mean', 'are means')} {_BY_COUNTERS}: {listed(names)}."
            for parts, names in by_parts.items()]


def batches(match: Match) -> str:
    """Who builds batches, how large, and who serves one request at a time."""
    told = {cell.setup: _sizes(cell) for cell in match.cells}
    single = [clean(name) for name, sizes in told.items() if list(sizes) == [1]]
    silent = [clean(name) for name, sizes in told.items() if not sizes]
    said = [f"{clean(name)} serves half its requests in batches of {_median(sizes)} or more, {max(sizes)} at most, and "
            f"{percent(sizes.get(1, 0.0))} alone." for name, sizes in told.items() if sizes and list(sizes) != [1]]
    if single:
        said.append(f"{verb(single, 'serves', 'serve')} one request at a time.")
    if silent:
        said.append(f"{verb(silent, 'does', 'do')} not tell the size of a batch.")
    counted = [clean(cell.setup) for cell in match.cells if "batches" in cell.counted]
    if counted:
        said.append(f"* The sizes are {_BY_COUNTERS}: {listed(counted)}.")
    return " ".join([*said, *_left_out(match)])


def loads(climb: Sequence[Match]) -> str:
    """Up to which of the measured loads each setup keeps the promise."""
    said = []
    for name in sorted({cell.setup for match in climb for cell in match.cells}):
        cells = [cell for match in climb for cell in match.cells if cell.setup == name]
        kept = [cell for cell in cells if cell.verdict == "pass"]
        stop = next((cell for cell in cells if cell.verdict != "pass"), None)
        if stop is None:
            said.append(f"{clean(name)} keeps the promise at every load measured, up to "
                        f"{figure(kept[-1].offered_rate)}/s.")
            continue
        before = [cell for cell in kept if cell.offered_rate < stop.offered_rate]
        lower = f"up to {figure(before[-1].offered_rate)}/s" if before else "at no lower load"
        said.append(f"{clean(name)} keeps the promise {lower} and {_ended(stop.verdict)} at "
                    f"{figure(stop.offered_rate)}/s.")
    return " ".join(said)


def _behind(cell: Cell, ratio: Interval) -> str:
    if math.isinf(ratio.value):
        return f"{clean(cell.setup)} fails more than one request in a hundred and has no finite p99"
    return f"{clean(cell.setup)} takes {times(ratio.value)} as long ({milliseconds(p99(cell).value)})"


def _range(cell: Cell) -> str:
    interval = p99(cell)
    if not bounded(interval):
        return ", which the data do not bound"
    return f" (95 % interval {milliseconds(interval.low)} to {milliseconds(interval.high)})"


def _promises(cells: Sequence[Cell]) -> list[str]:
    said = []
    words: dict[Verdict, str] = {"pass": "is kept by", "fail": "is broken by", "inconclusive": "is undecided for",
                                 "invalid": "cannot be judged for"}
    texts = dict.fromkeys(promise.text for cell in cells for promise in cell.promises)
    for text in (text for text in texts if text.startswith("p(")):
        by: dict[Verdict, list[str]] = {}
        for cell in cells:
            for promise in cell.promises:
                if promise.text == text:
                    by.setdefault(promise.verdict, []).append(clean(cell.setup))
        ends = [f"{words[verdict]} {listed(by[verdict])}" for verdict in words if verdict in by]
        said.append(f"The promise {clean(text)} {'; it '.join(ends)}.")
    return said


def _unbounded(cells: Sequence[Cell]) -> list[str]:
    open_ = [clean(cell.setup) for cell in cells[1:] if not bounded(p99(cell)) and math.isfinite(p99(cell).value)]
    return [f"The data do not bound the p99 of {listed(open_)}."] if open_ else []


def _left_out(match: Match) -> list[str]:
    said = []
    invalid = [clean(cell.setup) for cell in match.cells if cell.verdict == "invalid"]
    if invalid:
        said.append(f"{verb(invalid, 'was', 'were')} not measured validly and {'is' if len(invalid) == 1 else 'are'} "
                    "shown without being ranked.")
    if any(cell.closed_loop for cell in match.cells):
        said.append("Closed loop: the load waited for answers, which hides queueing; "
                    "never read this as a promise kept.")
    return said


def _drift(lines: Mapping[str, Timeline]) -> list[str]:
    moved = []
    for name, line in lines.items():
        quarter = max(1, len(line.n) // 4)
        first, last = float(np.median(line.p50_ms[:quarter])), float(np.median(line.p50_ms[-quarter:]))
        if math.isinf(last) and math.isfinite(first):
            moved.append(f"the median of {name} is lost to failures by the last quarter")
        elif math.isfinite(first) and max(last / first, first / last) > MOVED:
            word = "rises" if last > first else "falls"
            moved.append(f"the median of {name} {word} from {milliseconds(first)} in the first quarter "
                         f"to {milliseconds(last)} in the last")
    if not moved:
        subject = "Medians hold: none moves" if len(lines) > 1 else "The median holds: it does not move"
        return [f"{subject} by more than {times(MOVED)} between the first and the last quarter."]
    text = listed(moved)
    return [f"{text[0].upper()}{text[1:]}."]


def _spike(name: str, line: Timeline) -> str:
    usual, worst = float(np.median(line.p99_ms)), int(np.argmax(line.p99_ms))
    peak = float(line.p99_ms[worst])
    if not math.isfinite(peak) or peak < SPIKE * usual:
        return ""
    middle = float(line.start_s[worst] + line.end_s[worst]) / 2
    return (f"The p99 of {name} spikes to {milliseconds(peak)} around {figure(middle, 2)} s, "
            f"{times(peak / usual)} its usual slice.")


def _failed_when(name: str, line: Timeline) -> str:
    wrong = np.flatnonzero(line.errors)
    if not len(wrong):
        return ""
    count = int(line.errors.sum())
    lead = f"{name} failed {count:,} request{'s' if count > 1 else ''}"
    if len(line.n) < 4 or len(wrong) > len(line.n) / 2:
        return f"{lead}, spread over the run."
    first, last = float(line.start_s[wrong[0]]), float(line.end_s[wrong[-1]])
    return f"{lead}, between {figure(first, 2)} s and {figure(last, 2)} s."


def _sizes(cell: Cell) -> dict[int, float]:
    """The shares of the batch sizes that were told, summing to 1."""
    told = {size: share for size, share in sorted(cell.batches.items()) if size > 0 and share > 0}
    return {size: share / sum(told.values()) for size, share in told.items()}


def _median(sizes: Mapping[int, float]) -> int:
    """The largest size of which at least half the requests were served in batches that large."""
    return max(size for size in sizes if sum(share for other, share in sizes.items() if other >= size) >= 0.5 - 1e-9)


def _ended(verdict: Verdict) -> str:
    return {"fail": "breaks it", "inconclusive": "cannot be judged (~)", "invalid": "was not measured validly",
            "pass": "keeps it"}[verdict]
