"""The pure parts of the accelerator runtime: buckets, the reader of ONNX files, fused nodes."""

import itertools
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

WORKLOADS = Path(__file__).parents[2] / "workloads"


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The runtime, as a workload's server finds it."""
    sys.path.append(str(WORKLOADS))
    yield
    sys.path.remove(str(WORKLOADS))


@pytest.fixture(scope="module")
def buckets(importable: None) -> ModuleType:
    """accelerator.buckets"""
    from accelerator import buckets  # noqa: PLC0415

    return buckets


@pytest.fixture(scope="module")
def onnx_file(importable: None) -> ModuleType:
    """accelerator.onnx_file"""
    from accelerator import onnx_file  # noqa: PLC0415

    return onnx_file


@given(most=st.integers(1, 300), rows=st.integers(1, 300), length=st.integers(1, 1600))
def test_a_bucket_is_the_smallest_that_holds(buckets: ModuleType, most: int, rows: int, length: int) -> None:
    made = buckets.Buckets(buckets.powers_of_two(most), buckets.steps(32, 1600, 320))
    if rows > most:
        with pytest.raises(ValueError, match=f"a batch of {rows} items"):
            made.shape(rows, length)
    else:
        batch, padded = made.shape(rows, length)
        assert batch >= rows
        assert padded >= length
        assert all(other < rows for other in made.batches if other < batch)
        assert all(other < length for other in made.lengths if other < padded)
        assert batch < 2 * rows
    parts = made.parts(rows)
    assert sum(parts) == rows
    assert max(parts) <= most
    assert len(parts) == -(-rows // most)


@given(step=st.sampled_from([8, 16, 32]), most=st.integers(1, 3000), near=st.integers(1, 400))
def test_steps_rise_in_multiples_and_waste_a_quarter_at_most(buckets: ModuleType, step: int, most: int,
                                                             near: int) -> None:
    made = buckets.steps(step, most, near)
    assert made[-1] == -(-most // step) * step
    assert all(length % step == 0 for length in made)
    assert all(step <= after - before <= max(step, before / 4) for before, after in itertools.pairwise(made))


def test_the_largest_shapes_are_made_ready_first_and_none_too_large(buckets: ModuleType) -> None:
    made = buckets.Buckets((1, 2, 4), (16, 32), warm_cells=64)
    assert list(made.warm()) == [(4, 16), (2, 32), (2, 16), (1, 32), (1, 16)]
    assert list(made.warm(1)) == [(1, 32), (1, 16)]
    assert list(made.warm(3)) == list(made.warm(4)) == list(made.warm(100)) == list(made.warm())
    assert buckets.powers_of_two(1) == (1,)
    assert buckets.powers_of_two(48) == (1, 2, 4, 8, 16, 32, 48)


@pytest.mark.parametrize(("told", "most"), [
    ({}, 1 << 62), ({"KNOB_MAX_BATCH": "32"}, 32), ({"KNOB_MAX_BATCH": "32", "KNOB_DEVICE_BATCH": "256"}, 256),
    ({"KNOB_MAX_BATCH": "32", "LARGEST_BATCH": "1"}, 1), ({"KNOB_MAX_BATCH": "0"}, 1),
    ({"KNOB_MAX_BATCH": "?"}, 1 << 62),
])
def test_a_server_tells_its_largest_batch(monkeypatch: pytest.MonkeyPatch, told: dict[str, str], most: int) -> None:
    from accelerator.spec import largest_batch  # noqa: PLC0415

    for name in ("LARGEST_BATCH", "KNOB_DEVICE_BATCH", "KNOB_MAX_BATCH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert largest_batch() == most


def field(number: int, value: int | bytes) -> bytes:
    """A field as the wire format writes it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % (1 << 64))
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return (bytes([value & 127 | 128]) + varint(value >> 7)) if value > 127 else bytes([value])


integers = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(integers, max_size=5), st.booleans(), st.lists(st.floats(width=32, allow_nan=False), max_size=5),
       st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_what_was_written_is_read(onnx_file: ModuleType, numbers: list[int], packed: bool, floats: list[float],
                                  metadata: dict[str, str]) -> None:
    ints = [field(8, b"".join(varint(n % (1 << 64)) for n in numbers))] if packed else [field(8, n) for n in numbers]
    attributes = [field(5, field(1, b"axes") + b"".join(ints)), field(5, field(1, b"axis") + field(3, -1)),
                  field(5, field(1, b"eps") + varint(2 << 3 | 5) + struct.pack("<f", 0.5))]
    node = field(1, b"x") + field(1, b"") + field(2, b"y") + field(4, b"Op") + b"".join(attributes)
    raw = field(1, len(floats)) + field(2, 1) + field(8, b"w") + field(9, struct.pack(f"<{len(floats)}f", *floats))
    typed = field(1, len(numbers)) + field(2, 7) + field(8, b"n") + field(7, b"".join(
        varint(n % (1 << 64)) for n in numbers))
    constant = field(2, b"c") + field(4, b"Constant") + field(5, field(1, b"value") + field(5, raw))
    graph = (field(1, constant) + field(1, node) + field(5, raw) + field(5, typed) + field(11, field(1, b"x"))
             + field(11, field(1, b"w")) + field(12, field(1, b"y")))
    model = field(1, 8) + field(7, graph) + field(8, field(2, 17)) + b"".join(
        field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in metadata.items())
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        Path(file.name).write_bytes(model)
        made = onnx_file.read_onnx(Path(file.name))
    assert (made.inputs, made.outputs, made.opset, made.metadata) == (("x",), ("y",), 17, metadata)
    assert made.nodes == (onnx_file.Node("Op", ("x", ""), ("y",), {"axes": numbers, "axis": -1, "eps": 0.5}),)
    assert made.constants["n"].tolist() == numbers
    assert made.constants["w"].tolist() == made.constants["c"].tolist() == floats
    assert made.constants["w"].dtype == np.float32


@given(st.binary(max_size=60))
def test_other_files_are_refused_in_a_sentence(onnx_file: ModuleType, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        Path(file.name).write_bytes(field(8, field(2, 17)) + field(7, content))
        try:
            onnx_file.read_onnx(Path(file.name))
        except ValueError as error:
            assert str(error)


def test_only_what_is_asked_for_is_kept(onnx_file: ModuleType) -> None:
    node = onnx_file.Node
    nodes = (node("A", ("x",), ("a",)), node("B", ("a", "w"), ("b",)), node("C", ("b",), ("c",)),
             node("D", ("b", "v"), ("d",)))
    graph = onnx_file.Graph(nodes, {"w": np.ones(1), "v": np.ones(1)}, ("x",), ("c", "d"), 17, {})
    asked = onnx_file.asking(graph, (), ("c",))
    assert [each.operator for each in asked.nodes] == ["A", "B", "C"]
    assert set(asked.constants) == {"w"}
    given_a = onnx_file.asking(graph, ("a",), ("d",))
    assert [each.operator for each in given_a.nodes] == ["B", "D"]
    assert given_a.inputs == ("a",)
    for strangers in ((("e",), ("c",)), ((), ("e",))):
        with pytest.raises(ValueError, match="computes no 'e'"):
            onnx_file.asking(graph, *strangers)


def test_nodes_are_fused_where_nobody_else_reads_what_lies_between(onnx_file: ModuleType) -> None:
    from accelerator.fuse import fused  # noqa: PLC0415

    node = onnx_file.Node
    linear = (node("MatMul", ("x", "w"), ("p",)), node("Add", ("b", "p"), ("y",)))
    attention = (node("Transpose", ("k",), ("t",), {"perm": [0, 1, 3, 2]}), node("MatMul", ("q", "t"), ("s",)),
                 node("Add", ("s", "m"), ("r",)), node("Softmax", ("r",), ("h",), {"axis": -1}),
                 node("MatMul", ("h", "v"), ("o",)))
    constants = {"w": np.ones((3, 4)), "b": np.ones(4)}

    def operators(nodes: tuple[object, ...], *outputs: str) -> list[tuple[str, tuple[str, ...]]]:
        graph = onnx_file.Graph(nodes, constants, ("x", "q", "k", "v", "m"), outputs, 17, {})
        return [(each.operator, each.inputs) for each in fused(graph).nodes]

    assert operators(linear, "y") == [("Linear", ("x", "w", "b"))]
    assert [name for name, _ in operators(linear, "y", "p")] == ["MatMul", "Add"]
    assert operators(attention, "o") == [("Attention4D", ("q", "k", "v", "m"))]
    assert len(operators(attention, "o", "h")) == 5
