"""`tailrace bill` and `prices`: what a demand costs with each setup, and price lists from a public catalogue."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from harness.analyse.model import Interval
from harness.catalog.discover import find_catalog
from harness.catalog.slo import parse_promise
from harness.cli.show import dump, grid, screen
from harness.decide.bill import Bill, cheapest_first
from harness.decide.bill import bill as made_out
from harness.decide.bill_even import BreakEven, break_evens
from harness.decide.bill_offers import Asked, Offered, offered, opened
from harness.decide.demand import Curve, find_demand
from harness.decide.fleet import Fleet, parse_fleet
from harness.decide.prices import newest_prices, parse_prices, read_prices
from harness.decide.prices_skypilot import as_toml, read_skypilot
from harness.errors import Exit, TailraceError, UsageError
from harness.report.words import figure, percent
from harness.report.write import plain

_CLAUSE = re.compile(r"^\s*(p\([\d.]+\)|errors|goodput)\s*([<>]=?.+)$")


@dataclass(frozen=True)
class Question:
    """What the command line asks of a bill or a decision."""

    workload: str
    slo: Sequence[str]
    demand: str
    setups: Sequence[str]
    fleet: str
    results: Path
    prices: Sequence[str]
    instances: Sequence[str]
    speeds: Sequence[str]
    carries: Sequence[str]
    price_list: Path | None


def today() -> date:
    """The date that prices are aged against."""
    return datetime.now(UTC).date()


def asked(question: Question) -> tuple[Asked, Curve, Fleet]:
    """The question understood. Raises TailraceError."""
    catalog = find_catalog()
    catalog.workload(question.workload)
    listed = read_prices(question.price_list) if question.price_list else newest_prices(catalog.root)
    return (Asked(question.workload, parse_slo(question.slo), listed, today(), question.setups,
                  parse_prices(question.prices), _pairs("--instance", question.instances),
                  _factors("--speed", question.speeds), _factors("--carries", question.carries)),
            find_demand(catalog, question.demand), parse_fleet(question.fleet))


def parse_slo(texts: Sequence[str]) -> dict[str, str]:
    """`["p(99)<100ms", "errors<1%"]` as a scenario's table. Raises UsageError."""
    slo: dict[str, str] = {}
    for text in (part for each in texts for part in re.split(r",| and ", each)):
        match = _CLAUSE.match(text)
        hint = "write for example 'p(99)<100ms' or 'errors<0.1%'"
        if not match:
            raise UsageError(f"--slo: '{text.strip()}' is no promise", hint)
        try:
            parse_promise(match[1], match[2].strip())
        except ValueError as error:
            raise UsageError(f"--slo: {error}", hint) from None
        slo[match[1]] = match[2].strip()
    return slo


def bill(question: Question, as_json: bool) -> int:
    """Shows every setup's bill, the cheapest first. Returns the exit code: 110 where no setup has one."""
    wanted, demand, fleet = asked(question)
    found = offered(question.results, wanted, opened(question.results, wanted))
    bills = cheapest_first([made_out(offer, demand, fleet) for offer in found.offers])
    evens = break_evens([each.offer for each in bills], demand, fleet)
    if as_json:
        dump(plain({"schema": 1, "workload": wanted.workload, "promise": wanted.promise, "demand": demand.name,
                    "mean_per_s": demand.mean, "peak_per_s": demand.peak, "fleet": fleet.model_dump(),
                    "bills": [asdict(each) | {"fleet": fleet.model_dump()} for each in bills],
                    "break_evens": [asdict(each) for each in evens], "without": dict(found.without)}))
    else:
        _show(wanted, demand, bills, evens, found)
    return Exit.OK if bills else Exit.INCONCLUSIVE


def import_prices(path: Path, cloud: str, region: str, only: Sequence[str], out: Path | None) -> None:
    """Writes or prints the price list of a catalogue's region."""
    text = as_toml(read_skypilot(path, cloud, region, today(), only))
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
    for even in evens:
        page.print(f"  {even_words(even)}", markup=False, highlight=False)
    for name, why in found.without.items():
        page.print(f"  {name}: no bill: {why}", markup=False, highlight=False)
    for line in dict.fromkeys(line for each in bills for line in each.assumptions):
        page.print(f"  · {line}", markup=False, highlight=False, style="dim")


def even_words(even: BreakEven) -> str:
    """`from 120 (100–140) requests/s on A is cheaper than B; below, B is`."""
    if even.load.value == 0:
        return f"{even.cheaper} is cheaper than {even.dearer} at every load looked at."
    below = f"below, {even.below} is" if even.below != "neither" else "below, neither always is"
    return (f"From a mean of {figure(even.load.value)}/s ({figure(even.load.low)}–{figure(even.load.high)}) on "
            f"{even.cheaper} is cheaper than {even.dearer}; {below}.")


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        setup, equals, value = text.partition("=")
        if not (equals and setup and value):
            raise UsageError(f"{flag} {text}: not understood", "write SETUP=VALUE")
        found[setup.strip()] = value.strip()
    return found


def _factors(flag: str, texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for setup, text in _pairs(flag, texts).items():
        try:
            value = float(text.removesuffix("/s"))
        except ValueError:
            value = 0.0
        if not 0 < value < 1e9:
            raise UsageError(f"{flag} {setup}={text}: not a number above zero", f"write for example {setup}=1.5")
        found[setup] = value
    return found
