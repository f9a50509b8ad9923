"""The vectors of one generation in one contiguous block of memory, with their index and eviction.

Memory for vectors is reserved for as many rows as there may ever be, and taken from the system as
rows are written; `shrink` gives it back. What belongs to rows, index and eviction included, is
spread over all of its memory soon, and counts in full from the start. Not safe for threads. Not
for whose turn it is to have how much: `cache`.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.l1.eviction import BYTES_PER_ROW as EVICTION_BYTES
from gateway.l1.eviction import S3Fifo
from gateway.l1.index import BYTES_PER_ROW as INDEX_BYTES
from gateway.l1.index import Index, Mask, Rows, Words

Vectors = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[np.int64]

_DIGEST_BYTES, _WRITTEN_BYTES, _ENTERED_BYTES = 16, 8, 4
_BESIDE_VECTOR_BYTES = int(
    _DIGEST_BYTES + _WRITTEN_BYTES + _ENTERED_BYTES + INDEX_BYTES + EVICTION_BYTES
)


def row_bytes(dimension: int, dtype: str) -> int:
    """Return the memory that one row takes, its share of the index included."""
    return dimension * np.dtype(dtype).itemsize + _BESIDE_VECTOR_BYTES


class Arena:
    """Rows of one generation.

    Args:
        dimension: length of a vector.
        dtype: its type, `float16` or `float32`.
        rows: most rows there may ever be.

    Attributes:
        vector_bytes: memory of one row's vector.
        fixed_bytes: memory of all that is beside vectors.
        capacity: how many rows there may be now.
        asked: how many keys were asked lately.
        evicted: how many rows had to make room.
    """

    def __init__(self, dimension: int, dtype: str, rows: int) -> None:
        self.vector_bytes: Final = dimension * np.dtype(dtype).itemsize
        self.fixed_bytes: Final = rows * _BESIDE_VECTOR_BYTES
        self.rows: Final = rows
        self.capacity = 0
        self.asked = 0.0
        self.evicted = 0
        self._memory: Final = mmap.mmap(
            -1,
            max(1, rows * self.vector_bytes),
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        )
        self._vectors: Final[Vectors] = np.frombuffer(
            self._memory, dtype, rows * dimension
        ).reshape(rows, dimension)
        self._digests: Final[Words] = np.zeros((rows, 2), np.uint64)
        self._written_ms: Final[Times] = np.zeros(rows, np.int64)
        self._entered_s: Final = np.zeros(rows, np.uint32)
        self._index: Final = Index(self._digests)
        self._order: Final = S3Fifo(rows)
        # Rows from `_unused` on were never used, or given back; `_free` are those before it.
        self._unused = 0
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._order)

    @property
    def used_bytes(self) -> int:
        """Memory that it may take now."""
        return self.fixed_bytes + self.capacity * self.vector_bytes

    def read(self, words: Words, entered_from_s: int, out: Vectors) -> tuple[Mask, Times]:
        """Copy vectors to `out`, shape (n, dimension); rows that are not here get any numbers.

        Args:
            words: the digests.
            entered_from_s: rows that entered before count as not here.
            out: of the arena's type.

        Returns:
            Which are here, and when their records were written.
        """
        rows, found = self._index.find(words)
        if entered_from_s > 0:
            found &= self._entered_s.take(rows) >= entered_from_s
        self._order.use(rows if np.count_nonzero(found) == len(rows) else rows[found])
        self._vectors.take(rows, 0, out, "clip")
        return found, self._written_ms.take(rows)

    def write(self, words: Words, vectors: Vectors, written_ms: Times, now_s: int) -> None:
        """Keep vectors of digests that differ; at most `capacity` of them."""
        rows, is_here = self._index.find(words)
        self._set(rows[is_here], vectors[is_here], written_ms[is_here], now_s)
        words, vectors, written_ms = words[~is_here], vectors[~is_here], written_ms[~is_here]
        rows = self._take_rows(len(words))
        self._digests[rows] = words
        has_room = self._index.add(words, rows)
        self._free += rows[~has_room].tolist()
        rows = rows[has_room]
        self._order.enter(rows, words[has_room])
        self._set(rows, vectors[has_room], written_ms[has_room], now_s)

    def forget(self, words: Words) -> int:
        """Drop the rows of some digests; returns how many there were."""
        rows, is_here = self._index.find(words)
        return self._forget_rows(np.unique(rows[is_here]))

    def shrink(self, rows: int) -> None:
        """Lower the capacity by so many rows, and give their memory back."""
        kept = max(0, self.capacity - rows)
        here = np.zeros(self.rows, np.bool_)
        here[kept : self._unused] = True
        here[self._free] = False
        self._forget_rows(np.flatnonzero(here))
        self._free = [row for row in self._free if row < kept]
        self._unused = min(self._unused, kept)
        self.capacity = kept
        start = -(-kept * self.vector_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < len(self._memory):
            self._memory.madvise(mmap.MADV_DONTNEED, start)

    def _set(self, rows: Rows, vectors: Vectors, written_ms: Times, now_s: int) -> None:
        self._vectors[rows] = vectors
        self._written_ms[rows] = written_ms
        self._entered_s[rows] = now_s

    def _take_rows(self, count: int) -> Rows:
        """Return rows that are free, after others have made room if need be."""
        freed = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = min(count - len(freed), self.capacity - self._unused)
        unused = np.arange(self._unused, self._unused + fresh)
        self._unused += fresh
        gone = self._order.evict(count - len(freed) - fresh, self._digests)
        self._index.drop(gone)
        self.evicted += len(gone)
        return np.concatenate([np.array(freed, np.intp), unused, gone])

    def _forget_rows(self, rows: Rows) -> int:
        self._index.drop(rows)
        is_gone = np.zeros(self.rows, np.bool_)
        is_gone[rows] = True
        self._order.remove(is_gone)
        self._free += rows.tolist()
        return len(rows)
