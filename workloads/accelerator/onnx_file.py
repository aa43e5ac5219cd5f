"""Reads an ONNX model file, and what these workloads use of it, with nothing but numpy.

The `onnx` package would do, but it brings protobuf, over whose version the locks of the setups quarrel. The format is
protocol buffers' wire format (protobuf.dev, "Encoding") with the field numbers of onnx.proto3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NUMPY_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
               10: np.float16, 11: np.float64}
FLOAT, INT32, INT64, DOUBLE, RAW, EXTERNAL = 4, 5, 7, 10, 9, 13   # fields of TensorProto that hold values
_SIGN = 1 << 63


@dataclass(frozen=True)
class Node:
    """One operation: the names of what goes in ("" where an optional input is left out) and of what comes out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run, constants by name, the names of inputs and outputs."""

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    metadata: dict[str, str]


def read_onnx(path: Path) -> Graph:
    """The model in the file; its Constant nodes are constants. Raises ValueError for what is no such model."""
    try:
        return _model(memoryview(path.read_bytes()))
    except (IndexError, TypeError, OverflowError, StopIteration, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no ONNX model that can be read here: {error}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that the model's maker left in the file. Raises ValueError for what is no ONNX model."""
    return read_onnx(path).metadata


def asking(graph: Graph, given: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
    """The part of the graph that computes `outputs` when also the values `given` are known. Raises ValueError for a
    name that the graph does not know."""
    known = {name for node in graph.nodes for name in node.outputs}.union(graph.inputs, graph.constants)
    if strangers := sorted({*given, *outputs} - known):
        raise ValueError(f"the model computes no '{strangers[0]}'; prepare it again")
    wanted, kept = set(outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs) - set(given):
            kept.append(node)
            wanted.update(node.inputs)
    return replace(graph, nodes=tuple(reversed(kept)), outputs=outputs,
                   constants={name: value for name, value in graph.constants.items() if name in wanted},
                   inputs=tuple(name for name in (*graph.inputs, *given) if name in wanted))


def fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field of a message: an unsigned int for VARINT, else a memoryview."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise IndexError(f"wire type {kind} is not known")
        if at + size > len(data):
            raise IndexError("it ends in the middle of a field")
        yield number, kind, data[at:at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= _SIGN else value


def _integers(kind: int, value: Any) -> list[int]:
    """The values of a repeated integer field, packed or not."""
    if kind == VARINT:
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(_signed(one))
    return found


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _model(data: memoryview) -> Graph:
    graph, opset, metadata = memoryview(b""), 0, {}
    for number, _, value in fields(data):
        if number == 7:
            graph = value
        elif number == 8:
            domain, version = "", 0
            for inner, _, part in fields(value):
                domain, version = (_text(part), version) if inner == 1 else (domain, part)
            opset = version if domain in ("", "ai.onnx") else opset
        elif number == 14:
            pair = {inner: _text(part) for inner, _, part in fields(value)}
            metadata[pair.get(1, "")] = pair.get(2, "")
    if not graph or not opset:
        raise IndexError("it holds no graph of the standard operators")
    return _graph(graph, opset, metadata)


def _graph(data: memoryview, opset: int, metadata: dict[str, str]) -> Graph:
    nodes: list[Node] = []
    constants: dict[str, np.ndarray] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    for number, _, value in fields(data):
        if number == 1:
            node = _node(value)
            if node.operator == "Constant":
                constants[node.outputs[0]] = np.asarray(next(iter(node.attributes.values())))
            else:
                nodes.append(node)
        elif number == 5:
            name, tensor = _tensor(value)
            constants[name] = tensor
        elif number in (11, 12):
            name = next(_text(part) for inner, _, part in fields(value) if inner == 1)
            (inputs if number == 11 else outputs).append(name)
    return Graph(tuple(nodes), constants, tuple(name for name in inputs if name not in constants), tuple(outputs),
                 opset, metadata)


def _node(data: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    operator, attributes = "", {}
    for number, _, value in fields(data):
        if number in (1, 2):
            (inputs if number == 1 else outputs).append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5:
            name, attribute = _attribute(value)
            attributes[name] = attribute
        elif number == 7 and _text(value) not in ("", "ai.onnx"):
            raise ValueError(f"operators of '{_text(value)}' are not known here; use standard ones")
    return Node(operator, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Any]:
    name, found, many = "", None, []
    for number, kind, value in fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            found = struct.unpack("<f", value)[0]
        elif number == 3:
            found = _signed(value)
        elif number == 4:
            found = _text(value)
        elif number == 5:
            found = _tensor(value)[1]
        elif number == 7:
            many += struct.unpack(f"<{len(value) // 4}f", value)
        elif number == 8:
            many += _integers(kind, value)
        elif number == 9:
            many.append(_text(value))
    return name, many if found is None else found


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    shape, kind_of, name = [], 0, ""
    parts: list[np.ndarray] = []
    for number, kind, value in fields(data):
        if number == 1:
            shape += _integers(kind, value)
        elif number == 2:
            kind_of = value
        elif number == 8:
            name = _text(value)
        elif number in (INT32, INT64):
            parts.append(np.array(_integers(kind, value)))
        elif number in (FLOAT, DOUBLE, RAW):
            parts.append(np.frombuffer(value, {FLOAT: "<f4", DOUBLE: "<f8", RAW: np.uint8}[number]))
        elif number == EXTERNAL:
            raise ValueError(f"the weights of '{name}' lie in another file; save the model in one")
    if kind_of not in NUMPY_TYPES:
        raise ValueError(f"tensor '{name}' is of type {kind_of}, which is not known here")
    kind_wanted = np.dtype(NUMPY_TYPES[kind_of])
    values = np.concatenate(parts) if parts else np.zeros(0, kind_wanted)
    if values.dtype == np.uint8:
        return name, values.view(kind_wanted).reshape(shape)
    return name, values.astype(kind_wanted).reshape(shape)
