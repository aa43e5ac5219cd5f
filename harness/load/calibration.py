"""What a calibration found, as data and as tables."""

from dataclasses import asdict, dataclass
from typing import Any

LAG_TARGET_MS = 0.2
RATE_TARGET = 20_000
ORACLE_TOLERANCE = 0.01
STALL_TOLERANCE = 0.02


@dataclass(frozen=True)
class RatePoint:
    """Lag (sent − due) of one generator core at a Poisson rate: medians over tries, and the best try's p99."""

    rate: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_p999_ms: float
    best_lag_p99_ms: float
    latency_p50_ms: float
    latency_p99_ms: float
    errors: int


@dataclass(frozen=True)
class OraclePoint:
    """Measured against the exact delay of every request, at one rate; errors are (measured − truth) ÷ truth."""

    rate: float
    n: int
    truth_p99_ms: float
    p99_ms: float
    p99_error: float
    truth_p999_ms: float
    p999_ms: float
    p999_error: float
    lag_p99_ms: float


@dataclass(frozen=True)
class StallPoint:
    """The p99 that an instrument reports over a stall of the server, beside the truth."""

    instrument: str
    truth_p99_ms: float
    p99_ms: float
    error: float


@dataclass(frozen=True)
class Table:
    """A title, column names, and rows of as many cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Calibration:
    """Everything that was measured.

    `rate_per_core` is the highest rate whose lag p99 is at most 0.2 ms in the median try, `best_rate_per_core` in any
    try; 0 when none is. `grpc` are points of the generator for gRPC against a server that answers at once. `realtime`
    tells whether the generator ran under SCHED_FIFO, `hiccup_ms` how long the host paused its CPU in all while the lag
    was measured. The first of `stalls` is our own.
    """

    rates: tuple[RatePoint, ...]
    oracle: tuple[OraclePoint, ...]
    stalls: tuple[StallPoint, ...]
    target_late_p99_us: float
    hiccup_ms: float
    realtime: bool
    shared_cpu: bool
    grpc: tuple[RatePoint, ...] = ()

    @property
    def rate_per_core(self) -> float:
        return max((point.rate for point in self.rates if point.lag_p99_ms <= LAG_TARGET_MS), default=0.0)

    @property
    def best_rate_per_core(self) -> float:
        return max((point.rate for point in self.rates if point.best_lag_p99_ms <= LAG_TARGET_MS), default=0.0)

    @property
    def floor_p50_ms(self) -> float:
        """Latency of an idle target at the lowest rate: what the machine itself adds to every figure."""
        return self.rates[0].latency_p50_ms

    @property
    def met(self) -> dict[str, bool]:
        """Whether each promise of docs/design.md is kept: `rate`, `oracle`, `stall`."""
        worst = max(max(abs(point.p99_error), abs(point.p999_error)) for point in self.oracle)
        return {"rate": self.rate_per_core >= RATE_TARGET, "oracle": worst <= ORACLE_TOLERANCE,
                "stall": abs(self.stalls[0].error) <= STALL_TOLERANCE}

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, for JSON."""
        return {**asdict(self), "rate_per_core": self.rate_per_core, "best_rate_per_core": self.best_rate_per_core,
                "floor_p50_ms": self.floor_p50_ms, "met": self.met}

    def tables(self) -> tuple[Table, ...]:
        """The same for people: a verdict, then what it rests on."""
        calls = (_rates(self.grpc, "The same over gRPC (its client costs more)"),) if self.grpc else ()
        return _verdict(self), _rates(self.rates), *calls, _oracle(self.oracle), _stalls(self.stalls)


def _verdict(found: Calibration) -> Table:
    worst = max(max(abs(point.p99_error), abs(point.p999_error)) for point in found.oracle)
    rates = f"{found.rate_per_core:,.0f} (best try {found.best_rate_per_core:,.0f})"
    rows = (
        ("requests/s per core at lag p99 ≤ 0.2 ms", rates,
         f"≥ {RATE_TARGET:,}", found.met["rate"]),
        ("p99, p99.9 against a known queue", f"off by at most {worst:.2%}", f"≤ {ORACLE_TOLERANCE:.0%}",
         found.met["oracle"]),
        ("p99 over a stall of 1 s", f"off by {found.stalls[0].error:+.2%}", f"≤ {STALL_TOLERANCE:.0%}",
         found.met["stall"]),
    )
    how = [f"floor p50 {found.floor_p50_ms:.2f} ms", "SCHED_FIFO" if found.realtime else "no realtime priority",
           f"host pauses {found.hiccup_ms:.0f} ms", *(["one CPU for both sides"] if found.shared_cpu else [])]
    return Table(f"How far to trust this machine ({', '.join(how)})", ("what", "found", "target", "met"),
                 tuple((what, seen, asked, "yes" if met else "no") for what, seen, asked, met in rows))


def _rates(points: tuple[RatePoint, ...], title: str = "Lag of one generator core, Poisson arrivals") -> Table:
    return Table(title,
                 ("requests/s", "lag p50 ms", "p99 ms", "p99.9 ms", "best p99 ms", "latency p50 ms", "p99 ms",
                  "errors"),
                 tuple((f"{p.rate:,.0f}", f"{p.lag_p50_ms:.3f}", f"{p.lag_p99_ms:.3f}", f"{p.lag_p999_ms:.3f}",
                        f"{p.best_lag_p99_ms:.3f}", f"{p.latency_p50_ms:.3f}", f"{p.latency_p99_ms:.3f}",
                        str(p.errors)) for p in points))


def _oracle(points: tuple[OraclePoint, ...]) -> Table:
    return Table("Reported against the exact delay of every request (Lindley)",
                 ("requests/s", "n", "true p99 ms", "p99 ms", "error", "true p99.9 ms", "p99.9 ms", "error"),
                 tuple((f"{p.rate:,.0f}", f"{p.n:,}", f"{p.truth_p99_ms:.2f}", f"{p.p99_ms:.2f}", f"{p.p99_error:+.2%}",
                        f"{p.truth_p999_ms:.2f}", f"{p.p999_ms:.2f}", f"{p.p999_error:+.2%}") for p in points))


def _stalls(points: tuple[StallPoint, ...]) -> Table:
    return Table("The server stalls for 1 s at 500 requests/s: the p99 that is reported",
                 ("instrument", "true p99 ms", "reported p99 ms", "error"),
                 tuple((p.instrument, f"{p.truth_p99_ms:.0f}", f"{p.p99_ms:.0f}", f"{p.error:+.1%}") for p in points))
