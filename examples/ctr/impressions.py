"""Impressions of a catalogue's items, with clicks drawn from a probability that is known.

The truth is a sum of logits, `click_probability`: appeal of picture and text, category and
advertiser, a hidden effect of the item, the user segment's level and taste (for topics and for warm
colours), and the hour. Popularity is Zipf's and has nothing to do with appeal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embark.errors import BadRequest
from examples.ctr import texts
from examples.ctr.catalogue import DAY_S, Catalogue

SEGMENTS = 12
BANDS = 4
"""Six hours each, the first from midnight."""

ZIPF_EXPONENT = 0.9
_BASE = -2.6
_SEGMENT_SPREAD = 0.25
_TOPIC_TASTE_SPREAD = 0.35
_WARMTH_TASTE_SPREAD = 0.25
_BAND_EFFECT = np.array([-0.2, 0.05, 0.0, 0.15])

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Impressions:
    """What was shown to whom, sorted by time; arrays have the shape (impressions,).

    Attributes:
        time_s: seconds since the start.
        user: the user's segment, below `SEGMENTS`.
        item: index in the catalogue.
        click: what came of it.
        truth: the probability that it was drawn from.
    """

    time_s: npt.NDArray[np.float64]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    click: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.time_s)


def generate(catalogue: Catalogue, count: int, days: float, seed: int) -> Impressions:
    """Return random impressions; an item is shown only after its arrival.

    Args:
        catalogue: whose items are shown.
        count: how many impressions.
        days: the time over which they are spread evenly.
        seed: the same impressions for the same arguments.

    Raises:
        BadRequest: there are none, or no time.
    """
    if count < 1 or days <= 0:
        raise BadRequest(f"impressions need a count and days, not {count} in {days} days")
    rng = np.random.default_rng([seed, 2])
    time_s = np.sort(rng.uniform(0, days * DAY_S, count))
    item = _shown(catalogue, time_s, rng)
    user = rng.integers(SEGMENTS, size=count, dtype=np.int32)
    truth = click_probability(catalogue, user, item, band_of(time_s))
    return Impressions(
        time_s=time_s,
        user=user,
        item=item,
        click=rng.random(count) < truth,
        truth=truth.astype(np.float32),
    )


def popularity(catalogue: Catalogue) -> _Floats:
    """Return each item's weight among those that have arrived, shape (items,)."""
    ranks = np.random.default_rng([catalogue.seed, 3]).permutation(len(catalogue)) + 1
    return ranks.astype(np.float64) ** -ZIPF_EXPONENT


def click_probability(
    catalogue: Catalogue, user: _Integers, item: _Integers, band: _Integers
) -> _Floats:
    """Return the true probability of a click, of the arguments' common shape."""
    rng = np.random.default_rng([catalogue.seed, 4])
    of_segment = rng.normal(0, _SEGMENT_SPREAD, SEGMENTS)
    topic_taste = rng.normal(0, _TOPIC_TASTE_SPREAD, (SEGMENTS, len(texts.TOPICS)))
    warmth_taste = rng.normal(0, _WARMTH_TASTE_SPREAD, SEGMENTS)
    of_item = _BASE + catalogue.appeal + catalogue.standing + catalogue.hidden
    logit = (
        of_item[item]
        + of_segment[user]
        + topic_taste[user, catalogue.wording.topic[item]]
        + warmth_taste[user] * catalogue.look.warmth()[item]
        + _BAND_EFFECT[band]
    )
    probability: _Floats = 1 / (1 + np.exp(-logit))
    return probability


def band_of(time_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Return the part of the day, below `BANDS`, of the argument's shape."""
    return ((time_s % DAY_S) * BANDS / DAY_S).astype(np.int32)


def _shown(
    catalogue: Catalogue, time_s: _Floats, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    # Sorted by arrival, those that are there at any time are a beginning of the catalogue.
    total = np.cumsum(popularity(catalogue))
    there = np.searchsorted(catalogue.arrival_s, time_s, side="right")
    drawn = rng.random(len(time_s)) * total[there - 1]
    return np.minimum(np.searchsorted(total, drawn, side="right"), there - 1).astype(np.int32)
