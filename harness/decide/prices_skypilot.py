"""SkyPilot's catalogue of a cloud (catalogs/v*/<cloud>/vms.csv of skypilot-org/skypilot-catalog) as a price list."""

import csv
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from harness.catalog.toml import validate
from harness.decide.prices import Instance, PriceList
from harness.errors import TailraceError

COLUMNS = ("InstanceType", "vCPUs", "MemoryGiB", "AcceleratorName", "AcceleratorCount", "Region", "Price")
# On Google's cloud the catalogue prices these machines without the accelerator that they cannot be had without.
PRICED_APART = ("a2-", "a3-", "a4-", "g2-", "g4-", "ct")


def read_skypilot(path: Path, cloud: str, region: str, checked: date, only: Sequence[str] = ()) -> PriceList:
    """The instance types of one region, or those named in `only`, each at its cheapest zone, unverified.

    Raises TailraceError when the file is no such catalogue or has nothing that was asked for.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise TailraceError(f"{path}: column '{missing[0]}' is missing",
                                    "give a vms.csv of SkyPilot's catalogue")
            found = _cheapest(path, cloud, region, checked, table, set(only))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TailraceError(f"{path}: cannot be read: {error}", "give a vms.csv of SkyPilot's catalogue") from None
    absent = sorted(set(only) - {each.name for each in found})
    if absent or not found:
        raise TailraceError(f"{path}: no priced {absent[0] if absent else 'instance'} in region {region}",
                            "check the region's and the instance's name")
    return PriceList(name=path.stem, title=f"SkyPilot's catalogue: {cloud}, {region}", date=checked, currency="USD",
                     instance=found)


def as_toml(prices: PriceList) -> str:
    """The price list as a file for `prices/`."""
    head = f"title = {_quoted(prices.title)}\ndate = {prices.date.isoformat()}\ncurrency = \"USD\"\n"
    return "\n".join([head, *(_instance(each) for each in prices.instance)])


def _cheapest(path: Path, cloud: str, region: str, checked: date, rows: Iterable[dict[str, str]],
              only: set[str]) -> tuple[Instance, ...]:
    best: dict[str, Instance] = {}
    for number, row in enumerate(rows, start=2):
        name = row["InstanceType"]
        if row["Region"] != region or not name or not row["Price"] or (only and name not in only):
            continue
        if cloud == "gcp" and name.startswith(PRICED_APART):
            continue
        count = row["AcceleratorCount"].removesuffix(".0")
        gpu = f"{count} x {row['AcceleratorName']}" if row["AcceleratorName"] else None
        made = validate(Instance, {
            "name": name, "cloud": cloud, "region": region, "vcpus": row["vCPUs"].removesuffix(".0"),
            "memory_gb": row["MemoryGiB"], "hourly_usd": row["Price"], "checked": checked, "gpu": gpu,
            "source": f"SkyPilot catalogue, {path.name}", "verified": False}, f"{path}, line {number}")
        if name not in best or made.hourly_usd < best[name].hourly_usd:
            best[name] = made
    return tuple(best[name] for name in sorted(best))


def _instance(each: Instance) -> str:
    lines = ["[[instance]]", *(f"{key} = {_quoted(getattr(each, key))}" for key in ("name", "cloud", "region")),
             f"vcpus = {each.vcpus}", f"memory_gb = {each.memory_gb:g}", f"hourly_usd = {each.hourly_usd:.10g}",
             f"checked = {each.checked.isoformat()}", "verified = false", f"source = {_quoted(each.source)}"]
    return "\n".join([*lines, *([f"gpu = {_quoted(each.gpu)}"] if each.gpu else []), ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
