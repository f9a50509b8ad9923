"""From digests to rows: a hash table of 16-way buckets, in NumPy, a batch at a time.

A bucket holds 16-bit tags, compared all at once, and row numbers; a digest counts as found when all
of its 128 bits equal those in its row. Not safe for threads. Not for what is kept: `eviction`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""Digests, shape (n, 2)."""
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

_WAYS = 16
# Of digests that are random, one in 10^5 finds its bucket full.
_MEAN_IN_BUCKET = 6
_HALF = np.uint64(32)
_TAG_BITS = np.uint64(0xFFFF)

BYTES_PER_ROW: Final = _WAYS * (2 + 4) / _MEAN_IN_BUCKET


class Index:
    """Which row has which digest.

    Args:
        digests: the column that a row's digest is in, shape (rows, 2); written by whoever owns it.
    """

    def __init__(self, digests: Words) -> None:
        buckets = max(1, -(-len(digests) // _MEAN_IN_BUCKET))
        self._digests: Final = digests
        self._buckets: Final = np.uint64(buckets)
        # Tag 0 is an empty place.
        self._tags: Final = np.zeros(buckets * _WAYS, np.uint16)
        self._rows: Final = np.zeros(buckets * _WAYS, np.uint32)
        self._tags_by_bucket: Final = self._tags.reshape(buckets, _WAYS)
        self._rows_by_bucket: Final = self._rows.reshape(buckets, _WAYS)

    def find(self, words: Words) -> tuple[Rows, Mask]:
        """Return each digest's row, and whether it is there; a row that is not is any number."""
        buckets, tags = self._place(words)
        same = self._tags_by_bucket.take(buckets, 0) == tags[:, None]
        places = buckets * _WAYS + same.argmax(1)
        rows = self._rows.take(places).astype(np.intp)
        tagged = self._tags.take(places) == tags
        found = tagged & self._is_row_of(rows, words)
        if np.count_nonzero(found) != np.count_nonzero(tagged):
            self._look_further(words, buckets, same, rows, found)
        return rows, found

    def add(self, words: Words, rows: Rows) -> Mask:
        """Enter digests that are not there and differ; returns which found room in their bucket."""
        buckets, tags = self._place(words)
        order = np.argsort(buckets, kind="stable")
        sorted_buckets = buckets[order]
        # The how-many-eth of its bucket each is, in this batch: it takes that empty place.
        first = np.searchsorted(sorted_buckets, sorted_buckets)
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order)) - first
        empty = self._tags_by_bucket[buckets] == 0
        chosen = empty & (np.cumsum(empty, axis=1) == rank[:, None] + 1)
        has_room: Mask = chosen.any(1)
        places = (buckets * _WAYS + chosen.argmax(1))[has_room]
        self._tags[places] = tags[has_room]
        self._rows[places] = rows[has_room]
        return has_room

    def drop(self, rows: Rows) -> None:
        """Forget rows that are there, by the digests in their column."""
        buckets, tags = self._place(self._digests[rows])
        here = (self._rows_by_bucket[buckets] == rows[:, None]) & (
            self._tags_by_bucket[buckets] == tags[:, None]
        )
        self._tags[buckets * _WAYS + here.argmax(1)] = 0

    def _place(self, words: Words) -> tuple[Rows, npt.NDArray[np.uint16]]:
        """Return buckets and tags, from different bits."""
        buckets = ((words[:, 0] >> _HALF) * self._buckets >> _HALF).astype(np.intp)
        tags = np.maximum((words[:, 1] & _TAG_BITS).astype(np.uint16), 1)
        return buckets, tags

    def _is_row_of(self, rows: Rows, words: Words) -> Mask:
        same = self._digests.take(rows, 0) == words
        both: Mask = same[:, 0] & same[:, 1]
        return both

    def _look_further(
        self, words: Words, buckets: Rows, same: Mask, rows: Rows, found: Mask
    ) -> None:
        """Look at the further places with an equal tag, of those whose first was another's."""
        left = np.flatnonzero(~found & (same.sum(1) > 1))
        for _ in range(_WAYS - 1):
            if not len(left):
                return
            same[left, same[left].argmax(1)] = False
            rows[left] = self._rows_by_bucket[buckets[left], same[left].argmax(1)]
            found[left] = same[left].any(1) & self._is_row_of(rows[left], words[left])
            left = left[~found[left] & same[left].any(1)]
