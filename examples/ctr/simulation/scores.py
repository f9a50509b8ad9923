"""What the trained model says of every item, user segment and part of the day, hit or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError
from examples.ctr.catalogue import DAY_S
from examples.ctr.impressions import BANDS, SEGMENTS, band_of
from examples.ctr.scorer import Scorer
from examples.ctr.simulation.archive import Hits
from examples.ctr.simulation.world import World
from examples.ctr.work import Work

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Expected CTR.

    Attributes:
        ctr: shape (2, 2, segments, bands, items): text missing or hit, picture missing or hit.
    """

    ctr: Floats

    def of(self, world: World, hits: Hits) -> Floats:
        """Return the score of each impression, shape (impressions,), given what was a hit."""
        shown = world.impressions
        found: Floats = self.ctr[
            hits.text.astype(np.int8),
            hits.image.astype(np.int8),
            shown.user,
            band_of(shown.time_s),
            world.looks_like[shown.item],
        ]
        return found


def score_all(scorer: Scorer, folder: Path) -> Scores:
    """Score every item of the trained catalogue with the vectors that `train` left in `folder`.

    Raises:
        ConfigurationError: it left none, or other ones.
    """
    text, image = _vectors(folder, scorer)
    items = np.arange(len(scorer.catalogue))
    ctr = np.empty((2, 2, SEGMENTS, BANDS, len(items)), np.float32)
    for place in np.ndindex(ctr.shape[:4]):
        has_text, has_image, user, band = place
        ctr[place] = scorer.score(
            user,
            items,
            text,
            np.full(len(items), bool(has_text)),
            image,
            np.full(len(items), bool(has_image)),
            time_s=(band + 0.5) * DAY_S / BANDS,
        )
    return Scores(ctr)


def _vectors(folder: Path, scorer: Scorer) -> tuple[Floats, Floats]:
    path = Work(folder).vectors
    try:
        with np.load(path) as file:
            text, image = file["text"].astype(np.float32), file["image"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"no vectors in {path} ({error}); run `python -m examples.ctr train --work {folder}`"
        ) from None
    wanted = (
        (len(scorer.catalogue), scorer.text_dimension),
        (len(scorer.catalogue), scorer.image_dimension),
    )
    if (text.shape, image.shape) != wanted:
        raise ConfigurationError(
            f"{path} holds {text.shape} and {image.shape}, the model needs {wanted[0]} and"
            f" {wanted[1]}: train again"
        )
    return text, image
