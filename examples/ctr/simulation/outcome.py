"""What scores are worth: AUC over pairs, by the truth that the clicks were drawn from.

The AUC of drawn clicks has the noise of the draw. Here each impression counts as a click with its
true probability and as none with the rest, which is that AUC's expectation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.ctr.simulation.archive import Hits
from examples.ctr.simulation.scores import Scores
from examples.ctr.simulation.world import World

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Outcome:
    """A stretch of impressions.

    Attributes:
        since_h: where it begins, hours since the start.
        impressions: how many.
        text_oov, image_oov, any_oov: shares that miss the text's vector, the picture's, any.
        auc: expected AUC of the scores.
        clicks_auc: AUC of the drawn clicks.
    """

    since_h: float
    impressions: int
    text_oov: float
    image_oov: float
    any_oov: float
    auc: float
    clicks_auc: float


@dataclass(frozen=True)
class Bounds:
    """AUC of the same impressions with every vector, and with none."""

    known: float
    none: float

    def eaten(self, auc: float) -> float:
        """Return the share of the gain by content that an AUC has lost."""
        return (self.known - auc) / (self.known - self.none)


def auc(score: Floats, positive: Floats) -> float:
    """Return the share of pairs of a click and a non-click that are ranked rightly, ties half.

    Args:
        score: shape (n,).
        positive: shape (n,), how much of a click each one is, 0 to 1: the drawn one, or its truth.
    """
    _, place = np.unique(score, return_inverse=True)
    clicks = np.bincount(place, positive.astype(np.float64))
    others = np.bincount(place, 1 - positive.astype(np.float64))
    below = np.cumsum(others) - others
    pairs = clicks.sum() * others.sum()
    return float((clicks * (below + others / 2)).sum() / pairs) if pairs else float("nan")


@dataclass(frozen=True)
class Ranking:
    """A world whose impressions are scored.

    Attributes:
        world: the traffic.
        scores: of the trained items.
    """

    world: World
    scores: Scores

    def outcome(self, hits: Hits, chosen: slice = slice(None), *, since_h: float = 0.0) -> Outcome:
        """Sum up the `chosen` impressions, of which `hits` says what was found."""
        shown = self.world.impressions
        score = self.scores.of(self.world, hits)[chosen]
        text, image = hits.text[chosen], hits.image[chosen]
        return Outcome(
            since_h=since_h,
            impressions=len(score),
            text_oov=1 - float(text.mean()),
            image_oov=1 - float(image.mean()),
            any_oov=1 - float((text & image).mean()),
            auc=auc(score, shown.truth[chosen]),
            clicks_auc=auc(score, shown.click[chosen].astype(np.float32)),
        )

    def bounds(self, chosen: slice = slice(None)) -> Bounds:
        """Return what can be had at best, and without any content."""
        count = len(self.world.impressions)
        known, none = (self.outcome(Hits.all(count, found), chosen).auc for found in (True, False))
        return Bounds(known, none)
