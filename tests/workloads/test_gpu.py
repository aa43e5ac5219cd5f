"""The models on the first GPU, by whichever way it has, against the CPU; skipped where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog
from harness.run.environments import environment

CATALOG = Catalog(Path(__file__).parents[2])
NAMES = [name for name in CATALOG.workload_names() if "gpu" in CATALOG.workload(name).devices]
Run = Callable[..., Any]
pytestmark = pytest.mark.live


@pytest.fixture
def on_gpu(beside: Callable[[str, Path, str, dict[str, str]], Any]) -> Run:
    """Runs code beside a workload, with its model on the GPU as `loaded`; what `told` holds comes back."""

    def code_in(name: str, code: str, **variables: str) -> Any:
        python = environment([CATALOG.workload(name).lock]).python
        why = beside(name, python, "told = refused(lambda: model.load(directory, 1, 'gpu')) or ''", variables)
        if why:
            pytest.skip(why)
        return beside(name, python, f"loaded = model.load(directory, 2, 'gpu')\n{code}", variables)

    return code_in


@pytest.mark.parametrize("name", NAMES)
def test_full_precision_computes_what_the_cpu_does(name: str, on_gpu: Run) -> None:
    """Random batches of up to more than the largest bucket, whatever their lengths."""
    told = on_gpu(name, """
cpu, random = model.load(directory, 4), np.random.default_rng(4)
most = model._SPEC.buckets.batches[-1]
counts = [1, 2, 3, *random.integers(1, most, 4).tolist(), most + 3] if most > 100 else [1, 3, 20, most + 3]
told = {"golden": wrong(loaded, range(len(golden))), "gaps": [], "times": []}
for seed, count in enumerate(counts):
    bodies_drawn = [body for body, _ in itertools.islice(stream.payloads(seed), count)]
    answers = model.predict(loaded, [model.decode(body) for body in bodies_drawn])
    told["times"].append(model.last_times(loaded))
    sample = range(0, count, 1 + count // 16)
    told["gaps"] += [stream.same(model.encode(answers[i]), json.loads(model.encode(model.predict(
        cpu, [model.decode(bodies_drawn[i])])[0]))) for i in sample]
""")
    assert not any(told["golden"])
    assert not any(told["gaps"])
    assert all(each["kernel"] > 0 and each["copy"] > 0 for each in told["times"])


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_keeps_golden_answers(name: str, on_gpu: Run) -> None:
    told = on_gpu(name, """
told = [wrong(loaded, range(len(golden))), [wrong(loaded, [index])[0] for index in range(len(golden))]]
""", KNOB_PRECISION="half")
    assert not any(told[0])
    assert not any(told[1])


@pytest.mark.parametrize("precision", ["full", "half"])
def test_threads_share_the_device_and_shapes_are_captured(precision: str, on_gpu: Run) -> None:
    told = on_gpu("embed", """
texts = [drawn(count, count) for count in (1, 3, 8, 30, 64, 100, 200, 256)]
right = [np.array(model.predict(loaded, each)) for each in texts]
found = [[] for _ in texts]
def work(index):
    for _ in range(30):
        found[index].append(np.array(model.predict(loaded, texts[index])))
threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
[each.start() for each in threads], [each.join() for each in threads]
lane = getattr(loaded.engine, "_lane", None)
told = {"gap": max(float(np.abs(each - b).max()) for a, b in zip(found, right) for each in a),
        "captured": len(lane._captured) if lane else -1, "warm": len(list(model._SPEC.buckets.warm()))}
""", KNOB_PRECISION=precision)
    assert told["gap"] < (1e-5 if precision == "full" else 2e-3)
    assert told["captured"] in (told["warm"], -1)      # -1: through ONNX Runtime
