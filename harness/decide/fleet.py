"""How many replicas a demand needs minute by minute, with what is kept spare and with how they come and go."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.special import ndtri

from harness.catalog.toml import Noun, validate
from harness.decide.demand import Rates
from harness.errors import UsageError

Counts = NDArray[np.int64]
MOST_REPLICAS = 10_000_000


class Fleet(Noun):
    """How replicas of one setup are kept.

    `fixed`: enough for the busiest minute, always. `schedule`: enough for the busiest minute of each hour, asked for
    early enough. `reactive`: what the load seen `delay_s` ago needed, and no fewer than the most that was needed within
    `cooldown_min` (as the stabilisation window of Kubernetes' HorizontalPodAutoscaler). `headroom` is the share of a
    replica's capacity that is left free; `spare` replicas are added (n+1); with two `zones` or more the others
    suffice when one fails; replicas come in multiples of `step` and of the zones. A replica is paid from when it is
    asked for and serves after `cold_start_s`.
    """

    policy: Literal["fixed", "schedule", "reactive"] = "fixed"
    headroom: float = Field(default=0.2, ge=0, lt=1)
    spare: int = Field(default=1, ge=0, le=1000)
    zones: int = Field(default=1, ge=1, le=10)
    step: int = Field(default=1, ge=1, le=1000)
    minimum: int = Field(default=1, ge=1, le=100_000)
    cold_start_s: float = Field(default=60.0, ge=0, le=3600)
    delay_s: float = Field(default=60.0, ge=0, le=3600)
    cooldown_min: int = Field(default=10, ge=1, le=600)

    @property
    def words(self) -> str:
        """The policy as a sentence."""
        how = {"fixed": "as many replicas as the busiest minute needs, all the time",
               "schedule": f"as many replicas as each hour's busiest minute needs, asked for {self.cold_start_s:g} s "
                           "early",
               "reactive": f"as many replicas as the load of {self.delay_s:g} s ago needed, the most of the last "
                           f"{self.cooldown_min} min, serving {self.cold_start_s:g} s after they are asked for"}
        zones = f", over {self.zones} zones of which one may fail" if self.zones > 1 else ""
        step = f", bought by {self.step}" if self.step > 1 else ""
        return (f"{how[self.policy]}; {self.headroom:.0%} of a replica's capacity left free, {self.spare} spare"
                f"{zones}{step}, at least {self.minimum}.")


@dataclass(frozen=True)
class Replicas:
    """Replicas in each minute (int64[minutes]): those that are paid, and those of them that serve."""

    paid: Counts
    serving: Counts


def parse_fleet(text: str) -> Fleet:
    """`policy=reactive,spare=2` as a Fleet. Raises UsageError or TailraceError."""
    table: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--fleet {part}: not understood", "write for example policy=reactive,spare=1,zones=3")
        table[key.strip()] = value.strip()
    return validate(Fleet, table, "--fleet")


def needed(rates: Rates, per_replica: float, fleet: Fleet) -> Counts:
    """Replicas for each rate (requests a second) where one carries `per_replica`, with what is kept spare."""
    usable = per_replica * (1 - fleet.headroom)
    if usable <= 0 or not math.isfinite(float(np.max(rates)) / usable):
        return np.full(len(rates), MOST_REPLICAS, dtype=np.int64)
    bare = np.minimum(np.ceil(rates / usable - 1e-9), MOST_REPLICAS).astype(np.int64)
    total = np.maximum(bare, 1) + fleet.spare
    if fleet.zones > 1:
        total = np.maximum(total, fleet.zones * -(-bare // (fleet.zones - 1)))
    whole = math.lcm(fleet.step, fleet.zones)
    return np.asarray(-(-np.maximum(total, fleet.minimum) // whole) * whole, dtype=np.int64)


def plan(rates: Rates, per_replica: float, fleet: Fleet) -> Replicas:
    """Replicas for each minute of a stretch that repeats."""
    cold = math.ceil(fleet.cold_start_s / 60)
    if fleet.policy == "reactive":
        seen = np.roll(needed(_counted(rates, fleet), per_replica, fleet), max(1, math.ceil(fleet.delay_s / 60)))
        paid = _most_behind(seen, fleet.cooldown_min)
        return Replicas(paid, _least_behind(paid, cold + 1))
    want = needed(rates, per_replica, fleet)
    if fleet.policy == "fixed":
        paid = np.full(len(want), want.max())
        return Replicas(paid, paid)
    serving = _by_hour(want)
    return Replicas(_most_ahead(serving, cold), serving)


def _counted(rates: Rates, fleet: Fleet) -> Rates:
    """The most that is counted in as many minutes as a controller remembers: a minute's count is Poisson, and the
    expected greatest of n normal figures is at the quantile (n − 0.375)/(n + 0.25) (Blom 1958)."""
    n = fleet.cooldown_min
    return rates + float(ndtri((n - 0.375) / (n + 0.25))) * np.sqrt(rates / 60)


def _by_hour(want: Counts) -> Counts:
    hours = np.arange(len(want)) // 60
    most = np.zeros(hours[-1] + 1, dtype=np.int64)
    np.maximum.at(most, hours, want)
    return most[hours]


def _most_ahead(values: Counts, minutes: int) -> Counts:
    """The most of each minute and the `minutes` after it."""
    return np.flip(_most_behind(np.flip(values), minutes + 1))


def _most_behind(values: Counts, width: int) -> Counts:
    """The most of each minute and the `width` − 1 before it, around the end."""
    width = min(width, len(values))
    return np.asarray(maximum_filter1d(values, width, mode="wrap", origin=(width - 1) // 2), dtype=np.int64)


def _least_behind(values: Counts, width: int) -> Counts:
    width = min(width, len(values))
    return np.asarray(minimum_filter1d(values, width, mode="wrap", origin=(width - 1) // 2), dtype=np.int64)
