"""What a GPU would run, on PyTorch's CPU device, against ONNX Runtime; skipped where PyTorch cannot be had."""

import subprocess
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


@pytest.mark.parametrize("name", NAMES)
def test_golden_answers_and_random_batches_are_those_of_the_cpu(name: str, with_torch: Run) -> None:
    told = with_torch(name, """
loaded, cpu = model.load(directory, 2, "torch-cpu"), model.load(directory, 2)
small = Buckets((1, 2, 4), model._SPEC.buckets.lengths, warm_cells=0)
spec = replace(model._SPEC, buckets=small)
warmed = replace(spec, buckets=replace(small, warm_cells=2 * small.lengths[0]))
parted, bound = open_engine(file, 2, "torch-cpu", spec), BoundEngine(file, 2, warmed, "CPUExecutionProvider", "cpu")
random = np.random.default_rng(3)
batches = [model.prepare(host, drawn(int(count), seed)) for seed, count in enumerate(random.integers(1, 7, 3))]
def widened(arrays):    # to its bucket, where padding counts
    length = small.shape(1, spec.shape(arrays)[1])[1]
    return {name: np.pad(array, [(0, length - size if axis == "length" else 0) for size, axis in
                                 zip(array.shape, spec.inputs[name].axes)]) for name, array in arrays.items()}
batches = [widened(arrays) for arrays in batches]
right = [cpu.engine.compute(arrays) for arrays in batches]
names = sorted(right[0])
told = {"golden": wrong(loaded, range(len(golden))), "names": [names, sorted(loaded.engine.compute(batches[0]))],
        "whole": max(apart(loaded.engine.compute(a), b) for a, b in zip(batches, right)),
        "parted": max(apart(parted.compute(a), b) for a, b in zip(batches, right)),
        "bound": max(apart(bound.compute(a), b) for a, b in zip(batches, right)),
        "kinds": [[str(a[n].dtype) for n in names] for a in (right[0], loaded.engine.compute(batches[0]))],
        "times": [sorted(each.last_times()) for each in (cpu.engine, loaded.engine, bound)],
        "kernel": loaded.engine.last_times()["kernel"], "public": sorted(model.last_times(loaded))}
""")
    assert not any(told["golden"])
    assert told["names"][0] == told["names"][1]
    assert max(told["whole"], told["parted"], told["bound"]) < 1e-4
    assert told["kinds"][0] == told["kinds"][1]
    assert told["times"] == [[], ["copy", "kernel"], ["copy", "kernel"]]
    assert told["public"] == ["copy", "kernel"]
    assert told["kernel"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_keeps_golden_answers(name: str, with_torch: Run) -> None:
    """PyTorch has no fast half precision on a CPU: three items are enough."""
    told = with_torch(name, """
loaded = model.load(directory, 2, "torch-cpu")
arrays = model.prepare(host, [model.decode(bodies[0])])
told = {"golden": wrong(loaded, range(3)), "refused": refused(lambda: model.load(directory, 1)),
        "kinds": [str(value.dtype) for value in loaded.engine.compute(arrays).values()],
        "weights": str(loaded.engine._program.kind)}
""", KNOB_PRECISION="half")
    assert told["golden"] == [""] * 3
    assert "'half'" in told["refused"]
    assert "float16" not in told["kinds"]
    assert told["weights"] == "torch.float16"


def test_threads_may_share_an_engine(with_torch: Run) -> None:
    told = with_torch("embed", """
loaded = model.load(directory, 1, "torch-cpu")
texts = [drawn(count, count) for count in range(1, 7)]
right = [np.array(model.predict(loaded, each)) for each in texts]
found = [None] * 6
def work(index):
    for _ in range(3):
        found[index] = np.array(model.predict(loaded, texts[index]))
threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
[each.start() for each in threads], [each.join() for each in threads]
told = [float(np.abs(a - b).max()) for a, b in zip(found, right)]
""")
    assert max(told) < 1e-6


def test_what_cannot_be_had_is_said_in_a_sentence(with_torch: Run) -> None:
    told = with_torch("embed", """
import torch
from accelerator.onnx_file import Graph, Node
from accelerator.program import Program
def program(*nodes):
    return Program(Graph(nodes, {}, ("x",), ("y",), 17, {}), torch.device("cpu"), torch.float32)
def ran(*nodes):
    return lambda: program(*nodes)((2, 1), {"x": torch.ones(2, 3)})
told = {"gpu": refused(lambda: model.load(directory, 1, "gpu")), "there": torch.cuda.is_available(),
        "operator": refused(lambda: program(Node("Einsum", ("x",), ("y",)))),
        "shape": refused(ran(Node("Reshape", ("x", "x"), ("y",)))),
        "constant": refused(ran(Node("Shape", ("x",), ("y",)))),
        "long": refused(lambda: model.load(directory, 1, "torch-cpu").engine.compute(
            {name: np.ones((1, 300), np.int64) for name in ("input_ids", "attention_mask")})),
        "provider": refused(lambda: BoundEngine(file, 1, model._SPEC, "CUDAExecutionProvider", "cuda")),
        "precision": refused(precision)}
""", KNOB_PRECISION="full")
    assert told["there"] or "finds no CUDA device" in told["gpu"]
    assert told["there"] or "ONNX Runtime's CUDAExecutionProvider did not start" in told["provider"]
    assert "operator 'Einsum' is not known here" in told["operator"]
    assert "a shape in Reshape follows from values" in told["shape"]
    assert "depends on no input's values" in told["constant"]
    assert "of length 300 is beyond the largest" in told["long"]
    assert told["precision"] is None


MODELS = """
import sys, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
F, I, U = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
random = np.random.default_rng(1)
def floats(*shape): return random.standard_normal(shape).astype(np.float32)
def ints(*values): return np.array(values, np.int64)
def case(name, operator, shape, *constants, opset=20, outputs=1, first=False, kind=F, **attributes):
    names = [f"c{i}" for i in range(len(constants))]
    inputs = [*names, "x"] if first else ["x", *[n if c is not None else "" for n, c in zip(names, constants)]]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(operator, inputs, made, **attributes)
    graph = helper.make_graph([node], name, [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_empty_tensor_value_info(each) for each in made],
        [numpy_helper.from_array(c, n) for n, c in zip(names, constants) if c is not None])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8),
         pathlib.Path(sys.argv[1]) / f"{name}.onnx")
image = [2, 4, 9, 7]
case("conv", "Conv", image, floats(6, 4, 3, 3), floats(6), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1])
case("conv group", "Conv", image, floats(4, 1, 3, 2), group=4, dilations=[2, 1])
case("conv plain", "Conv", image, floats(3, 4, 1, 1))
case("average", "AveragePool", image, kernel_shape=[3, 2], strides=[3, 2])
case("average padded", "AveragePool", image, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
case("average uncounted", "AveragePool", image, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0)
case("max pool", "MaxPool", image, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
case("batch norm", "BatchNormalization", image, floats(4), floats(4), floats(4), np.abs(floats(4)), epsilon=1e-3)
case("layer norm", "LayerNormalization", [3, 5, 8], floats(8), floats(8), epsilon=1e-3)
case("layer norm two", "LayerNormalization", [3, 5, 8], floats(5, 8), axis=1)
case("global", "GlobalAveragePool", image)
case("softmax", "Softmax", [2, 3, 5], axis=-1)
case("softmax old", "Softmax", [2, 3, 5], axis=2, opset=12)
case("clip", "Clip", [4, 5], np.float32(-0.5), np.float32(0.5))
case("clip below", "Clip", [4, 5], np.float32(0))
case("clip above", "Clip", [4, 5], None, np.float32(0.1))
case("relu", "Relu", [4, 5]); case("sigmoid", "Sigmoid", [4, 5]); case("gelu", "Gelu", [4, 5])
case("gelu tanh", "Gelu", [4, 5], approximate="tanh")
case("hard sigmoid", "HardSigmoid", [4, 5]); case("hard sigmoid given", "HardSigmoid", [4, 5], alpha=0.1, beta=0.4)
case("add", "Add", [4, 5], floats(5)); case("add column", "Add", [4, 5], floats(4, 1))
case("add wide", "Add", [5], floats(1, 1)); case("sub first", "Sub", [4, 5], floats(1), first=True)
case("mul one", "Mul", [4, 5], np.float32(3)); case("div", "Div", [4, 5], floats(4, 5))
case("div whole", "Div", [4], ints(2, 3, -2, 4), kind=I); case("mod", "Mod", [4], ints(2, 3, -2, 4), kind=I)
case("pow", "Pow", [4, 5], np.float32(2)); case("matmul", "MatMul", [2, 3, 4], floats(4, 5))
case("gather", "Gather", [4, 5, 2], ints(2, -1, 0), axis=1); case("gather one", "Gather", [4, 5], np.int64(3))
case("gather all", "Gather", [4, 5], ints(0, 1, 2, 3)); case("gather table", "Gather", [2, 3], floats(9, 4), first=True,
                                                              kind=I)
case("slice", "Slice", [4, 5, 6], ints(1, -3), ints(100, -1), ints(0, 2), ints(2, 1))
case("slice plain", "Slice", [4, 5], ints(1, 0), ints(3, 4))
case("split", "Split", [4, 7], outputs=3, axis=1, num_outputs=3)
case("split sizes", "Split", [4, 7], ints(1, 6), outputs=2, axis=1)
case("reshape", "Reshape", [4, 6], ints(0, -1, 2)); case("squeeze", "Squeeze", [1, 4, 1], ints(2))
case("squeeze old", "Squeeze", [1, 4, 1], axes=[0], opset=12); case("squeeze all", "Squeeze", [1, 4, 1])
case("unsqueeze", "Unsqueeze", [4, 5], ints(0, -1)); case("concat", "Concat", [4, 5], floats(2, 5), axis=0)
case("transpose", "Transpose", [4, 5, 6], perm=[2, 0, 1]); case("transpose back", "Transpose", [4, 5])
case("sqrt", "Sqrt", [4, 5]); case("mean", "ReduceMean", [4, 5, 6], axes=[-1], opset=12)
case("mean two", "ReduceMean", [4, 5, 6], ints(0, 2), keepdims=0); case("sum", "ReduceSum", [4, 5], ints(1), keepdims=0)
case("sum all", "ReduceSum", [4, 5]); case("max", "ReduceMax", [4, 5], ints(0)); case("l2", "ReduceL2", [4, 5], ints(1))
case("arg max", "ArgMax", [4, 5, 6], axis=2, keepdims=0); case("top", "TopK", [4, 9], ints(3), outputs=2)
case("cast", "Cast", [4, 5], to=TensorProto.INT64); case("cast image", "Cast", [4, 5], to=F, kind=U)
"""


def test_every_operator_computes_what_onnx_runtime_does(with_torch: Run, tmp_path: Path) -> None:
    lock = CATALOG.workload("embed").prepare_lock
    assert lock
    subprocess.run([environment([lock]).python, "-c", MODELS, tmp_path], check=True)
    told = with_torch("embed", """
import onnxruntime, torch, warnings
from accelerator.onnx_file import read_onnx
from accelerator.operators import OPERATORS
from accelerator.program import Program
warnings.simplefilter("error")
random, told, tried = np.random.default_rng(2), {}, set()
for path in sorted(pathlib.Path(os.environ["CASES"]).iterdir()):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [x] = session.get_inputs()
    value = np.array(random.integers(1, 9, x.shape) if "int" in x.type else random.standard_normal(x.shape))
    value = np.abs(value) if path.stem == "sqrt" else value
    value = value.astype({"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}[x.type])
    right = session.run(None, {"x": value})
    graph = read_onnx(path)
    program = Program(graph, torch.device("cpu"), torch.float32)
    tried |= {node.operator for node in graph.nodes}
    for _ in range(2):      # as planned, and from the plan
        found = [each.numpy() for each in program((1, 1), {"x": torch.from_numpy(value)})]
        same = all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(found, right, strict=True))
        told[path.stem] = max(float(np.abs(a - b).max()) for a, b in zip(found, right)) if same else 1e9
told["untried"] = sorted(set(OPERATORS) - tried - {"Linear", "Attention4D", "Shape"})
""", CASES=str(tmp_path))
    assert told.pop("untried") == []
    assert len(told) > 50
    assert {name: gap for name, gap in told.items() if gap > 1e-5} == {}
