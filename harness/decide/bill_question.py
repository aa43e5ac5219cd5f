"""What a person asks of a bill or a decision, in the words of the command line, understood."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from harness.catalog.device import DEVICES, arm
from harness.catalog.discover import find_catalog
from harness.catalog.slo import parse_promise
from harness.decide.bill_measured import Asked
from harness.decide.demand import Curve, find_demand
from harness.decide.fleet import Fleet, parse_fleet
from harness.decide.prices import newest_prices, parse_prices, read_prices
from harness.errors import UsageError

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
    machines: Sequence[str] = ()


def asked(question: Question, today: date) -> tuple[Asked, Curve, Fleet]:
    """The question understood; `today` is what prices are aged against. Raises TailraceError."""
    catalog = find_catalog()
    catalog.workload(question.workload)
    setups = {name: catalog.setup(name) for name in catalog.setup_names()}
    usual = {arm(name, device): setup.knobs_on(device) for name, setup in setups.items() for device in DEVICES}
    listed = read_prices(question.price_list) if question.price_list else newest_prices(catalog.root)
    return (Asked(question.workload, parse_slo(question.slo), listed, today, question.setups,
                  parse_prices(question.prices), _pairs("--instance", question.instances),
                  _factors("--speed", question.speeds), _factors("--carries", question.carries),
                  usual, _pairs("--machine", question.machines)),
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
