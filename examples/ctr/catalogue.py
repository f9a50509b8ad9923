"""The items of the generated data: what each shows and says, when it arrives, how it appeals.

Everything comes from a seed, so a catalogue is stored as three numbers. Not for impressions:
see `impressions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embark.errors import BadRequest
from examples.ctr import pictures, texts

DAY_S = 86_400.0
CATEGORIES = 12
ADVERTISERS = 80
_PRESENT_AT_START = 0.4
_CATEGORY_SPREAD = 0.25
_ADVERTISER_SPREAD = 0.25
_HIDDEN_SPREAD = 0.25


class Items(Protocol):
    """What training needs of items, generated or public; arrays have the shape (items,)."""

    @property
    def category(self) -> npt.NDArray[np.int32]:
        """Category of each item, from 0."""
        ...

    @property
    def advertiser(self) -> npt.NDArray[np.int32]:
        """Advertiser of each item, from 0."""
        ...

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def text(self, item: int) -> str:
        """Return an item's text."""
        ...


@dataclass(frozen=True)
class Catalogue:
    """Items, sorted by arrival; arrays have the shape (items,).

    Attributes:
        seed: what it was made from.
        arrival_s: seconds since the start at which the item first exists; 0 or less for those that
            are there from the start.
        category: below `CATEGORIES`.
        advertiser: below `ADVERTISERS`.
        look: what the picture shows.
        wording: what the text says.
        appeal: truth: the logit that picture and text contribute, for every user alike.
        standing: truth: the logit that category and advertiser contribute.
        hidden: truth: the logit of what no feature shows; a model can only learn its spread.
    """

    seed: int
    arrival_s: npt.NDArray[np.float64]
    category: npt.NDArray[np.int32]
    advertiser: npt.NDArray[np.int32]
    look: pictures.Look
    wording: texts.Wording
    appeal: npt.NDArray[np.float32]
    standing: npt.NDArray[np.float32]
    hidden: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.arrival_s)

    def text(self, item: int) -> str:
        """Return an item's text."""
        return texts.compose(self.wording, item)

    def picture(self, item: int) -> bytes:
        """Return an item's picture, a JPEG file; the same bytes each time."""
        return pictures.render(self.look, item)


def generate(items: int, days: float, seed: int) -> Catalogue:
    """Return a random catalogue.

    Args:
        items: how many.
        days: the time over which those arrive that are not there from the start, evenly.
        seed: the same catalogue for the same arguments.

    Raises:
        BadRequest: there is no item or no time.
    """
    if items < 1 or days <= 0:
        raise BadRequest(f"a catalogue needs items and days, not {items} items in {days} days")
    rng = np.random.default_rng([seed, 1])
    arrival_s = rng.uniform(0, days * DAY_S, items)
    arrival_s[: max(1, round(_PRESENT_AT_START * items))] = 0.0
    category = rng.integers(CATEGORIES, size=items, dtype=np.int32)
    advertiser = rng.integers(ADVERTISERS, size=items, dtype=np.int32)
    look, wording = pictures.draw(items, rng), texts.draw(items, rng)
    of_category = rng.normal(0, _CATEGORY_SPREAD, CATEGORIES)
    of_advertiser = rng.normal(0, _ADVERTISER_SPREAD, ADVERTISERS)
    return Catalogue(
        seed=seed,
        arrival_s=np.sort(arrival_s),
        category=category,
        advertiser=advertiser,
        look=look,
        wording=wording,
        appeal=(look.appeal() + wording.appeal()).astype(np.float32),
        standing=(of_category[category] + of_advertiser[advertiser]).astype(np.float32),
        hidden=rng.normal(0, _HIDDEN_SPREAD, items).astype(np.float32),
    )
