"""What the generator processes of one run are told."""

import math
from dataclasses import replace
from pathlib import Path

from harness.catalog.scenario import Scenario
from harness.load.spec import LoadSpec, UserSpec
from harness.plan.attempt import Attempt
from harness.run.bench import Bench
from harness.run.exchange import HOST

Spec = LoadSpec | UserSpec

SURE_S = 20.0


def expected_requests(scenario: Scenario) -> int | None:
    """About how many requests the scenario sends, warm-up included; None for a closed loop."""
    if scenario.closed:
        return None
    ends = [(stage.rate or 0.0, stage.rate if stage.rate_end is None else stage.rate_end) for stage in scenario.stage]
    counted = sum((start + (end or 0.0)) / 2 * stage.duration_s
                  for (start, end), stage in zip(ends, scenario.stage, strict=True))
    return max(1, math.ceil(counted + ends[0][0] * scenario.warmup_s))


def load_specs(attempt: Attempt, bench: Bench, content_type: str, payloads: Path, scratch: Path) -> list[Spec]:
    """One spec per load CPU, or the one of a user's own locustfile; the port is still to be set (`at_port`).
    `content_type` is the workload's; `payloads` holds bodies in the setup's protocol already."""
    scenario, cpus = attempt.scenario, bench.cores.load
    if scenario.locustfile:
        stage = scenario.stage[0]
        return [UserSpec(locustfile=scenario.locustfile, host="", users=stage.users or 1, spawn_rate=stage.users or 1,
                         duration_s=stage.duration_s, out=str(scratch / "part0"), cpu=cpus[0])]
    expected = expected_requests(scenario)
    sampled = expected
    if attempt.until and expected is not None:  # it may end long before its cap
        sampled = min(expected, round(expected * SURE_S / scenario.duration_s))
    every = 1 if sampled is None else max(1, sampled // bench.judged_per_run)
    codec = attempt.setup.codec
    headers = dict(codec.headers)
    if scenario.deadline_ms is not None:
        headers["x-request-timeout-ms"] = f"{scenario.deadline_ms:g}"
    return [LoadSpec(
        host=HOST, port=0, path=attempt.setup.predict,
        content_type=codec.content_type(content_type), headers=headers,
        stages=[stage.model_dump() for stage in scenario.stage], warmup_s=scenario.warmup_s, seed=attempt.seed,
        payloads=str(payloads), timeout_s=scenario.timeout_s,
        answers_every=every | 1,  # odd, so that it shares no factor with a pool of 2^n payloads
        worker=worker, workers=len(cpus), cpu=cpu, realtime=bench.realtime, out=str(scratch / f"part{worker}"),
        web_port=bench.web_port if worker == 0 else None, live=bench.judge(attempt) is not None,
        transport=codec.transport,
    ) for worker, cpu in enumerate(cpus)]


def at_port(spec: Spec, port: int) -> Spec:
    """The spec for a server on that port."""
    if isinstance(spec, UserSpec):
        return replace(spec, host=f"http://{HOST}:{port}")
    return replace(spec, port=port)
