"""Batches joined for a device come apart as they were, whatever their shapes."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

SETUPS = Path(__file__).resolve().parents[2] / "setups"
sys.path[:0] = [str(SETUPS), str(Path(__file__).resolve().parent / "moody")]

from batching import halves  # noqa: E402  the path above makes it importable
from batching.owner import WASTE, Piece, company  # noqa: E402
from batching.region import BYTES, Region  # noqa: E402

shapes = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=6)


def batch(shape: tuple[int, ...], seed: int) -> halves.Arrays:
    """Arrays of that shape, none of whose elements is 0."""
    return {"ids": np.arange(seed, seed + np.prod(shape, dtype=int)).reshape(shape) + 1, "n": np.ones(shape[0])}


@given(shapes)
def test_a_join_fills_with_zeros_and_comes_apart_again(given_shapes: list[tuple[int, int, int]]) -> None:
    batches = [batch(shape, i) for i, shape in enumerate(given_shapes)]
    whole = halves.joined(batches)
    assert halves.rows(whole) == sum(shape[0] for shape in given_shapes)
    for part, arrays, shape in zip(halves.parted(whole, [shape[0] for shape in given_shapes]), batches, given_shapes,
                                   strict=True):
        corner = tuple(slice(size) for size in shape)
        assert np.array_equal(part["ids"][corner], arrays["ids"])
        assert part["ids"].sum() == arrays["ids"].sum()


def test_what_is_no_batch_is_refused() -> None:
    for arrays in ({}, {"x": np.zeros((0, 3))}, {"x": np.zeros(2), "y": np.zeros(3)}, {"x": np.float64(1)}):
        with pytest.raises(ValueError, match="items along"):
            halves.rows(arrays)     # type: ignore[arg-type]  # the last is on purpose
    with pytest.raises(ValueError, match="4 rows for 3 items"):
        halves.parted({"x": np.zeros((4, 2))}, [1, 2])


def test_shared_memory_gives_back_what_was_put_in_and_knows_its_size() -> None:
    mine = Region()
    theirs = Region(mine.descriptor)
    arrays = {"ids": np.arange(12, dtype=np.int32).reshape(3, 4).T, "half": np.full((4, 1), 0.5, np.float16),
              "none": np.zeros((4, 0))}
    told = theirs.get(mine.put(arrays))
    assert all(np.array_equal(told[name], array) and told[name].dtype == array.dtype for name, array in arrays.items())
    mine.begun = True
    assert theirs.begun
    with pytest.raises(ValueError, match="larger than"):
        mine.put({"x": np.broadcast_to(np.int8(1), (2, BYTES))})


NOBODY, NOWHERE = socket.socket(), Region()


def piece(rows: int, alone: bool = False, kind: NDArray | None = None) -> Piece:
    """A piece of so many rows."""
    array = np.zeros(rows) if kind is None else kind
    return Piece(NOBODY, NOWHERE, {"x": array}, rows, alone)


def test_pieces_keep_company_in_order_up_to_the_limit() -> None:
    assert company([piece(9)], 4) == [0]
    assert company([piece(2), piece(2), piece(1)], 4) == [0, 1]
    assert company([piece(2), piece(3), piece(1), piece(1)], 4) == [0, 2, 3]
    assert company([piece(1), piece(1, alone=True), piece(1)], 4) == [0, 2]
    assert company([piece(1, alone=True), piece(1)], 4) == [0]
    assert company([piece(1), piece(1, kind=np.zeros(1, np.float32))], 4) == [0]


def test_a_long_piece_waits_rather_than_pad_all_others_to_its_length() -> None:
    short, middle, long = (np.zeros((8, width)) for width in (10, 14, 80))
    assert company([piece(8, kind=short), piece(8, kind=long), piece(8, kind=middle)], 64) == [0, 2]
    assert company([piece(8, kind=long), piece(8, kind=short)], 64) == [0]
    assert company([piece(8, kind=long), piece(1, kind=short[:1])], 64) == [0, 1]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 30)), min_size=1, max_size=8), st.integers(1, 20))
def test_company_is_never_larger_than_it_may_be(shapes_: list[tuple[int, int]], limit: int) -> None:
    waiting = [piece(rows, kind=np.zeros((rows, width))) for rows, width in shapes_]
    chosen = company(waiting, limit)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    together = [waiting[i].arrays for i in chosen]
    assert len(chosen) == 1 or sum(waiting[i].rows for i in chosen) <= limit
    assert halves.size(halves.joined(together)) <= WASTE * sum(map(halves.size, together))


def test_a_model_offers_all_halves_or_none() -> None:
    import model  # noqa: PLC0415  of the path above

    assert halves.offered(model)
    assert not halves.offered(halves)   # type: ignore[arg-type]  # any module will do
