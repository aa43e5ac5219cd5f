"""What analysis says; every figure here is computed from rows on reading and stored nowhere."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "fail", "inconclusive", "invalid"]
Severity = Literal["ok", "note", "warning", "invalid"]


@dataclass(frozen=True)
class Check:
    """One accusation, or its absence. `code` is stable (`lag`, `completeness`, …); `figures` are what was seen and
    what was allowed; `hint` says what to try; `blames` tells the generator from the setup from the host."""

    code: str
    severity: Severity
    message: str
    hint: str = ""
    blames: Literal["", "generator", "setup", "host", "harness"] = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A figure with its interval at `confidence`; low and high are NaN where the data cannot bound it."""

    value: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class RunSummary:
    """One run's figures. Latencies in ms over counted requests; a failed request's latency counts as infinite.

    `effective` is how many independent requests say as much about the p99, and `p99_ms` its interval within this run
    (order statistics at that size), which says nothing of the next run. `beyond` maps a latency promise's text to the
    share of requests that were slower than its limit or failed. `schedule` is alike for runs that met the same arrivals
    and payloads ("" where nobody can tell); `stopped` says why a run over capacity was stopped early; `looked`
    whether its length depended on what was seen in it.
    """

    run_id: str
    repetition: int
    status: str
    reason: str
    checks: tuple[Check, ...]
    n: int
    offered_rate: float
    throughput: float
    goodput: float
    error_rate: float
    quantiles_ms: dict[float, float]
    effective: float = 0.0
    p99_ms: Interval = Interval(math.nan, math.nan, math.nan)
    beyond: dict[str, float] = field(default_factory=dict)
    schedule: str = ""
    stopped: str = ""
    looked: bool = False

    @property
    def valid(self) -> bool:
        """Whether its figures count: it went to its end and no check calls it invalid."""
        return self.status == "ok" and not any(check.severity == "invalid" for check in self.checks)


@dataclass(frozen=True)
class Cost:
    """Cost at the load measured: USD per million good requests, with every assumption in words; `verified` is false
    where the price was not read at the provider itself."""

    per_million_good_usd: float
    hourly_usd: float
    instance: str
    price_date: str
    assumptions: tuple[str, ...]
    verified: bool = True


@dataclass(frozen=True)
class GpuUse:
    """What a cell made of its GPU while load counted: mean share of time in which some kernel ran (`busy`; the rest it
    was idle), peak memory in use, mean power; energy per answered request and, in kWh, per million good ones, which
    is the card's alone. `energy_from` says what it is from: the card's counter, or its power integrated. The price of
    that energy is NaN where no price per kWh is known."""

    busy: float
    memory_mb: float
    power_w: float
    joules_per_request: float
    kwh_per_million_good: float
    energy_from: str
    usd_per_kwh: float = math.nan
    usd_per_million_good: float = math.nan


@dataclass(frozen=True)
class PromiseVerdict:
    """One clause of the SLO judged over the cell's repetitions, or, where runs were stopped by what was seen, by their
    certificates.

    `value` and `limit` are in ms, a share, requests per second, or (with a baseline) a ratio. `more_s` is about how
    many more seconds of load an inconclusive verdict wants: 0 with a verdict, inf where none would do, NaN where not
    even that is known.
    """

    text: str
    verdict: Verdict
    value: Interval
    limit: float
    reason: str
    more_s: float = math.nan
    confidence: float = 0.95


@dataclass(frozen=True)
class Cell:
    """All repetitions of one setup under one workload, scenario and load. `setup` names the arm: on a `device` that is
    not the CPU it says so (`zmq-batching (gpu)`), and beside cells of the same arm with other knobs which those are.

    `quantiles_ms` maps 0.5, 0.9, 0.95, 0.99, 0.999 to the pooled quantile with its interval over repetitions.
    `time_ms` maps lag, queue, wait, copy and kernel (of a GPU), model, rest (transport, and what the server does not
    tell) to mean ms; `batches` maps a batch size to its share of requests. `counted` names what of these no answer
    tells (`queue`, `model`, `batches`): means and shares over the whole load, warm-up included, from the server's own
    counters. `cpu_cores` is the mean of cores used by the
    server; `rss_mb` its peak, `pss_mb` the memory of all its processes after the load, shared pages counted once.
    Figures are over the valid runs, or over all where none is valid. `good_ms` is the latency within which an answer
    counts as good (NaN: any). `server_cpus` is how many CPUs the server had; `machine_id` and `hashes` (workload,
    scenario) say what it may be compared with.
    """

    setup: str
    workload: str
    scenario: str
    load: float
    offered_rate: float
    closed_loop: bool
    runs: tuple[RunSummary, ...]
    quantiles_ms: dict[float, Interval]
    goodput: Interval
    throughput: Interval
    error_rate: float
    verdict: Verdict
    verdict_reason: str
    promises: tuple[PromiseVerdict, ...]
    time_ms: dict[str, float]
    batches: dict[int, float]
    cpu_cores: float
    rss_mb: float
    start_s: float
    cost: Cost | None
    good_ms: float = math.nan
    pss_mb: float = math.nan
    knobs: dict[str, Any] = field(default_factory=dict)
    server_cpus: int = 0
    machine_id: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    gpu: GpuUse | None = None
    counted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A cell against the baseline's cell of the same workload, scenario and load: ratio of `metric` (cell ÷ baseline),
    paired by repetition; `metric` is p50, p99 or goodput. `told` is False where nothing can be told: print `~` and the
    smallest ratio that could have been seen (`detectable`). `p_value` is corrected for the `family` of comparisons made
    together, and so is `detectable`; `note` says why there is no ratio where there is none."""

    setup: str
    baseline: str
    workload: str
    scenario: str
    load: float
    metric: str
    ratio: Interval
    p_value: float
    told: bool
    detectable: float
    pairs: int
    note: str = ""
    family: int = 1


@dataclass(frozen=True)
class Contract:
    """What `tailrace check` saw of a setup with a workload: how many points it kept, those it failed and those skipped
    (code -> what was seen), every code asked, and whether it was the same code that ran."""

    setup: str
    workload: str
    checked_utc: str
    kept: int
    failed: dict[str, str]
    skipped: dict[str, str]
    asked: tuple[str, ...]
    current: bool


@dataclass(frozen=True)
class Upkeep:
    """What a setup takes to run and to keep. `memory_mb` maps a workload to the proportional set size of all its
    processes after the load, `start_s` to the seconds to its first right answer; `environment_mb` is the disk its
    environment takes; `code_lines` neither blank nor comments; `processes` counts them by kind; `mlops` and `limits`
    are the tables of setup.toml."""

    setup: str
    title: str
    tier: str
    memory_mb: dict[str, float]
    start_s: dict[str, float]
    environment_mb: float
    code_lines: int
    processes: dict[str, int]
    versions: dict[str, str]
    mlops: dict[str, Any]
    limits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """Everything a report shows. `skipped` maps 'setup × workload' to the reason; `sentence` says what was found and
    how sure it is."""

    plan: str
    title: str
    question: str
    machine: dict[str, object]
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    skipped: dict[str, str]
    failed: dict[str, str]
    sentence: str
    contracts: tuple[Contract, ...] = ()
    upkeep: tuple[Upkeep, ...] = ()
