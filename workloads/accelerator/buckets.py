"""Shapes that batches are padded to, so that an accelerator meets few of them. Pure."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Buckets:
    """`batches` and `lengths` rise; a length is what varies beside the batch (tokens, pixels), (1,) where nothing does.
    Shapes of at most `warm_cells` (batch times length) are made ready before the first request."""

    batches: tuple[int, ...]
    lengths: tuple[int, ...] = (1,)
    warm_cells: int = 1 << 62

    def shape(self, rows: int, length: int = 1) -> tuple[int, int]:
        """The smallest bucket that holds so many rows of that length. Raises ValueError when none does."""
        if not 1 <= rows <= self.batches[-1] or not 1 <= length <= self.lengths[-1]:
            raise ValueError(f"a batch of {rows} items of length {length} is beyond the largest of "
                             f"{self.batches[-1]} of {self.lengths[-1]}")
        return self.batches[bisect_left(self.batches, rows)], self.lengths[bisect_left(self.lengths, length)]

    def parts(self, rows: int) -> list[int]:
        """How many rows each part has of a batch that may be larger than any bucket: full ones, then the rest."""
        most = self.batches[-1]
        return [most] * (rows // most) + ([rows % most] if rows % most else [])

    def warm(self, most: int = 1 << 62) -> Iterator[tuple[int, int]]:
        """The shapes to make ready for batches of at most `most` rows, the largest first, so that what it needs of
        memory serves the others as well."""
        largest = self.shape(min(most, self.batches[-1]))[0]
        shapes = [(batch, length) for batch in self.batches for length in self.lengths
                  if batch <= largest and batch * length <= self.warm_cells]
        return iter(sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape), reverse=True))


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4, … up to `most`, which ends the row whatever it is."""
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return (*found, most) if most > 1 else (1,)


def steps(step: int, most: int, near: int) -> tuple[int, ...]:
    """Multiples of `step` up to about `near`, then ever wider by a quarter of the power of two below: padding to the
    next costs a quarter at most, and their number stays small. The last is `most`, rounded up to the step."""
    last = -(-most // step) * step
    found = [step]
    while found[-1] < last:
        reached = found[-1]
        wide = max(step, (1 << (reached.bit_length() - 1)) // 4 // step * step)
        found.append(min(last, reached + (step if reached < near else wide)))
    return tuple(found)
