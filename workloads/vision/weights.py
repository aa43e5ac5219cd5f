"""ResNet-50's weights, drawn from a seed: the published shapes, and values that let an untrained network tell images
apart. The same to the bit on every machine: they are drawn and summed as integers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SEED = 50
CLASSES = 1000
RANGE = 1 << 15
# (blocks, width inside a block, stride of the first block): He et al. 2016, table 1, column "50-layer".
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
EXPANSION = 4
# The variance of a rectified unit Gaussian is (1 - 1/π) / 2; this much more keeps it 1 from layer to layer.
GAIN = (2 / (1 - 1 / np.pi)) ** 0.5
# What a block adds to its shortcut. With less of it images look alike; with more, rounding errors grow from block to
# block as differences between images do.
BRANCH_GAIN = 0.3 * GAIN
# Spreads the classes: the best of 1000 has a probability of 0.13 to 0.97 then, 0.4 at the median.
HEAD_GAIN = 14.0


@dataclass(frozen=True)
class Convolution:
    """Its name, where it reads, its sizes and how it scales."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    gain: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the kernel, outputs first."""
        return self.outputs, self.inputs, self.kernel, self.kernel


@dataclass(frozen=True)
class Block:
    """A bottleneck: three convolutions, and one on the shortcut where its shape changes. Version 1.5 has the stride in
    the middle one."""

    reduce: Convolution
    middle: Convolution
    expand: Convolution
    shortcut: Convolution | None


STEM = Convolution("stem", 3, 64, 7, 2, 1.0)


def blocks() -> Iterator[Block]:
    """The sixteen blocks in order."""
    inputs = STEM.outputs
    for stage, (count, width, first_stride) in enumerate(STAGES, 1):
        for index in range(count):
            name, stride, wide = f"stage{stage}.{index}.", first_stride if index == 0 else 1, EXPANSION * width
            yield Block(Convolution(name + "reduce", inputs, width, 1, 1, GAIN),
                        Convolution(name + "middle", width, width, 3, stride, GAIN),
                        Convolution(name + "expand", width, wide, 1, 1, BRANCH_GAIN),
                        Convolution(name + "shortcut", inputs, wide, 1, stride, GAIN) if index == 0 else None)
            inputs = wide


def convolutions() -> Iterator[Convolution]:
    """All 53, in the order in which their weights are drawn."""
    yield STEM
    for block in blocks():
        yield from filter(None, (block.reduce, block.middle, block.expand, block.shortcut))


def weights() -> dict[str, np.ndarray]:
    """float32 by name: each convolution's kernel [out, in, k, k], and `head` [features, classes]."""
    random = np.random.Generator(np.random.PCG64(SEED))
    drawn = {each.name: _drawn(random, each.shape, each.gain) for each in convolutions()}
    drawn["head"] = _drawn(random, (CLASSES, EXPANSION * STAGES[-1][1]), HEAD_GAIN).T
    return drawn


def _drawn(random: np.random.Generator, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """Uniform around 0, of variance gain² over the number of inputs, the sum over the inputs exactly 0: what all inputs
    have in common, as rectified features do, cancels, and what tells images apart goes on."""
    whole = random.integers(-RANGE, RANGE, shape, np.int16)
    inputs = whole[0].size
    sums = whole.sum(axis=tuple(range(1, len(shape))), dtype=np.int64, keepdims=True)
    return ((whole.astype(np.int64) * inputs - sums) * (gain * 3**0.5 / RANGE / inputs**1.5)).astype(np.float32)
