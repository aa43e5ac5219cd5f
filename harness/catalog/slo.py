"""The promise: `p(99) < 100ms`, `errors < 0.1%`, `goodput > 200/s`, `p(99) < baseline * 1.10`; and k6's thresholds.

A clause is a name and a bound. The bound may end in `abortOnFail`: the run stops once the clause is certainly broken;
in `abortOnFail after 10s` no sooner than ten seconds into the load.
k6's grammar (grafana.com/docs/k6, "Thresholds") is read where it can be kept honestly: a percentile, `med` and the rate
of failures say something about a setup; the greatest, least or mean latency of a sample do not, and are refused.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from harness.catalog.toml import nearest

Metric = Literal["latency", "errors", "goodput"]

ABORT = "abortOnFail"
DELAY = "delayAbortEval"
JOINED = " and "
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_QUANTILE = re.compile(r"^p\(\s*(\d+(?:\.\d+)?)\s*\)$")
_BOUND = re.compile(rf"^(<=|<|>=|>)\s*({_NUMBER})\s*(us|ms|s|%|/s)?$")
_RELATIVE = re.compile(rf"^(<=|<|>=|>)\s*(?:baseline(?:\s*\*\s*({_NUMBER}))?|({_NUMBER})\s*\*\s*baseline)$")
_EXPRESSION = re.compile(r"^(?:([A-Za-z_]\w*)\s*:\s*)?([A-Za-z_]\w*(?:\(\s*[\d.]*\s*\))?)\s*([<>=!].*)$")
_NEARLY_QUANTILE = re.compile(r"^p\(?(\d+(?:\.\d+)?)\)?$")
_ABORTING = re.compile(rf"^(.*?)\s*\b{ABORT}(?:\s+after\s+((?:\d+(?:\.\d+)?(?:ms|s|m|h))+))?$")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NS = {"us": 1e3, "ms": 1e6, "s": 1e9, None: 1e6}
_K6_METRICS = ("http_req_duration", "http_req_failed", "checks", "http_reqs")
_REFUSED = {
    "max": "the greatest of a sample grows with its length and says nothing of the next run: promise 'p(99.9)'",
    "min": "the least latency is nobody's complaint: promise 'p(50)' or 'p(99)'",
    "avg": "a failed request has no latency to average and a mean hides the tail: promise 'med' or 'p(99)'",
    "count": "a count depends on how long one measures: promise 'goodput' or 'errors'",
    "value": "no gauge is measured here: promise 'p(99)', 'errors' or 'goodput'",
}


@dataclass(frozen=True)
class Promise:
    """One clause of an SLO.

    `limit` is in ns for latency, a share (0–1) for errors, requests per second for goodput; `quantile` is 0–1 and
    only latency has one. With `relative`, `limit` is a multiple of the baseline's figure instead. `abort`: stop a run
    that certainly breaks it, no sooner than `abort_after_s` into the load. `text` is the clause as it is shown; its
    first word and the rest are a clause again.
    """

    metric: Metric
    quantile: float
    below: bool
    limit: float
    text: str
    relative: bool = False
    abort: bool = False
    abort_after_s: float = 0.0


def parse_promises(slo: dict[str, str]) -> tuple[Promise, ...]:
    """Every clause of an [slo] table that `normal_slo` returned."""
    return tuple(parse_promise(name, bound) for name, bounds in slo.items() for bound in bounds.split(JOINED))


def normal_slo(table: dict[str, Any]) -> dict[str, str]:
    """An [slo] table with k6's thresholds, if any, as clauses of ours: {name: bound, or bounds joined by `and`}.

    A value is a bound, a table {threshold, abortOnFail, delayAbortEval}, or a list of these; below one of k6's metric
    names, bounds are whole expressions (`p(95)<200`). Raises ValueError saying what is expected.
    """
    clauses: dict[str, list[str]] = {}
    for name, given in table.items():
        for bound in _bounds(name, given):
            for one in bound.split(JOINED):
                key, text = expression(f"{name}: {one}") if name in _K6_METRICS else (name.strip(), one.strip())
                parse_promise(key, text)
                clauses.setdefault(key, []).append(text)
    return {name: JOINED.join(dict.fromkeys(bounds)) for name, bounds in clauses.items()}


def slo_of(expressions: list[str]) -> dict[str, str]:
    """The [slo] table of expressions such as `p(95)<200`. Raises ValueError."""
    table: dict[str, Any] = {}
    for text in expressions:
        name, bound = expression(text)
        table.setdefault(name, []).append(bound)
    return normal_slo(table)


def expression(text: str) -> tuple[str, str]:
    """`p(95)<200` as ("p(95)", "< 200ms"), `http_req_failed: rate<0.01` as ("errors", "< 0.01"). Raises ValueError."""
    match = _EXPRESSION.match(text.strip())
    if not match:
        raise ValueError(f"'{text}' is no threshold; write for example 'p(95)<200', 'rate<0.01' or 'goodput > 200/s'")
    metric, name, bound = match[1], match[2], match[3].strip()
    if metric is not None and metric not in _K6_METRICS:
        raise ValueError(f"'{text}': unknown metric '{metric}'; {nearest(metric, list(_K6_METRICS))}")
    if name in _REFUSED:
        raise ValueError(f"'{text}' cannot be promised: {_REFUSED[name]}")
    if metric == "http_reqs":
        raise ValueError(f"'{text}': requests are offered at the scenario's rate; promise 'goodput > 200/s' instead")
    if name == "rate":
        return "errors", _failures(text, metric, bound)
    if metric in ("http_req_failed", "checks"):
        raise ValueError(f"'{text}': {metric} knows only 'rate'; write for example 'http_req_failed: rate<0.01'")
    return ("p(50)" if name == "med" else re.sub(r"\s", "", name)), _shown(bound)


def parse_promise(metric: str, bound: str) -> Promise:
    """One clause. Raises ValueError saying what is expected."""
    metric, (bound, aborting) = metric.strip(), _parted(bound)
    words, abort, after_s = bound.split(), bool(aborting), _delay_s(aborting)
    if words and words[-1].lower() == ABORT.lower():
        raise ValueError(f"'{bound}': unknown word '{words[-1]}'; did you mean '{ABORT}'?")
    relative, match = _RELATIVE.match(bound), _BOUND.match(bound)
    kind = _metric(metric)
    if relative:
        return _against_baseline(kind, metric, relative, abort)
    if not match:
        raise ValueError(f"'{bound}' is no bound; write for example '< 100ms', '< 0.1%', '> 200/s' "
                         "or '< baseline * 1.1'")
    sign, number, unit = match.groups()
    below, value, text = sign.startswith("<"), float(number), f"{metric} {bound}"
    if not 0 < value < float("inf"):
        raise ValueError(f"'{text}' can be neither kept nor broken: no finite run proves that something never happens")
    if kind == "latency":
        if unit not in _NS or not below:
            raise ValueError(f"'{text}' is no latency promise; write for example 'p(99)' = '< 100ms'")
        text = text if unit else f"{text}ms"
        return Promise("latency", _quantile(metric), below, value * _NS[unit], text, abort=abort, abort_after_s=after_s)
    if kind == "errors":
        limit = value / 100 if unit == "%" else value
        if not below or unit not in (None, "%") or limit >= 1:
            raise ValueError(f"'{text}' is no error promise; write for example 'errors' = '< 0.1%'")
        return Promise("errors", 0.0, below, limit, text, abort=abort, abort_after_s=after_s)
    if below or unit not in (None, "/s"):
        raise ValueError(f"'{text}' is no goodput promise; write for example 'goodput' = '> 200/s'")
    return Promise("goodput", 0.0, below, value, text, abort=abort, abort_after_s=after_s)


def _metric(name: str) -> Metric:
    if _QUANTILE.match(name):
        _quantile(name)
        return "latency"
    if name == "errors":
        return "errors"
    if name == "goodput":
        return "goodput"
    whole = name.partition("{")[0]
    if whole in _K6_METRICS and name.endswith("}"):
        raise ValueError(f"'{name}': requests carry no tags here, all of them count; promise '{whole}'")
    nearly = _NEARLY_QUANTILE.match(name)
    hint = f"did you mean 'p({nearly[1]})'?" if nearly else nearest(name, ["p(50)", "p(99)", "errors", "goodput"])
    raise ValueError(f"unknown promise '{name}'; {_REFUSED.get(name, hint)}")


def _quantile(name: str) -> float:
    match = _QUANTILE.match(name)
    percent = float(match[1]) if match else 0.0
    if not 0 < percent < 100:
        raise ValueError(f"'{name}' is no percentile that can be promised; write p(50), p(99) or p(99.9)")
    return percent / 100


def _against_baseline(kind: Metric, metric: str, match: re.Match[str], abort: bool) -> Promise:
    sign, times = match[1], float(match[2] or match[3] or 1)
    below, text = sign.startswith("<"), f"{metric} {match[0]}"
    if kind == "errors" or below == (kind == "goodput") or not 0 < times < float("inf"):
        raise ValueError(f"'{text}' is no promise against a baseline; write for example 'p(99)' = '< baseline * 1.1' "
                         "or 'goodput' = '> baseline * 0.95'")
    if abort:
        raise ValueError(f"'{text}' is judged over pairs of runs, so it can stop none; leave {ABORT} out")
    return Promise(kind, _quantile(metric) if kind == "latency" else 0.0, below, times, text, relative=True)


def _failures(text: str, metric: str | None, bound: str) -> str:
    """The bound of `errors` that a bound of k6's rate means."""
    bound, aborting = _parted(bound)
    match = _BOUND.match(bound)
    if not match or match[3] not in (None, "%") or metric == "http_req_duration":
        raise ValueError(f"'{text}' is no rate; write for example 'http_req_failed: rate<0.01'")
    below = match[1].startswith("<")
    if below == (metric == "checks"):
        raise ValueError(f"'{text}' promises nothing; write 'http_req_failed: rate<0.01' or 'checks: rate>0.99'")
    share = float(match[2]) / (100 if match[3] else 1)
    limit = f"{match[2]}{match[3] or ''}" if below else f"{1 - share:.12g}"
    return f"< {limit} {aborting}".strip()


