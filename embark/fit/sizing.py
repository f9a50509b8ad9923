"""What a deployment needs: replicas, time to fill a new generation, bytes. Estimates, by formula.

fill time  T = known / (capacity - 2 * new)      an input that comes meanwhile is computed twice:
for the live generation and for the next one
replicas   for a fill in T:  (known / T + 2 * new) / throughput
stored     copies * distinct * (row + source)    sizes: docs/operations.md
change     interval at which recomputing takes as many encoder calls as encoding each request:
known / (requests a second - new inputs a second)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from embark.codec import HEADER
from embark.errors import ConfigurationError
from embark.fit.encoders import Encoders

# Measured, see "Sizing" in docs/operations.md.
ROW_BYTES = 75
SOURCE_BYTES = 80
MESSAGE_BYTES = 200

_NUMBER_BYTES = {"float16": 2, "float32": 4}
_MOST_REPLICAS = 1 << 14


@dataclass(frozen=True)
class Storage:
    """How vectors are kept.

    Attributes:
        dimension: of the vectors.
        dtype: `float16` or `float32`.
        copies: of everything stored.
    """

    dimension: int
    dtype: str = "float16"
    copies: int = 3

    def __post_init__(self) -> None:
        if self.dtype not in _NUMBER_BYTES:
            raise ConfigurationError(f"dtype is {self.dtype!r}; it must be float16 or float32")
        for name in ("dimension", "copies"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be 1 or more")

    @property
    def record_bytes(self) -> int:
        """Bytes of one vector's record."""
        return HEADER.size + _NUMBER_BYTES[self.dtype] * self.dimension

    def archive_bytes(self, distinct: float, mean_input_bytes: float) -> float:
        """Return the bytes of so many vectors and of what is remembered of their inputs."""
        each = self.record_bytes + ROW_BYTES + mean_input_bytes + SOURCE_BYTES
        return self.copies * distinct * each

    def queue_bytes(self, inputs: float, mean_input_bytes: float) -> float:
        """Return the bytes of so many queued inputs in Kafka."""
        return self.copies * inputs * (mean_input_bytes + MESSAGE_BYTES)


def fill_seconds(known: float, capacity: float, new_per_second: float) -> float:
    """Return how long a new generation takes for all inputs; infinite if it never catches up."""
    spare = capacity - 2 * new_per_second
    return known / spare if spare > 0 else math.inf


def fill_replicas(known: float, seconds: float, throughput: float, new_per_second: float) -> int:
    """Return how many replicas fill a new generation in so many seconds."""
    return max(1, math.ceil((known / seconds + 2 * new_per_second) / throughput))


def break_even_interval(known: float, per_second: float, new_per_second: float) -> float:
    """Return the seconds between changes of model below which EmbArk saves no encoder calls.

    Recomputing `known` inputs at each change, and new ones once, then takes as many calls as one
    for each request. Infinite where every request is of a new input.
    """
    repeated = per_second - new_per_second
    return known / repeated if repeated > 0 else math.inf


def least_replicas(encoders: Encoders, is_enough: Callable[[Encoders], bool]) -> int | None:
    """Return the fewest replicas that are enough; None: not even 16,384 are.

    More replicas are never worse, so this doubles, then halves.
    """
    enough = 1
    while not is_enough(replace(encoders, replicas=enough)):
        enough *= 2
        if enough > _MOST_REPLICAS:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if is_enough(replace(encoders, replicas=middle)):
            enough = middle
        else:
            too_few = middle
    return enough
