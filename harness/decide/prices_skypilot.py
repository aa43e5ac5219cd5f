"""SkyPilot's catalogue of a cloud (catalogs/v*/<cloud>/vms.csv of skypilot-org/skypilot-catalog) as a price list."""

import csv
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from harness.catalog.toml import validate
from harness.decide.prices import Instance, PriceList
from harness.errors import TailraceError

COLUMNS = ("InstanceType", "vCPUs", "MemoryGiB", "AcceleratorName", "AcceleratorCount", "Region", "Price")
# On Google's cloud the catalogue prices these machines without the accelerator that they cannot be had without.
PRICED_APART = ("a2-", "a3-", "a4-", "g2-", "g4-", "ct")
# Where the catalogue has no column Arch: Graviton and Apple's at AWS, Axion and Altra at Google, Ampere's and Cobalt at
# Azure, and Nvidia's Grace anywhere.
ARM = re.compile(r"(a1|mac2\S*|[a-z]+\d+[a-z]*g[a-z]*)\.|(t2a|c4a|n4a|a4x)-|"
                 r"Standard_[A-Z]+\d+(-\d+)?[a-z]*p[a-z]*_|.*gb\d{3}")
# Types that run at a share of their cores' time, or on credits.
SHARED = re.compile(r"t\d[a-z]*\.|e2-(micro|small|medium)|[fg]1-(micro|small)|Standard_B\d")


def read_skypilot(path: Path, cloud: str, region: str, checked: date,
                  only: Sequence[str] = ()) -> tuple[PriceList, tuple[str, ...]]:
    """The instance types of one region, or those named in `only`, each at its cheapest zone, unverified; and a sentence
    for each row that is none and was left out.

    Raises TailraceError when the file is no such catalogue or has nothing that was asked for.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise TailraceError(f"{path}: column '{missing[0]}' is missing",
                                    "give a vms.csv of SkyPilot's catalogue")
            found, skipped = _cheapest(path, cloud, region, checked, table, set(only))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TailraceError(f"{path}: cannot be read: {error}", "give a vms.csv of SkyPilot's catalogue") from None
    absent = sorted(set(only) - {each.name for each in found})
    if absent or not found:
        raise TailraceError(f"{path}: no priced {absent[0] if absent else 'instance'} in region {region}",
                            "check the region's and the instance's name")
    return PriceList(name=path.stem, title=f"SkyPilot's catalogue: {cloud}, {region}", date=checked, currency="USD",
                     instance=found), skipped


def as_toml(prices: PriceList) -> str:
    """The price list as a file for `prices/`."""
    head = f"title = {_quoted(prices.title)}\ndate = {prices.date.isoformat()}\ncurrency = \"USD\"\n"
    return "\n".join([head, *(_instance(each) for each in prices.instance)])


def _cheapest(path: Path, cloud: str, region: str, checked: date, rows: Iterable[dict[str, str]],
              only: set[str]) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    best: dict[str, Instance] = {}
    skipped = []
    for number, row in enumerate(rows, start=2):
        name = row["InstanceType"]
        if row["Region"] != region or not name or not row["Price"] or (only and name not in only):
            continue
        if cloud == "gcp" and name.startswith(PRICED_APART):
            continue
        try:
            made = _read(row, path, cloud, checked, number)
        except TailraceError as error:
            skipped.append(str(error))
            continue
        if name not in best or made.hourly_usd < best[name].hourly_usd:
            best[name] = made
    return tuple(best[name] for name in sorted(best)), tuple(skipped)


def _read(row: dict[str, str], path: Path, cloud: str, checked: date, number: int) -> Instance:
    """The row as an instance. Raises TailraceError where it is none, as with a part of a vCPU."""
    name, count = row["InstanceType"], (row["AcceleratorCount"] or "").removesuffix(".0")
    arm = (row.get("Arch") or "").lower() in ("arm64", "aarch64") if row.get("Arch") else ARM.match(name)
    return validate(Instance, {
        "name": name, "cloud": cloud, "region": row["Region"], "vcpus": (row["vCPUs"] or "").removesuffix(".0"),
        "memory_gb": row["MemoryGiB"], "hourly_usd": row["Price"], "checked": checked,
        "gpu": f"{count} x {row['AcceleratorName']}" if row["AcceleratorName"] else None,
        "architecture": "arm64" if arm else "x86_64", "shared_cores": bool(SHARED.match(name)),
        "source": f"SkyPilot catalogue, {path.name}", "verified": False}, f"{path}, line {number}")


def _instance(each: Instance) -> str:
    lines = ["[[instance]]", *(f"{key} = {_quoted(getattr(each, key))}" for key in ("name", "cloud", "region")),
             f"vcpus = {each.vcpus}", f"memory_gb = {each.memory_gb:g}", f"hourly_usd = {each.hourly_usd:.10g}",
             f"checked = {each.checked.isoformat()}", "verified = false", f"source = {_quoted(each.source)}"]
    lines += [f"gpu = {_quoted(each.gpu)}"] if each.gpu else []
    lines += [f"architecture = {_quoted(each.architecture)}"] if each.architecture != "x86_64" else []
    lines += ["shared_cores = true"] if each.shared_cores else []
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
