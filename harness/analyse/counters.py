"""What a server's own counters say of a load: mean times of its requests, and the sizes of its batches.

Differences of two looks, one before the load and one after it; the warm-up lies between them, golden requests do not.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.record.scrape import Scrape

_SAMPLE = re.compile(r'^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?[ \t]+(\S+)', re.MULTILINE)
_PARTS: Mapping[tuple[str, ...], Mapping[str, tuple[str, ...]]] = {
    # what counts answers (the least of these): the parts of their time, and the counters of µs that add up to each.
    # Triton adds a batch's time once for each of its requests (docs/user_guide/metrics.md there), so the quotient is a
    # request's mean. TorchServe counts a request when it comes, its time when it is answered, and looks at /metrics
    # among what went well: each alone is too many where load was stopped, or by one.
    ("nv_inference_request_success",): {
        "queue": ("nv_inference_queue_duration_us",),
        "model": ("nv_inference_compute_input_duration_us", "nv_inference_compute_infer_duration_us",
                  "nv_inference_compute_output_duration_us")},
    ("ts_inference_requests_total", "Requests2XX"): {"queue": ("ts_queue_latency_microseconds",)},
}
# What a setup of ours adds to Triton's, where its model computes on a GPU: a part of the model's time.
_ON_GPU: Mapping[str, str] = {"copy": "tailrace_copy_us", "kernel": "tailrace_kernel_us"}


def samples(text: str) -> dict[str, float]:
    """Name -> value of Prometheus text, summed over labels."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        try:
            found[name] = found.get(name, 0.0) + float(value)
        except ValueError:
            continue
    return found


def mean_ms(before: Scrape, after: Scrape) -> dict[str, float]:
    """Part (queue, model) -> mean ms of a request between the looks; empty where either look is missing, no request
    was counted, or a counter began anew between them. Of a model on a GPU copy and kernel as well, and `model` is what
    is left of it without them."""
    first, last = samples(before.metrics), samples(after.metrics)
    for answers, parts in _PARTS.items():
        names = [*answers, *(name for each in parts.values() for name in each)]
        if not first or any(name not in last or last[name] < first.get(name, 0.0) for name in names):
            continue
        grown = {name: last[name] - first.get(name, 0.0) for name in names}
        if (count := min(grown[name] for name in answers)) > 0:
            means = {part: sum(grown[name] for name in theirs) / count / 1e3 for part, theirs in parts.items()}
            return means | _on_gpu(first, last, count, means.get("model", 0.0))
    return {}


def _on_gpu(first: Mapping[str, float], last: Mapping[str, float], count: float, model_ms: float) -> dict[str, float]:
    """copy, kernel, and what the model took without them; empty where they are not counted, or do not fit into it."""
    grown = {part: (last.get(name, 0.0) - first.get(name, 0.0)) / count / 1e3 for part, name in _ON_GPU.items()}
    if not any(name in last for name in _ON_GPU.values()) or min(grown.values()) < 0 or sum(grown.values()) > model_ms:
        return {}
    return {**grown, "model": model_ms - sum(grown.values())}


def requests_by_batch(before: Scrape, after: Scrape) -> dict[int, int]:
    """Batch size -> requests served in batches of it between the looks, from Triton's statistics of a model; empty
    where either look is missing or its counters began anew."""
    if not before.statistics or not after.statistics:
        return {}
    first, last = _executions(before.statistics), _executions(after.statistics)
    grown = {size: count - first.get(size, 0) for size, count in last.items()}
    if any(count < 0 for count in grown.values()):
        return {}
    return {size: size * count for size, count in sorted(grown.items()) if count}


def _executions(text: str) -> Counter[int]:
    """Batch size -> how many of it ran, over all versions of the model; nothing of a text that is no statistics."""
    found: Counter[int] = Counter()
    try:
        for model in json.loads(text)["model_stats"]:
            for each in model["batch_stats"]:
                found[int(each["batch_size"])] += _count(each)
    except (ValueError, KeyError, TypeError):
        return Counter()
    return found


def _count(batch: Mapping[str, Any]) -> int:
    return int(batch["compute_infer"]["count"])
