"""What only a GPU does (streams, pinned copies, captured graphs), by CUDA's rules kept on PyTorch's CPU device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
pytestmark = pytest.mark.live
HEAD = """
import contextlib, io, sys
sys.path.insert(0, os.environ["TESTS"])
import torch
from accelerator import cuda as lanes
from accelerator.torch_engine import TorchEngine
from simulated_cuda import Cuda
small = Buckets((1, 2, 4), model._SPEC.buckets.lengths[:2])
spec = replace(model._SPEC, buckets=replace(small, warm_cells=2 * small.lengths[-1]))
def opened(cuda, lane=lanes.CudaLane):
    return TorchEngine(file, spec, lane(False, cuda, "cpu"), precision())
def prepared(count, seed):    # cut or filled to a bucket's length
    arrays = model.prepare(host, drawn(count, seed))
    length = small.shape(1, min(spec.shape(arrays)[1], small.lengths[-1]))[1]
    made = {}
    for name, array in arrays.items():
        axes = spec.inputs[name].axes
        cut = array[tuple(slice(length) if axis == "length" else slice(None) for axis in axes)]
        made[name] = np.pad(cut, [(0, length - size if axis == "length" else 0) for size, axis in zip(cut.shape, axes)])
    return made
batches = [prepared(count, seed) for seed, count in enumerate((1, 3, 2, 6, 1))]
right = [CpuEngine(file, 2, model._SPEC).compute(each) for each in batches]
"""


@pytest.fixture(scope="module")
def lane(with_torch: Run) -> Run:
    """`with_torch`, after HEAD."""
    return lambda name, code, **more: with_torch(name, HEAD + code, TESTS=str(Path(__file__).parent), **more)


@pytest.mark.parametrize(("name", "precision", "gap"), [
    ("embed", "full", 1e-4), ("embed", "half", 5e-3), ("ocr", "full", 1e-3), ("vision", "full", 1e-4)])
def test_captured_and_uncaptured_buckets_in_any_order_race_with_nothing(name: str, precision: str, gap: float,
                                                                        lane: Run) -> None:
    told = lane(name, """
with Cuda() as cuda:
    engine = opened(cuda)
    gaps = []
    for at in (0, 1, 2, 3, 4, 0):
        found = engine.compute(batches[at])
        gaps.append(max(float(np.abs(found[n].astype(float) - right[at][n]).max()) for n in found if n != "classes"))
    flights = [engine._start(batches[at], 0, 1, spec.shape(batches[at])[1]) for at in (0, 4, 0)]   # all in the air
    for at, flight in zip((0, 4, 0), flights):
        results, took = flight.land()
        [cuda.look(each) for each in results]
        gaps += [float(np.abs(each.float().numpy()[:1].astype(float) - right[at][n][:1]).max())
                 for n, each in zip(spec.outputs, results) if n != "classes"]
told = {"races": cuda.races, "gap": max(gaps), "captured": cuda.captured, "warm": len(list(spec.buckets.warm())),
        "all": len(small.batches) * len(small.lengths), "times": sorted(took), "fine": min(took.values()) >= 0}
""", KNOB_PRECISION=precision)
    assert told["races"] == []
    assert told["gap"] < gap
    assert 0 < told["captured"] == told["warm"] <= told["all"]
    assert (told["times"], told["fine"]) == (["copy", "kernel"], True)


def test_where_a_capture_fails_kernels_are_started_one_by_one_and_a_line_says_so(lane: Run) -> None:
    told = lane("embed", """
with Cuda(refuses=True) as cuda, contextlib.redirect_stderr(io.StringIO()) as said:
    engine = opened(cuda)
    gap = max(apart(engine.compute(each), other) for each, other in zip(batches, right))
told = {"said": said.getvalue(), "kept": len(engine._lane._captured), "gap": gap, "races": cuda.races}
""")
    assert told["said"] == "no CUDA graphs: CUDA error: operation not permitted\n"
    assert (told["kept"], told["races"]) == (0, [])
    assert told["gap"] < 1e-4


def test_no_shape_is_captured_beyond_the_servers_largest_batch(lane: Run) -> None:
    told = lane("embed", """