def _parted(bound: str) -> tuple[str, str]:
    """`< 9ms abortOnFail after 10s` as (`< 9ms`, `abortOnFail after 10s`); "" where it does not abort."""
    match = _ABORTING.match(bound.strip())
    if not match:
        return bound.strip(), ""
    return match[1], f"{ABORT} after {match[2]}" if match[2] else ABORT


def _delay_s(aborting: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(aborting.removeprefix(ABORT)))


def _shown(bound: str) -> str:
    """`<200` as `< 200`."""
    return re.sub(r"^(<=|<|>=|>)\s*", r"\1 ", bound)


def _bounds(name: str, given: object) -> list[str]:
    """The bounds of one key of an [slo] table."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list | tuple):
        return [bound for each in given for bound in _bounds(name, each)]
    if not isinstance(given, dict) or not isinstance(given.get("threshold"), str):
        raise ValueError(f"'{name}' is no promise; write a bound such as '< 100ms', or {{threshold = '< 100ms', "  # noqa: TRY004 -- pydantic shows a ValueError's words
                         f"{ABORT} = true}}")
    strange = sorted(set(given) - {"threshold", ABORT, DELAY})
    if strange:
        raise ValueError(f"'{name}': unknown key '{strange[0]}'; {nearest(strange[0], ['threshold', ABORT, DELAY])}")
    delay = given.get(DELAY)
    if delay is not None and not (isinstance(delay, str) and re.fullmatch(rf"(?:{_PART.pattern})+", delay)):
        raise ValueError(f"'{name}': {DELAY} = {delay!r} is no duration; write for example '10s'")
    aborting = "" if not given.get(ABORT) else f" {ABORT} after {delay}" if delay else f" {ABORT}"
    return [f"{given['threshold']}{aborting}"]
