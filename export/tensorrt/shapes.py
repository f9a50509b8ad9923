"""What sizes an engine is made for: the optimisation profile as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.encoders.base import Encoder
from export.preprocessing import TextPreprocessing


@dataclass(frozen=True)
class Shape:
    """Shapes of an input, the batch first.

    Attributes:
        name: of the input.
        least: smallest shape that the engine takes.
        usual: the shape that it is made fastest for.
        most: largest shape that it takes.
    """

    name: str
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


def shapes_of(encoder: Encoder) -> tuple[Shape, ...]:
    """Return shapes for every batch that the encoder is served with.

    Fastest is a batch half full: the queue decides how full it is. A variable length is any, and
    fastest in the middle of the lengths that texts are padded to.
    """
    batches = (1, max(1, encoder.max_batch_size // 2), encoder.max_batch_size)
    preprocessing = encoder.preprocessing
    lengths: Sequence[int] = ()
    if isinstance(preprocessing, TextPreprocessing):
        buckets = preprocessing.buckets
        lengths = (1, buckets[len(buckets) // 2], buckets[-1])

    def shape(tensor_shape: tuple[int, ...], which: int) -> tuple[int, ...]:
        return (batches[which], *(lengths[which] if n < 0 else n for n in tensor_shape))

    return tuple(
        Shape(tensor.name, *(shape(tensor.shape, which) for which in range(3)))
        for tensor in encoder.inputs
    )
