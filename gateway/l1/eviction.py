"""Which rows stay: S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, SOSP 2023), a batch at a time.

New rows enter a small ring, a tenth of all; one that was asked twice by the time it comes out goes
to the main ring, the others go, and their fingerprints are remembered for a while, so that one that
comes back enters the main ring at once. So a scan over what is asked once passes through the small
ring alone. Knows row numbers only. Not safe for threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.l1.index import Mask, Rows, Words

_SMALL_SHARE = 10
_MOST_USES = 3
_STAYS_FROM_USES = 2
_SCANNED_AT_ONCE = 64
# Used rows are spared so many rounds; then the oldest go, so that no lookup waits long.
_ROUNDS = 8
_HALF = np.uint64(32)

BYTES_PER_ROW: Final = 1 + 4 + 4 + 4


class S3Fifo:
    """The rows of one arena, by when they came and how often they are used.

    Args:
        rows: most rows there may ever be.
    """

    def __init__(self, rows: int) -> None:
        self._uses: Final = np.zeros(rows, np.uint8)
        self._small: Final = _Ring(rows)
        self._main: Final = _Ring(rows)
        self._ghosts: Final = np.zeros(rows, np.uint32)

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def use(self, rows: Rows) -> None:
        """Count one use of each row; one that repeats counts once."""
        self._uses[rows] = np.minimum(self._uses.take(rows) + 1, _MOST_USES)

    def enter(self, rows: Rows, words: Words) -> None:
        """Take in rows that are not here, with their digests."""
        places, prints = self._ghost_of(words)
        came_back = self._ghosts[places] == prints
        self._ghosts[places[came_back]] = 0
        self._uses[rows] = 0
        self._main.push(rows[came_back])
        self._small.push(rows[~came_back])

    def evict(self, count: int, digests: Words) -> Rows:
        """Take out `count` rows of those here, and return them.

        Args:
            count: at most as many as are here.
            digests: the column that has each row's digest.
        """
        gone: list[Rows] = []
        left, spared = count, 0
        while left > 0:
            is_small = len(self._small) * _SMALL_SHARE >= len(self) or not len(self._main)
            if spared == _ROUNDS:
                some = (self._small if is_small else self._main).pop(left)
            else:
                some = self._evict_small(left, digests) if is_small else self._evict_main(left)
                spared += 1
            gone.append(some)
            left -= len(some)
        return np.concatenate(gone) if gone else np.empty(0, np.intp)

    def remove(self, is_gone: Mask) -> None:
        """Take out the rows that a mask over all rows names."""
        self._small.keep(~is_gone)
        self._main.keep(~is_gone)

    def _evict_small(self, count: int, digests: Words) -> Rows:
        gone, stays = _sift(self._small, count, lambda rows: self._uses[rows] < _STAYS_FROM_USES)
        self._uses[stays] = 0
        self._main.push(stays)
        places, prints = self._ghost_of(digests[gone])
        self._ghosts[places] = prints
        return gone

    def _evict_main(self, count: int) -> Rows:
        gone, stays = _sift(self._main, count, lambda rows: self._uses[rows] == 0)
        self._uses[stays] -= 1
        self._main.push(stays)
        return gone

    def _ghost_of(self, words: Words) -> tuple[Rows, npt.NDArray[np.uint32]]:
        """Return where a digest's fingerprint is, were it evicted, and the fingerprint."""
        low = words[:, 0] & np.uint64(0xFFFFFFFF)
        places = (low * np.uint64(len(self._ghosts)) >> _HALF).astype(np.intp)
        return places, np.maximum((words[:, 1] >> _HALF).astype(np.uint32), 1)


def _sift(ring: _Ring, count: int, goes: Callable[[Rows], Mask]) -> tuple[Rows, Rows]:
    """Take rows from a ring's front until `count` go; returns those that go, those that stay."""
    rows = ring.pop(max(count, _SCANNED_AT_ONCE))
    is_going = goes(rows)
    ends = np.flatnonzero(is_going)
    looked_at = int(ends[count - 1]) + 1 if len(ends) >= count else len(rows)
    ring.unpop(rows[looked_at:])
    rows, is_going = rows[:looked_at], is_going[:looked_at]
    return rows[is_going], rows[~is_going]


class _Ring:
    """Row numbers, first in, first out.

    Args:
        rows: most there may be.
    """

    def __init__(self, rows: int) -> None:
        self._rows: Final = np.zeros(max(1, rows), np.uint32)
        self._first = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, rows: Rows) -> None:
        """Add rows at the end."""
        self._rows[self._places(self._count, len(rows))] = rows
        self._count += len(rows)

    def pop(self, most: int) -> Rows:
        """Take out up to `most` from the front."""
        count = min(most, self._count)
        rows = self._rows[self._places(0, count)].astype(np.intp)
        self._first = (self._first + count) % len(self._rows)
        self._count -= count
        return rows

    def unpop(self, rows: Rows) -> None:
        """Put back the last of what was just taken out."""
        self._first = (self._first - len(rows)) % len(self._rows)
        self._count += len(rows)

    def keep(self, kept: Mask) -> None:
        """Keep the rows that a mask over all rows names, in their order."""
        rows = self.pop(self._count)
        self.push(rows[kept[rows]])

    def _places(self, start: int, count: int) -> Rows:
        return (self._first + start + np.arange(count)) % len(self._rows)
