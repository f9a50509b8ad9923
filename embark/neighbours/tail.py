"""The tail: the vectors that changed since a snapshot, in memory, compared one by one.

It names candidates; what it holds may be out of date the moment it is asked. Not safe for threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from embark.neighbours.base import Matrix

_FIRST_ROWS = 256


class Tail:
    """Directions by digest.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._rows: Matrix = np.empty((_FIRST_ROWS, dimension), np.float32)
        self._row_of: Final[dict[bytes, int]] = {}
        self._digests: Final[list[bytes]] = []
        self.changes = 0

    def change(self, digests: Sequence[bytes], found: Sequence[bytes], vectors: Matrix) -> None:
        """Take in that some records changed; those in `found` have these directions now."""
        self.changes += len(digests)
        for digest in digests:
            row = self._row_of.get(digest)
            if row is not None:
                self._rows[row] = 0
        for digest, vector in zip(found, vectors, strict=True):
            row = self._row(digest)  # may replace the rows
            self._rows[row] = vector

    def search(self, queries: Matrix, count: int) -> list[list[bytes]]:
        """Return up to `count` digests for each query of shape (queries, dimension)."""
        rows = len(self._digests)
        if not rows:
            return [[] for _ in queries]
        cosines = queries @ self._rows[:rows].T
        kept = min(count, rows)
        nearest = np.argpartition(-cosines, kept - 1, axis=1)[:, :kept]
        return [[self._digests[row] for row in some] for some in nearest]

    def _row(self, digest: bytes) -> int:
        row = self._row_of.get(digest)
        if row is None:
            row = self._row_of[digest] = len(self._digests)
            self._digests.append(digest)
            if row == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        return row
