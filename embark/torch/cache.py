"""Vectors that were already fetched, in one block of memory with a bound."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_ENTRY_BYTES = 150
"""What Python needs for a digest and its place, about."""


class VectorCache:
    """Vectors of one generation by digest. Safe for many threads.

    Nothing is ever dropped: when it is full, what is new is not kept. Epochs ask for all inputs in
    turn, and dropping the oldest would drop each just before it is asked for again.

    Args:
        max_bytes: bound of its memory; it is used as vectors come.
        dimension: of a vector.
        dtype: of the numbers.
    """

    def __init__(self, max_bytes: int, dimension: int, dtype: str) -> None:
        entry = dimension * np.dtype(dtype).itemsize + _ENTRY_BYTES
        # The system gives pages of memory when they are first written to.
        self._vectors: Final = np.empty((max_bytes // entry, dimension), dtype)
        self._places: Final[dict[bytes, int]] = {}
        self._writing: Final = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def capacity(self) -> int:
        """The most vectors that it keeps."""
        return len(self._vectors)

    def take(
        self, digests: Sequence[bytes | None], into: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Write the vectors that are here into the rows of `into`; returns which are.

        Args:
            digests: what is wanted, None for nothing.
            into: shape (digests, dimension).
        """
        places = np.array(
            [-1 if one is None else self._places.get(one, -1) for one in digests], np.int64
        )
        found: npt.NDArray[np.bool_] = places >= 0
        into[found] = self._vectors[places[found]]
        return found

    def add(self, vectors: Mapping[bytes, npt.NDArray[np.floating[Any]]]) -> None:
        """Keep vectors by digest, as long as there is room."""
        with self._writing:
            for digest, vector in vectors.items():
                place = len(self._places)
                if place == self.capacity:
                    return
                if digest not in self._places:
                    self._vectors[place] = vector
                    # Last, so that a reader never finds a place without its vector.
                    self._places[digest] = place
