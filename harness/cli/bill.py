"""`tailrace bill` and `prices`: what a demand costs with each setup, and price lists from a public catalogue."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

from harness.analyse.model import Interval
from harness.cli.show import dump, grid, screen
from harness.decide.bill import Bill, cheapest_first, peak_note
from harness.decide.bill import bill as made_out
from harness.decide.bill_even import BreakEven, break_evens
from harness.decide.bill_measured import Asked, opened
from harness.decide.bill_offers import Offered, offered
from harness.decide.bill_question import Question, asked
from harness.decide.demand import Curve
from harness.decide.prices_skypilot import as_toml, read_skypilot
from harness.errors import Exit, TailraceError
from harness.report.words import figure, percent

MOST_DAYS = 14  # unlike days that are printed hour by hour


def today() -> date:
    """The date that prices are aged against."""
    return datetime.now(UTC).date()


def bill(question: Question, as_json: bool) -> int:
    """Shows every setup's bill, the cheapest first. Returns the exit code: 110 where no setup has one."""
    wanted, demand, fleet = asked(question, today())
    found = offered(question.results, wanted, opened(question.results, wanted))
    bills = cheapest_first([made_out(offer, demand, fleet) for offer in found.offers])
    evens = break_evens([each.offer for each in bills], demand, fleet)
    if as_json:
        dump({"schema": 1, "workload": wanted.workload, "promise": wanted.promise, "demand": demand.name,
              "mean_per_s": demand.mean, "peak_per_s": demand.peak, "fleet": fleet.model_dump(),
              "bills": [asdict(each) | {"fleet": fleet.model_dump()} for each in bills],
              "break_evens": [asdict(each) for each in evens], "without": dict(found.without)})
    else:
        _show(wanted, demand, bills, evens, found)
    return Exit.OK if bills else Exit.INCONCLUSIVE


def import_prices(path: Path, cloud: str, region: str, only: Sequence[str], out: Path | None) -> None:
    """Writes or prints the price list of a catalogue's region; says on stderr what was left out."""
    listed, skipped = read_skypilot(path, cloud, region, today(), only)
    text = as_toml(listed)
    if skipped:
        print(f"{len(skipped)} row{'s' * (len(skipped) > 1)} left out, the first: {skipped[0]}", file=sys.stderr)
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{out}: cannot be written: {error.strerror}", "give another file with --out") from None


def usd(money: Interval) -> str:
    """`120 (110–131)`."""
    ends = [figure(end) for end in (money.low, money.high)]
    return figure(money.value) if ends[0] == ends[1] else f"{figure(money.value)} ({ends[0]}–{ends[1]})"


def _show(wanted: Asked, demand: Curve, bills: Sequence[Bill], evens: Sequence[BreakEven], found: Offered) -> None:
    page = screen()
    rows = [(each.offer.setup, usd(each.offer.rate), usd(each.monthly_usd), usd(each.per_million_good_usd),
             figure(each.peak_per_million_usd), f"{min(each.hourly_replicas):g}–{max(each.hourly_replicas):g}",
             percent(each.idle_share), figure(each.broken_minutes)) for each in bills]
    title = f"{wanted.workload}, {wanted.promise}: {demand.title} (mean {figure(demand.mean)}/s)"
    page.print(grid(title, ("setup", "carries (/s)", "$/month", "$/million good", "$/million at peak", "replicas",
                            "idle", "broken min/month"), rows))
    if bills:
        page.print(f"  {peak_note(bills)}", markup=False, highlight=False, style="dim")
    for each in bills:
        for line in by_the_hour(each.hourly_replicas):
            page.print(f"  {each.offer.setup}: {line}", markup=False, highlight=False)
    for even in evens:
        page.print(f"  {even_words(even)}", markup=False, highlight=False)
    for name, why in found.without.items():
        page.print(f"  {name}: no bill: {why}", markup=False, highlight=False)
    for line in dict.fromkeys(line for each in bills for line in each.assumptions):
        page.print(f"  · {line}", markup=False, highlight=False, style="dim")


def by_the_hour(replicas: Sequence[float]) -> list[str]:
    """`replicas by the hour, days 1–5: 3 3 2.5 …` and a line for each other kind of day (the first MOST_DAYS of them);
    days that are alike share one, and `replicas at every hour: 3` says it all where every hour is the same."""
    days: dict[str, list[int]] = {}
    for number, first in enumerate(range(0, len(replicas), 24), start=1):
        hours = " ".join(f"{round(each, 1):g}" for each in replicas[first:first + 24])
        days.setdefault(hours, []).append(number)
    if len({hour for hours in days for hour in hours.split()}) == 1:
        return [f"replicas at every hour: {next(iter(days)).split()[0]}"]
    if len(days) == 1:
        return [f"replicas by the hour{' of every day' * (len(replicas) > 24)}: {next(iter(days))}"]
    lines = [f"replicas by the hour, day{'s' * (len(numbers) > 1)} {_spans(numbers)}: {hours}"
             for hours, numbers in days.items()]
    more = len(lines) - MOST_DAYS
    return lines if more <= 0 else [*lines[:MOST_DAYS], f"… and {more} more unlike days: --json has every hour"]


def _spans(numbers: Sequence[int]) -> str:
    """`1–5, 7`."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(f"{start}–{end}" if end > start else f"{start}" for start, end in zip(starts, ends, strict=True))


def even_words(even: BreakEven) -> str:
    """`from 120 (100–140) requests/s on A is cheaper than B; below, B is`."""
    if even.load.value == 0:
        return f"{even.cheaper} is cheaper than {even.dearer} at every load looked at."
    below = f"below, {even.below} is" if even.below != "neither" else "below, neither always is"
    return (f"From a mean of {figure(even.load.value)}/s ({figure(even.load.low)}–{figure(even.load.high)}) on "
            f"{even.cheaper} is cheaper than {even.dearer}; {below}.")
