"""An ONNX graph as a PyTorch program: what follows from shapes alone is worked out once per shape, on the host."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from accelerator.fuse import fused
from accelerator.onnx_file import Graph, Node
from accelerator.operators import ELEMENTWISE, ON_HOST, TYPES, Operator, known

Tensors = dict[str, torch.Tensor]
Shape = tuple[int, int]                                      # a bucket: batch, length
Given = Mapping[str, Callable[[int, int], np.ndarray]]       # values known from the bucket's shape alone


@dataclass(frozen=True)
class Step:
    """One node on the device. `fixed` has None where an input is computed by another; `last` names what nobody reads
    later."""

    node: Node
    operator: Operator
    fixed: tuple[torch.Tensor | None, ...]
    last: tuple[str, ...] = ()


class Program:
    """Computes the graph's outputs on `device`, its floating-point numbers of type `kind`.

    Integers that follow from shapes stay on the host, so that no shape waits for the device; they, and what they lead
    to, are kept per bucket. Raises ValueError for an operator that is not known.
    """

    def __init__(self, graph: Graph, device: torch.device, kind: torch.dtype, given: Given | None = None) -> None:
        graph = fused(graph)
        self.device, self.kind = device, kind
        self.outputs = graph.outputs
        self._nodes = [_in_kind(node, kind) for node in graph.nodes]
        self._operators = [known(node) for node in self._nodes]
        self._constants = {name: torch.from_numpy(np.array(value)) for name, value in graph.constants.items()}
        self._kernels = {node.inputs[1] for node in self._nodes if node.operator == "Conv"}
        self._given = dict(given or {})
        self._steps: dict[Shape, list[Step]] = {}

    def __call__(self, shape: Shape, feeds: Tensors) -> list[torch.Tensor]:
        """The outputs, for inputs that have the bucket's shape. The first call for a bucket takes longer."""
        if shape not in self._steps:
            return self._planned(shape, feeds)
        values = dict(feeds)
        for step in self._steps[shape]:
            _run(step, values)
        return [values[name] for name in self.outputs]

    def _planned(self, shape: Shape, feeds: Tensors) -> list[torch.Tensor]:
        host = {name: value for name, value in self._constants.items()
                if not value.is_floating_point() or value.numel() == 1}
        host |= {name: torch.from_numpy(value(*shape)) for name, value in self._given.items()}
        values, steps = dict(feeds), []
        readers = Counter([name for node in self._nodes for name in node.inputs] + list(self.outputs))
        for node, operator in zip(self._nodes, self._operators, strict=True):
            if node.operator == "Shape" or all(not name or name in host for name in node.inputs):
                inputs = [host[name] if name in host else values.get(name) for name in node.inputs]
                _keep(host, node, operator(node, *inputs))
            else:
                step = self._step(node, operator, host, values)
                _run(step, values)
                steps.append(step)
            readers.subtract(node.inputs)
            for name in set(node.inputs):
                if not readers[name]:
                    values.pop(name, None)
        if not values.keys() >= set(self.outputs):
            raise ValueError("an output depends on no input's values; such a model cannot be run here")
        self._steps[shape] = _ended(steps, self.outputs)
        return [values[name] for name in self.outputs]

    def _step(self, node: Node, operator: Operator, host: Tensors, values: Tensors) -> Step:
        rank = max((values[name].dim() for name in node.inputs if name in values), default=0)
        fixed: list[torch.Tensor | None] = []
        for place, name in enumerate(node.inputs):
            if place in ON_HOST.get(node.operator, ()) and name in values:
                raise ValueError(f"a shape in {node.operator} follows from values on the device; such a model cannot "
                                 "be run here")
            if not name or name in values:
                fixed.append(None)
            elif place in ON_HOST.get(node.operator, ()):
                fixed.append(host[name])
            elif name in host and host[name].numel() == 1 and node.operator in ELEMENTWISE and host[name].dim() <= rank:
                fixed.append(host[name].reshape(()))    # a number that the kernel is started with
            else:
                fixed.append(self._on_device(name, host))
        if node.operator == "Gather" and _everything(node, values.get(node.inputs[0]), host.get(node.inputs[1])):
            operator = _spread
            fixed[1] = host[node.inputs[1]]
        return Step(node, operator, tuple(fixed))

    def _on_device(self, name: str, host: Tensors) -> torch.Tensor:
        value = host[name] if name in host else self._constants[name]
        moved = value.to(self.device, self.kind if value.is_floating_point() else value.dtype)
        if name in self._kernels and self.device.type == "cuda":
            # Convolutions follow their kernel's layout, and tensor cores want channels last.
            moved = moved.contiguous(memory_format=torch.channels_last)
        if name in self._constants:
            self._constants[name] = moved
        return moved


def _run(step: Step, values: Tensors) -> None:
    inputs = (values[name] if fixed is None and name else fixed
              for name, fixed in zip(step.node.inputs, step.fixed, strict=True))
    _keep(values, step.node, step.operator(step.node, *inputs))
    for name in step.last:
        del values[name]


def _keep(values: Tensors, node: Node, results: torch.Tensor | Sequence[torch.Tensor]) -> None:
    """Outputs by their names; an operator may give more than the node names."""
    values.update(zip(node.outputs, (results,) if isinstance(results, torch.Tensor) else results, strict=False))


def _ended(steps: Sequence[Step], outputs: Sequence[str]) -> list[Step]:
    """The steps, each knowing what may be forgotten after it."""
    needed, told = set(outputs), []
    for step in reversed(steps):
        read = {name for name, fixed in zip(step.node.inputs, step.fixed, strict=True) if name and fixed is None}
        told.append(replace(step, last=tuple(sorted((read | set(step.node.outputs)) - needed))))
        needed |= read
    return told[::-1]


def _in_kind(node: Node, kind: torch.dtype) -> Node:
    """A Cast to floating point is one to the program's own kind of it."""
    if node.operator != "Cast" or not TYPES[node.attributes["to"]].is_floating_point:
        return node
    number = next(number for number, each in TYPES.items() if each == kind)
    return replace(node, attributes={"to": number})


def _everything(node: Node, data: torch.Tensor | None, places: torch.Tensor | None) -> bool:
    """Whether the Gather takes every row once and in order."""
    return (data is not None and places is not None and not node.attributes.get("axis", 0)
            and places.numel() == len(data) and torch.equal(places.flatten(), torch.arange(len(data))))


def _spread(_: Node, data: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return data.reshape(*places.shape, *data.shape[1:])
