"""The promise: `p(99) < 100ms`, `errors < 0.1%`, `goodput > 200`."""

import re
from dataclasses import dataclass
from typing import Literal

Metric = Literal["latency", "errors", "goodput"]

_QUANTILE = re.compile(r"^p\((\d{1,2}(?:\.\d+)?)\)$")
_BOUND = re.compile(r"^(<=|<|>=|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%|/s)?$")
_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}


@dataclass(frozen=True)
class Promise:
    """One clause of an SLO.

    `limit` is in ns for latency, a share (0–1) for errors, requests per second for goodput; `quantile` is 0–1 and
    only latency has one. `text` is the clause as the user wrote it.
    """

    metric: Metric
    quantile: float
    below: bool
    limit: float
    text: str


def parse_promise(metric: str, bound: str) -> Promise:
    """One clause. Raises ValueError saying what is expected."""
    match = _BOUND.match(bound.strip())
    if not match:
        raise ValueError(f"'{bound}' is no bound; write for example '< 100ms', '< 0.1%' or '> 200/s'")
    sign, number, unit = match.groups()
    below, value, text = sign.startswith("<"), float(number), f"{metric} {bound.strip()}"
    quantile = _QUANTILE.match(metric.strip())
    if quantile:
        if unit not in _NS or not below or value == 0:
            raise ValueError(f"'{text}' is no latency promise; write for example 'p(99)' = '< 100ms'")
        return Promise("latency", float(quantile[1]) / 100, below, value * _NS[unit], text)
    if metric == "errors":
        if not below or unit not in (None, "%"):
            raise ValueError(f"'{text}' is no error promise; write for example 'errors' = '< 0.1%'")
        return Promise("errors", 0.0, below, value / 100 if unit == "%" else value, text)
    if metric == "goodput":
        if below or unit not in (None, "/s"):
            raise ValueError(f"'{text}' is no goodput promise; write for example 'goodput' = '> 200/s'")
        return Promise("goodput", 0.0, below, value, text)
    raise ValueError(f"unknown promise '{metric}'; known: p(50) … p(99.9), errors, goodput")
