"""The nearest pairs among many vectors: exact, in blocks, with a bound on what is kept. Pure.

A product of matrices on two cores compares 10^5 vectors with one another in a minute: an index that
is nearly right would have to be built first, and takes longer. A pair is kept if it is among the
nearest of either of its vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_BLOCK = 2048
_DENSE = 64 * _BLOCK
_MOST_KEPT = 4_000_000
_ROUNDING = np.float32(1e-6)

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, `first` < `second`, in order; shape (n,) each."""

    first: Rows
    second: Rows

    def __len__(self) -> int:
        return len(self.first)


def nearest_pairs(vectors: Floats, nearest: int, floor: float, report: Report) -> Pairs:
    """Return the pairs that are among the nearest of one of their rows.

    Args:
        vectors: shape (n, dimension); nearness is their product.
        nearest: most pairs of a row that are kept for its own sake.
        floor: least product.
        report: is told how many products of blocks are done, and of how many.
    """
    search = _Search(len(vectors), nearest, floor)
    starts = range(0, len(vectors), _BLOCK)
    total, done = len(starts) * (len(starts) + 1) // 2, 0
    for left in starts:
        for right in starts[left // _BLOCK :]:
            search.add(vectors[left : left + _BLOCK], vectors[right : right + _BLOCK], left, right)
            done += 1
            report(done, total)
    return search.pairs()


class _Search:
    def __init__(self, count: int, nearest: int, floor: float) -> None:
        self._count: Final = count
        self._nearest: Final = nearest
        self._least: Final = np.full(count, floor, np.float32)
        self._kept: list[tuple[Rows, Rows, Floats]] = []
        self._size = 0

    def add(self, lefts: Floats, rights: Floats, left: int, right: int) -> None:
        """Compare two blocks that begin at these rows."""
        products = lefts @ rights.T
        if left == right:
            products[np.tri(len(lefts), dtype=np.bool_)] = -np.inf
        row_least = self._least[left : left + len(lefts)]
        column_least = self._least[right : right + len(rights)]
        near = products >= np.minimum(row_least[:, None], column_least)
        if np.count_nonzero(near) > _DENSE:
            _raise(row_least, products, self._nearest)
            _raise(column_least, products.T, self._nearest)
            near = products >= np.minimum(row_least[:, None], column_least)
        rows, columns = np.nonzero(near)
        self._kept.append((rows + left, columns + right, products[rows, columns]))
        self._size += len(rows)
        if self._size > _MOST_KEPT:
            self._prune()

    def pairs(self) -> Pairs:
        """Return what is left."""
        self._prune()
        first, second, _ = self._kept[0]
        order = np.lexsort((second, first))
        return Pairs(first[order], second[order])

    def _prune(self) -> None:
        """Keep the nearest of each row, of equally near ones those that come first."""
        none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        first, second, products = (
            np.concatenate(parts) for parts in zip(none, *self._kept, strict=True)
        )
        wanted = np.zeros(len(first), np.bool_)
        ends = np.concatenate([first, second])
        others = np.concatenate([second, first])
        order = np.lexsort((others, -np.concatenate([products, products]), ends))
        starts = np.searchsorted(ends[order], np.arange(self._count + 1))
        rank = np.arange(len(order)) - starts[ends[order]]
        if len(first):
            wanted[order[rank < self._nearest] % len(first)] = True
        last = order[rank == self._nearest - 1]
        least = np.concatenate([products, products])[last] - _ROUNDING
        self._least[ends[last]] = np.maximum(self._least[ends[last]], least)
        self._kept = [(first[wanted], second[wanted], products[wanted])]
        self._size = int(wanted.sum())


def _raise(least: Floats, products: Floats, nearest: int) -> None:
    """Raise each row's least product to that of its nearest ones here, for it can only rise."""
    if products.shape[1] > nearest:
        kth = np.partition(products, -nearest, axis=1)[:, -nearest]
        np.maximum(least, kth - _ROUNDING, out=least)
