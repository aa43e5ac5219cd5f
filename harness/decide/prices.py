"""What a machine costs by the hour: dated price lists, and prices that a user gives."""

import math
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from harness.catalog.toml import Noun, nearest, read_noun
from harness.errors import TailraceError, UsageError

OLD_DAYS = 90
CHECKOUT = Path(__file__).resolve().parents[2]
_GIVEN = re.compile(r"^(?P<setup>[^=\s](?:[^=]*[^=\s])?)=\$?(?P<price>\d+(?:\.\d+)?)(?:/h)?$")


class Instance(Noun):
    """One instance type in one region. `verified` is false where `source` is not the provider itself. A type with
    `shared_cores` or of another `architecture` stands for a measured machine only where it is named."""

    name: str
    cloud: str
    region: str
    vcpus: PositiveInt
    memory_gb: PositiveFloat
    hourly_usd: PositiveFloat
    checked: date
    source: str
    gpu: str | None = None
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    shared_cores: bool = False
    verified: bool = False


class Electricity(Noun):
    """What energy costs, where one pays for it oneself."""

    usd_per_kwh: PositiveFloat
    checked: date
    source: str


class PriceList(Noun):
    """Instance types with their hourly on-demand prices on a date, and perhaps what energy costs."""

    name: str
    title: str
    date: date
    currency: str = Field(pattern="^USD$")
    electricity: Electricity | None = None
    instance: tuple[Instance, ...] = Field(min_length=1)


def read_prices(path: Path) -> PriceList:
    """The price list in a TOML file. Raises TailraceError."""
    return read_noun(PriceList, path, name=path.stem)


def newest_prices(root: Path) -> PriceList:
    """The latest list in `root`/prices, or, where that has none, of this checkout. Raises TailraceError for one that
    cannot be read."""
    paths = sorted(root.glob("prices/*.toml")) or sorted(CHECKOUT.glob("prices/*.toml"))
    return max((read_prices(path) for path in paths), key=lambda prices: prices.date)


def instance_for(prices: PriceList, vcpus: int, gpu: bool = False) -> Instance:
    """The instance nearest to a machine: its number of vCPUs by ratio, then the cheaper one.

    GPU instances stand for machines with a GPU only, shared cores for none. Raises TailraceError when the list has
    none of the kind.
    """
    fit = [each for each in prices.instance
           if (each.gpu is not None) == gpu and not each.shared_cores and each.architecture == "x86_64"]
    if not fit:
        raise TailraceError(f"price list {prices.name} has no instance {'with' if gpu else 'without'} a GPU",
                            "add one to it, or give a price with --price SETUP=0.34/h")
    return min(fit, key=lambda each: (abs(math.log(each.vcpus / max(vcpus, 1))), each.hourly_usd))


def instance_with_gpu(prices: PriceList, vcpus: int, name: str) -> Instance | None:
    """The instance with one GPU of the model that `name` tells (`NVIDIA H100 80GB HBM3`) whose vCPUs are nearest by
    ratio; None where the list has none: another model's price would say nothing."""
    fit = [each for each in prices.instance if each.gpu and gpu_model(each.gpu) and gpu_model(each.gpu) ==
           gpu_model(name) and not re.match(r"(?!1\b)\d+ x", each.gpu)]
    return min(fit, key=lambda each: (abs(math.log(each.vcpus / max(vcpus, 1))), each.hourly_usd), default=None)


def gpu_model(name: str) -> str:
    """`H100` of `NVIDIA H100 80GB HBM3`; "" where no model can be read."""
    found = re.search(r"\b([A-Z]{1,3}\d{1,4}[A-Z]{0,2})\b", name.replace("NVIDIA", ""))
    return found[1] if found else ""


def instance_named(prices: PriceList, name: str) -> Instance:
    """The instance of that name. Raises UsageError for an unknown one."""
    known = {each.name: each for each in prices.instance}
    if name not in known:
        raise UsageError(f"price list {prices.name} has no instance '{name}'", nearest(name, list(known)))
    return known[name]


def age_words(instance: Instance, today: date) -> str:
    """What a table says about a price's age: its date, and that it is old from 91 days on or unverified."""
    return f"{instance.checked.isoformat()}{'' if instance.verified else '; not verified'}{old_words(instance, today)}"


def old_words(instance: Instance, today: date) -> str:
    """`; 91 days old: check it again`; "" up to 90 days."""
    days = (today - instance.checked).days
    return f"; {days} days old: check it again" if days > OLD_DAYS else ""


def parse_prices(given: Sequence[str], setups: Sequence[str] = ()) -> dict[str, float]:
    """`["flask=0.34/h"]` as `{"flask": 0.34}`, USD an hour; `setups`, where given, are the names known.

    Raises UsageError for what is no price, is not above zero, or names an unknown setup.
    """
    hourly: dict[str, float] = {}
    for text in given:
        match = _GIVEN.match(text.strip())
        if not match:
            raise UsageError(f"--price {text}: not understood", "write SETUP=USD/h, for example flask=0.34/h")
        setup, price = match["setup"], float(match["price"])
        if price <= 0:
            raise UsageError(f"--price {text}: a price is above zero", "leave the setup out to use the price list")
        if setups and setup not in setups:
            raise UsageError(f"--price {text}: unknown setup '{setup}'", nearest(setup, list(setups)))
        hourly[setup] = price
    return hourly