with Cuda() as cuda:
    engine = opened(cuda)
    gap = max(apart(engine.compute(each), other) for each, other in zip(batches, right))
told = {"shapes": sorted(engine._lane._captured), "gap": gap}
""", LARGEST_BATCH="1")
    assert [batch for batch, _ in told["shapes"]] == [1] * len(told["shapes"])
    assert told["shapes"]
    assert told["gap"] < 1e-4


def test_mistakes_on_a_device_would_be_seen(lane: Run) -> None:
    """The rules themselves: each fault that was sown is found."""
    told = lane("embed", """
from accelerator.torch_engine import CpuLane
engine = TorchEngine(file, spec, CpuLane(), "full")
def races(lane=lanes.CudaLane, **how):
    with Cuda(**how) as cuda, torch.no_grad():
        engine._lane = lane(False, cuda, "cpu")
        for shape in spec.buckets.warm():
            engine._lane.ready(engine._program, shape, engine._zeros)
        try:
            for at in (4, 0):
                flights = [engine._start(batches[each], 0, 1, spec.shape(batches[each])[1]) for each in (at, 0, at)]
                landed = [flight.land()[0][0][0] for flight in flights]
                gap = max(float((each - torch.from_numpy(right[index]["embedding"][0])).abs().max())
                          for each, index in zip(landed, (at, 0, at)))
                if gap > 1e-4:
                    cuda.races.append(f"wrong by {gap}")
        except RuntimeError as error:
            cuda.races.append(str(error))
        cuda.sweep()
    return cuda.races
def without(name, instead):
    before = getattr(torch.Tensor, name)
    setattr(torch.Tensor, name, instead)
    try:
        return races()
    finally:
        setattr(torch.Tensor, name, before)
class Unpinned(lanes.CudaLane):
    def buffer(self, shape, kind):
        return torch.empty(shape, dtype=kind)
class Reused(lanes.CudaLane):
    def buffer(self, shape, kind):
        self.kept = getattr(self, "kept", {})
        return self.kept.setdefault((shape, kind), super().buffer(shape, kind))
class Hasty(lanes.CudaLane):
    def start(self, *args):
        flight = super().start(*args)
        self._cuda.look(flight.results[0])
        return flight
replay = lanes.Captured.replay
def bare(self, staged):
    [self.inputs[name].copy_(each) for name, each in staged.items()]
    self.graph.replay()
    return self.outputs
told = {"none": races(), "deaf": races(deaf=True), "unpinned": races(Unpinned), "hasty": races(Hasty),
        "reused": races(Reused), "unrecorded": without("record_stream", lambda self, stream: None)}
lanes.Captured.replay = bare
told["bare"] = races()
lanes.Captured.replay = replay
with Cuda() as cuda:
    engine._lane = lanes.CudaLane(False, cuda, "cpu")
    staged = torch.ones(3).to("cpu", copy=True)
    refusals = []
    for forbidden in (lambda: staged.sum().item(), lambda: torch.ones(3).to("cpu", copy=True), cuda.synchronize):
        try:
            with cuda.graph(cuda.CUDAGraph(), (0, 1), engine._lane._compute, "thread_local"):
                forbidden()
        except RuntimeError as error:
            refusals.append(str(error))
    early = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    with cuda.stream(engine._lane._compute):
        [each.record() for each in early]
    try:
        early[0].elapsed_time(early[1])
    except RuntimeError as error:
        refusals.append(str(error))
told["refusals"] = refusals
""")
    assert told.pop("none") == []
    assert len(told.pop("refusals")) == 4
    assert [name for name, races in told.items() if not races] == []
    assert "is of memory that is not pinned" in told["unpinned"][0]
    assert "record_stream was not called" in told["unrecorded"][0]
