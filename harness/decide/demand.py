"""Demand: how many requests a second come, minute by minute, over a stretch that repeats."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from harness.catalog.discover import Catalog
from harness.catalog.toml import Noun, nearest, read_noun, validate
from harness.errors import TailraceError, UsageError

Rates = NDArray[np.float64]
MINUTES_A_DAY = 1440
MINUTES_A_WEEK = 7 * MINUTES_A_DAY
MOST_MINUTES = 60 * MINUTES_A_WEEK


class Demand(Noun):
    """A demand curve in words.

    `constant`: `mean`. `diurnal`: a day's wave from `mean` up to `mean · peak_over_mean` at `peak_hour` and as far
    below, never under 0. `weekly`: the same, with `weekend` times the rate on the last two days. `bursty`: `mean` with
    `bursts_a_day` bursts of `burst_minutes` at `mean · peak_over_mean`, placed by `seed`. `csv`: `file` with requests
    per minute, one line a minute (the last column counts; a head is skipped). `trace`: `file` with one arrival's time
    in seconds per line. All are multiplied by `times`. Rates are requests a second.
    """

    name: str
    title: str
    shape: Literal["constant", "diurnal", "weekly", "bursty", "csv", "trace"]
    mean: PositiveFloat | None = Field(default=None, le=1e9)
    peak_over_mean: float = Field(default=2.0, ge=1, le=1000)
    peak_hour: float = Field(default=14.0, ge=0, lt=24)
    weekend: NonNegativeFloat = Field(default=0.5, le=10)
    bursts_a_day: float = Field(default=4.0, ge=0, le=144)
    burst_minutes: int = Field(default=10, ge=1, le=720)
    seed: int = Field(default=1, ge=0, lt=2**31)
    file: str | None = None
    times: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> "Demand":
        if self.shape in ("csv", "trace"):
            if self.file is None or self.mean is not None:
                raise ValueError(f"a demand of shape '{self.shape}' has a `file` and no `mean`")
        elif self.mean is None or self.file is not None:
            raise ValueError(f"a demand of shape '{self.shape}' has a `mean` and no `file`")
        return self


@dataclass(frozen=True)
class Curve:
    """Mean requests a second in every minute (float64[minutes]); after the last minute it begins again."""

    name: str
    title: str
    rate: Rates

    @property
    def mean(self) -> float:
        """Requests a second over the whole stretch."""
        return float(self.rate.mean())

    @property
    def peak(self) -> float:
        """Requests a second in the busiest minute."""
        return float(self.rate.max())

    def scaled(self, times: float) -> "Curve":
        """The same shape with `times` the rate."""
        return Curve(self.name, self.title, self.rate * times)


def demand_names(catalog: Catalog) -> list[str]:
    """Every TOML file in demands/."""
    return sorted(path.stem for path in catalog.root.glob("demands/*.toml"))


def find_demand(catalog: Catalog, asked: str) -> Curve:
    """The curve that `asked` names: a file of demands/ by name, a TOML or CSV path, or a constant rate such as `250`
    or `250/s`. Raises UsageError or TailraceError."""
    number = asked.removesuffix("/s")
    try:
        rate = float(number)
    except ValueError:
        rate = math.nan
    if math.isfinite(rate):
        if rate <= 0:
            raise UsageError(f"--demand {asked}: a rate is above zero", "give requests per second, for example 250")
        return curve(validate(Demand, {"name": f"{rate:g}/s", "title": f"{rate:g} requests/s all the time",
                                       "shape": "constant", "mean": rate}, f"--demand {asked}"), Path())
    if asked.endswith(".toml"):
        path = Path(asked)
        return curve(read_noun(Demand, path, name=path.stem), path.parent)
    if asked.endswith(".csv"):
        path = Path(asked)
        return Curve(path.stem, f"requests per minute of {path.name}", _per_minute(path))
    known = demand_names(catalog)
    if asked not in known:
        raise UsageError(f"unknown demand '{asked}'",
                         f"give a rate, a .toml, a .csv or a name; {nearest(asked, known)}")
    path = catalog.root / "demands" / f"{asked}.toml"
    return curve(read_noun(Demand, path, name=asked), path.parent)


def curve(demand: Demand, folder: Path) -> Curve:
    """The demand as rates; `folder` is where its file lies. Raises TailraceError for a file that is none."""
    shapes = {"constant": _constant, "diurnal": _diurnal, "weekly": _weekly, "bursty": _bursty}
    if demand.shape == "csv":
        rate = _per_minute(folder / str(demand.file))
    elif demand.shape == "trace":
        rate = _counted(folder / str(demand.file))
    else:
        rate = shapes[demand.shape](demand)
    return Curve(demand.name, demand.title, rate * demand.times)


def _constant(demand: Demand) -> Rates:
    return np.full(MINUTES_A_DAY, demand.mean, dtype=np.float64)


def _diurnal(demand: Demand) -> Rates:
    """Scaled after cutting at zero, so that the mean is what was asked for; the peak then is a little higher."""
    hours = (np.arange(MINUTES_A_DAY) + 0.5) / 60
    wave = 1 + (demand.peak_over_mean - 1) * np.cos(2 * np.pi * (hours - demand.peak_hour) / 24)
    wave = np.maximum(wave, 0.02)
    return np.asarray(float(demand.mean or 0) * wave / wave.mean(), dtype=np.float64)


def _weekly(demand: Demand) -> Rates:
    days = np.repeat([1.0] * 5 + [demand.weekend] * 2, MINUTES_A_DAY)
    rate = np.tile(_diurnal(demand), 7) * days
    return np.asarray(rate * (float(demand.mean or 0) / rate.mean()), dtype=np.float64)


def _bursty(demand: Demand) -> Rates:
    """A base and bursts on it; the base is lowered so that the mean is what was asked for."""
    rng = np.random.default_rng(demand.seed)
    high = np.zeros(MINUTES_A_WEEK, dtype=bool)
    for start in rng.integers(0, MINUTES_A_WEEK, round(demand.bursts_a_day * 7)):
        high[(start + np.arange(demand.burst_minutes)) % MINUTES_A_WEEK] = True
    mean, share = float(demand.mean or 0), float(high.mean())
    top = min(mean * demand.peak_over_mean, mean / share if share else math.inf)
    base = max(0.0, mean - share * top) / (1 - share) if share < 1 else mean
    return np.where(high, top, base)


def _per_minute(path: Path) -> Rates:
    """Requests per minute in a file's last column as rates. Raises TailraceError with the line that is no number."""
    counts = _numbers(path, "requests per minute")
    if counts.min() < 0 or counts.max() == 0:
        raise TailraceError(f"{path}: requests per minute are not negative and not all 0", "correct the file")
    return counts / 60


def _counted(path: Path) -> Rates:
    """Arrivals counted by minute, from the first one on; the last minute counts whole."""
    times = _numbers(path, "an arrival's time in seconds")
    minutes = np.floor((times - times.min()) / 60).astype(np.int64)
    if minutes.max() >= MOST_MINUTES:
        raise TailraceError(f"{path}: spans more than {MOST_MINUTES // MINUTES_A_WEEK} weeks",
                            "give times in seconds, and a shorter trace")
    return np.bincount(minutes) / 60


def _numbers(path: Path, what: str) -> Rates:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [(number, row[-1].strip()) for number, row in enumerate(csv.reader(lines), 1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TailraceError(f"{path}: cannot be read: {error}", f"give a file with {what} on each line") from None
    found = []
    for place, (number, text) in enumerate(rows):
        value = _number(text)
        if value is not None:
            found.append(value)
        elif place:
            raise TailraceError(f"{path}, line {number}: '{text[:40]}' is no number", f"each line holds {what}")
    if not found or len(found) > MOST_MINUTES * 60:
        raise TailraceError(f"{path}: {len(found)} figures", f"give a file with {what} on each line")
    return np.array(found)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
