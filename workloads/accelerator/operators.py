"""The ONNX operators that these workloads' models use, computed by PyTorch (onnx.ai/onnx/operators).

Each takes the node and its inputs as tensors, None where an optional one is left out, and gives a tensor or several.
What decides a shape (axes, sizes, bounds) is on the host: ON_HOST says which inputs those are.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from accelerator.onnx_file import NUMPY_TYPES, Node

Result = torch.Tensor | Sequence[torch.Tensor]
Operator = Callable[..., Result]
TYPES = {number: getattr(torch, np.dtype(kind).name) for number, kind in NUMPY_TYPES.items()}


def numbers(tensor: torch.Tensor) -> list[int]:
    """The integers in a tensor on the host."""
    return [int(value) for value in tensor.flatten().tolist()]


def known(node: Node) -> Operator:
    """What computes the node. Raises ValueError for an operator that is not known."""
    if node.operator not in OPERATORS:
        raise ValueError(f"operator '{node.operator}' is not known here; known: {', '.join(sorted(OPERATORS))}")
    return OPERATORS[node.operator]


def _axes(node: Node, given: torch.Tensor | None) -> list[int]:
    return numbers(given) if given is not None else list(node.attributes.get("axes", []))


def _kept(node: Node) -> bool:
    return bool(node.attributes.get("keepdims", 1))


def _even_pads(node: Node, x: torch.Tensor) -> list[int]:
    """Padding at both ends of each axis, where both are the same. Raises ValueError where they are not."""
    rank = x.dim() - 2
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or pads[:rank] != pads[rank:]:
        raise ValueError(f"{node.operator} with uneven padding is not known here")
    return pads[:rank]


def _two_axes(node: Node, x: torch.Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{node.operator} of {x.dim() - 2} spatial axes is not known here; only of two")


def _conv(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Result:
    _two_axes(node, x)
    given = node.attributes
    return functional.conv2d(x, weight, bias, given.get("strides", [1, 1]), _even_pads(node, x),
                             given.get("dilations", [1, 1]), given.get("group", 1))


def _average_pool(node: Node, x: torch.Tensor) -> Result:
    _two_axes(node, x)
    given = node.attributes
    return functional.avg_pool2d(x, given["kernel_shape"], given.get("strides", [1, 1]), _even_pads(node, x),
                                 bool(given.get("ceil_mode", 0)), bool(given.get("count_include_pad", 0)))


def _max_pool(node: Node, x: torch.Tensor) -> Result:
    _two_axes(node, x)
    given = node.attributes
    return functional.max_pool2d(x, given["kernel_shape"], given.get("strides", [1, 1]), _even_pads(node, x),
                                 given.get("dilations", [1, 1]), bool(given.get("ceil_mode", 0)))


def _batch_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, mean: torch.Tensor,
                variance: torch.Tensor) -> Result:
    return functional.batch_norm(x, mean, variance, scale, offset, eps=node.attributes.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None = None) -> Result:
    shape = list(x.shape[node.attributes.get("axis", -1):])
    return functional.layer_norm(x, shape, scale, offset, node.attributes.get("epsilon", 1e-5))


def _softmax(node: Node, x: torch.Tensor) -> Result:
    axis = node.attributes.get("axis", -1)
    if axis not in (-1, x.dim() - 1):   # below opset 13 it meant that axis and all behind it
        raise ValueError("Softmax over another axis than the last is not known here")
    return functional.softmax(x, -1)


def _divide(_: Node, a: torch.Tensor, b: torch.Tensor) -> Result:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _mod(node: Node, a: torch.Tensor, b: torch.Tensor) -> Result:
    return (torch.fmod if node.attributes.get("fmod", 0) else torch.remainder)(a, b)


def _gather(node: Node, data: torch.Tensor, places: torch.Tensor) -> Result:
    axis = node.attributes.get("axis", 0) % data.dim()
    return data[(slice(None),) * axis + (places,)]


def _slice(_: Node, data: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor, axes: torch.Tensor | None = None,
           strides: torch.Tensor | None = None) -> Result:
    first = numbers(starts)
    over = numbers(axes) if axes is not None else list(range(len(first)))
    by = numbers(strides) if strides is not None else [1] * len(first)
    if min(by) < 1:
        raise ValueError("Slice with steps backwards is not known here")
    cut = [slice(None)] * data.dim()
    for axis, start, end, step in zip(over, first, numbers(ends), by, strict=True):
        cut[axis] = slice(start, end, step)
    return data[tuple(cut)]


def _split(node: Node, x: torch.Tensor, sizes: torch.Tensor | None = None) -> Result:
    axis = node.attributes.get("axis", 0)
    if sizes is not None:
        return torch.split(x, numbers(sizes), axis)
    return torch.split(x, -(-x.shape[axis] // len(node.outputs)), axis)


def _reshape(node: Node, x: torch.Tensor, shape: torch.Tensor) -> Result:
    wanted = numbers(shape)
    if not node.attributes.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _squeeze(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    over = _axes(node, axes)
    return x.squeeze(tuple(over)) if over else x.squeeze()


def _unsqueeze(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    over = _axes(node, axes)
    rank = x.dim() + len(over)
    for axis in sorted(axis % rank for axis in over):
        x = x.unsqueeze(axis)
    return x


def _shape(node: Node, x: torch.Tensor) -> Result:
    return torch.tensor(list(x.shape)[slice(node.attributes.get("start", 0), node.attributes.get("end"))])


def _over(node: Node, x: torch.Tensor, axes: torch.Tensor | None) -> list[int]:
    return _axes(node, axes) or list(range(x.dim()))


def _reduce_mean(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    return x.mean(_over(node, x, axes), _kept(node))


def _reduce_sum(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    return x.sum(_over(node, x, axes), _kept(node))


def _reduce_max(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    return x.amax(_over(node, x, axes), _kept(node))


def _reduce_l2(node: Node, x: torch.Tensor, axes: torch.Tensor | None = None) -> Result:
    # In single precision: half the digits are too few for a length that others are divided by.
    return torch.linalg.vector_norm(x, 2, _over(node, x, axes), _kept(node), dtype=torch.float32)


def _arg_max(node: Node, x: torch.Tensor) -> Result:
    return x.argmax(node.attributes.get("axis", 0), _kept(node))


def _top_k(node: Node, x: torch.Tensor, count: torch.Tensor) -> Result:
    return tuple(x.topk(numbers(count)[0], node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))))


def _clip(_: Node, x: torch.Tensor, least: torch.Tensor | None = None, most: torch.Tensor | None = None) -> Result:
    return x.clamp(None if least is None else least.item(), None if most is None else most.item())


def _hard_sigmoid(node: Node, x: torch.Tensor) -> Result:
    return (x * node.attributes.get("alpha", 0.2) + node.attributes.get("beta", 0.5)).clamp(0, 1)


def _gelu(node: Node, x: torch.Tensor) -> Result:
    return functional.gelu(x, approximate=node.attributes.get("approximate", "none"))


def _linear(_: Node, x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor) -> Result:
    return functional.linear(x, weight.t(), offset)


def _attention(_: Node, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
               bias: torch.Tensor | None = None) -> Result:
    mask = None if bias is None else bias.expand(query.shape[0], -1, query.shape[2], -1)
    return functional.scaled_dot_product_attention(query, key, value, mask, scale=1.0)


OPERATORS: dict[str, Operator] = {
    "Add": lambda _, a, b: a + b,
    "ArgMax": _arg_max,
    "Attention4D": _attention,      # ours, made by accelerator.fuse
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda node, x: x.to(TYPES[node.attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda node, *parts: torch.cat(parts, node.attributes["axis"]),
    "Conv": _conv,
    "Div": _divide,
    "Gather": _gather,
    "Gelu": _gelu,
    "GlobalAveragePool": lambda _, x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "LayerNormalization": _layer_norm,
    "Linear": _linear,              # ours, made by accelerator.fuse
    "MatMul": lambda _, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mod": _mod,
    "Mul": lambda _, a, b: a * b,
    "Pow": lambda _, a, b: a ** b,
    "ReduceL2": _reduce_l2,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": lambda _, x: functional.relu(x),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": lambda _, x: torch.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": lambda _, a, b: a - b,
    "TopK": _top_k,
    "Transpose": lambda node, x: x.permute(node.attributes.get("perm", list(range(x.dim()))[::-1])),
    "Unsqueeze": _unsqueeze,
}

# Which inputs are read on the host.
ON_HOST = {"Clip": (1, 2), "ReduceL2": (1,), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceSum": (1,), "Reshape": (1,),
           "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "TopK": (1,), "Unsqueeze": (1,)}
ELEMENTWISE = ("Add", "Div", "Mod", "Mul", "Pow", "Sub")
