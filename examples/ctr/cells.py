"""Impressions gathered into cells, and the split by time into training and held-out ones.

A cell is (item, user segment, part of the day): within it the true CTR is one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.ctr.impressions import BANDS, SEGMENTS, Impressions, band_of

_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """Counts by item, segment and part of the day, sorted by item; arrays of shape (cells,).

    Attributes:
        item, user, band: what a cell is.
        impressions: how many, at least 1.
        clicks: how many of them were clicked.
        truth: the true CTR, NaN where it is not known.
    """

    item: _Integers
    user: _Integers
    band: _Integers
    impressions: _Integers
    clicks: _Integers
    truth: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item)

    def take(self, chosen: _Flags | _Integers) -> Cells:
        """Return the cells that `chosen` marks, bool (cells,), or numbers, int64 (n,)."""
        return Cells(
            self.item[chosen],
            self.user[chosen],
            self.band[chosen],
            self.impressions[chosen],
            self.clicks[chosen],
            self.truth[chosen],
        )


@dataclass(frozen=True)
class Split:
    """Cells before and after a moment.

    Attributes:
        training: of impressions before it.
        heldout: of those after it; both may have cells of the same item.
        known: which held-out cells are of items that training has seen, shape (cells,).
    """

    training: Cells
    heldout: Cells
    known: _Flags


def gather(impressions: Impressions, chosen: _Flags) -> Cells:
    """Return the cells of the impressions that `chosen`, of shape (impressions,), marks."""
    item, user = impressions.item[chosen].astype(np.int64), impressions.user[chosen]
    band = band_of(impressions.time_s[chosen])
    code = (item * SEGMENTS + user) * BANDS + band
    codes, first, cell, counts = np.unique(
        code, return_index=True, return_inverse=True, return_counts=True
    )
    clicks = np.bincount(cell, impressions.click[chosen], len(codes))
    return Cells(
        item=codes // (SEGMENTS * BANDS),
        user=codes // BANDS % SEGMENTS,
        band=codes % BANDS,
        impressions=counts.astype(np.int64),
        clicks=clicks.astype(np.int64),
        truth=impressions.truth[chosen][first],
    )


def split(impressions: Impressions, share: float, items: _Integers | None = None) -> Split:
    """Split by time.

    Args:
        impressions: sorted by time.
        share: of the whole time that is trained on, from the start.
        items: only impressions of these count; None for all.
    """
    moment = share * float(impressions.time_s[-1])
    counted = np.ones(len(impressions), np.bool_)
    if items is not None:
        counted = np.isin(impressions.item, items)
    before = impressions.time_s < moment
    training = gather(impressions, counted & before)
    heldout = gather(impressions, counted & ~before)
    return Split(training, heldout, np.isin(heldout.item, training.item))
