"""How fast does a model compute full batches on a device, with no server around it, and what share does a setup reach?

    python benchmarks/device_ceiling.py embed --device gpu [--json FILE]
    python benchmarks/device_ceiling.py embed --device gpu --against results --plan gpu     # 1 where a target is missed

One process loops over batches of payloads of the workload's own stream, drawn from the whole pool, so that lengths mix
as they do in traffic. Three loops per batch size, each for some seconds after a warm-up:

    compute   the device's half alone, its input prepared before the clock starts (where the model offers it)
    predict   what a server calls: preparing, computing, finishing
    whole     from body to body: decode, predict, encode

The ceiling is the best `predict`. Beside it stands the best goodput (right answers a second, mean over repetitions)
of zmq-batching among the loads at which its p99 is at most 50 ms, and that of flask. Targets: at least 60 % of the
ceiling, and at least ten times flask.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

P99_MS, SHARE, TIMES = 50.0, 0.60, 10.0
POOL, SEED = 2048, 1
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CEILING, BATCHED, PLAIN = "predict", "zmq-batching", "flask"


Step = Callable[[], Any]


def loops(model: Any, bodies: Sequence[bytes], folder: Path, device: str) -> dict[str, Callable[[int], Step]]:
    """For each loop, what makes a step of batches of n: a function that runs the next batch."""
    loaded = model.load(folder, 1, device)
    items = [model.decode(body) for body in bodies]

    def rounds(n: int, what: Sequence[Any]) -> Callable[[], list[Any]]:
        """The next n of them, over and over."""
        endless = cycle(what)
        return lambda: list(islice(endless, n))

    def compute(n: int) -> Step:
        host, batch = model.load_host(folder), rounds(n, items)
        prepared = [model.prepare(host, batch()) for _ in range(max(1, min(64, POOL // n)))]
        turn = rounds(1, prepared)
        return lambda: model.compute(loaded, turn()[0])

    def predict(n: int) -> Step:
        batch = rounds(n, items)
        return lambda: model.predict(loaded, batch())

    def whole(n: int) -> Step:
        batch = rounds(n, bodies)
        return lambda: [model.encode(answer) for answer in
                        model.predict(loaded, [model.decode(body) for body in batch()])]

    return ({"compute": compute} if hasattr(model, "compute") else {}) | {"predict": predict, "whole": whole}


def measured(step: Step, n: int, seconds: float) -> dict[str, float]:
    """Items a second, and milliseconds of a batch."""
    until_s = time.perf_counter() + seconds / 4
    while time.perf_counter() < until_s:
        step()
    took: list[float] = []
    begun_s = time.perf_counter()
    while not took or time.perf_counter() - begun_s < seconds:
        start_s = time.perf_counter()
        step()
        took.append(time.perf_counter() - start_s)
    tail = quantiles(took, n=100, method="inclusive")[98] if len(took) > 1 else took[0]
    per_s = n * len(took) / (time.perf_counter() - begun_s)
    return {"per_s": per_s, "p50_ms": median(took) * 1e3, "p99_ms": tail * 1e3}


def child(arguments: Sequence[str]) -> None:
    """In the workload's environment: one JSON line per batch size and loop."""
    folder, device, seconds, largest = Path(arguments[0]), arguments[1], float(arguments[2]), int(arguments[3])
    import model  # noqa: PLC0415  the workload's
    import stream  # noqa: PLC0415

    bodies = [body for body, _ in islice(stream.payloads(SEED, "default"), POOL)]
    for name, made in loops(model, bodies, folder, device).items():
        for n in SIZES:
            if n <= largest:
                print(json.dumps({"loop": name, "n": n, **measured(made(n), n, seconds)}), flush=True)


def ask(workload: str, device: str, seconds: float, largest: int, locks: Sequence[Path]) -> list[dict[str, Any]]:
    """What the child measured, on this process's CPUs."""
    from harness.catalog.discover import find_catalog  # noqa: PLC0415  the child has no harness
    from harness.run.environments import environment  # noqa: PLC0415
    from harness.run.prepare import prepare  # noqa: PLC0415

    asked = find_catalog(Path.cwd()).workload(workload)
    prepared = prepare(asked, lambda line: print(line, file=sys.stderr))
    python = environment([asked.lock, *locks]).python
    env = os.environ | {"PYTHONPATH": ":".join(map(str, asked.imports)), "OMP_NUM_THREADS": "1"}
    command = [str(python), __file__, "--child", str(prepared.folder), device, str(seconds), str(largest)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        rows = []
        for line in process.stdout or ():
            rows.append(json.loads(line))
            row = rows[-1]
            print(f"{row['loop']:8} {row['n']:4} {row['per_s']:12.1f} {row['p50_ms']:10.3f} {row['p99_ms']:10.3f}",
                  flush=True)
    if process.returncode:
        sys.exit(f"{workload} on {device}: measured nothing (exit {process.returncode}); its own words are above")
    return rows


def goodputs(results: Path, plan: str, workload: str, device: str) -> dict[str, float]:
    """For each setup, the best goodput of a load at which its pooled p99 is within P99_MS."""
    from harness.analyse.summary import analyse  # noqa: PLC0415
    from harness.catalog.device import parted  # noqa: PLC0415

    best: dict[str, float] = {}
    for cell in analyse(results, plan, force=True).cells:
        p99 = cell.quantiles_ms.get(0.99)
        if (cell.workload, cell.device) == (workload, device) and p99 is not None and p99.value <= P99_MS:
            setup, _ = parted(cell.setup)
            best[setup] = max(best.get(setup, 0.0), cell.goodput.value)
    return best


def main() -> int:
    """1 where a target is missed, 0 else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu", "torch-cpu"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of every loop and batch size")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="batch size")
    parser.add_argument("--lock", type=Path, action="append", default=[],
                        help="another requirements file for the environment, for example one with torch")
    parser.add_argument("--against", type=Path, help="results to compare with")
    parser.add_argument("--plan", default="gpu", help="whose runs of those")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    print(f"{'loop':8} {'n':>4} {'items/s':>12} {'batch p50':>10} {'p99 ms':>10}")
    rows = ask(asked.workload, asked.device, asked.seconds, asked.largest, asked.lock)
    ceiling = max(row["per_s"] for row in rows if row["loop"] == CEILING)
    found: dict[str, Any] = {"workload": asked.workload, "device": asked.device, "rows": rows, "ceiling": ceiling}
    missed = False
    print(f"\nceiling: {ceiling:.1f} items/s (the best `{CEILING}`)")
    if asked.against:
        best = goodputs(asked.against, asked.plan, asked.workload, asked.device)
        found["goodput"] = best
        for setup, good in sorted(best.items(), key=lambda pair: -pair[1]):
            print(f"{setup:16} {good:10.1f} good answers/s at p99 <= {P99_MS:.0f} ms: {good / ceiling:.0%}")
        batched, plain = best.get(BATCHED, 0.0), best.get(PLAIN, 0.0)
        missed = batched < SHARE * ceiling or not plain or batched < TIMES * plain
        print(f"{BATCHED}: {batched / ceiling:.0%} of the ceiling (target {SHARE:.0%}), "
              + (f"{batched / plain:.1f} times {PLAIN} (target {TIMES:.0f})" if plain else f"{PLAIN} kept no promise"))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), "utf-8")
    return int(missed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        sys.exit(main())
