"""Whether a pair is a duplicate: one score from picture, text and wording. Pure.

A score is a logistic function of four numbers. Which weights it has depends on what both items
have: text and picture, text only, picture only. The default weights were fitted on catalogues that
`examples.duplicates` generates; `embark.duplicates.calibrating` fits others to labelled pairs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TEXT, IMAGE, CONTRADICTION, WORDS = range(4)
"""Columns of features: cosine of texts, of pictures, and the fields of `wording.Contrast`."""

FEATURES: Final = 4


class Basis(str, enum.Enum):
    """What two items have in common to be judged by."""

    BOTH = "text and image"
    TEXT = "text"
    IMAGE = "image"

    @property
    def columns(self) -> tuple[int, ...]:
        """The features that count."""
        return {
            Basis.BOTH: (TEXT, IMAGE, CONTRADICTION, WORDS),
            Basis.TEXT: (TEXT, CONTRADICTION, WORDS),
            Basis.IMAGE: (IMAGE,),
        }[self]


@dataclass(frozen=True)
class Rule:
    """Weights of one basis.

    Attributes:
        weights: of the basis's columns.
        bias: added to them.
        cutoff: score, 0 to 1, from which a pair is a duplicate.
    """

    weights: tuple[float, ...]
    bias: float
    cutoff: float


Rules = Mapping[Basis, Rule]

DEFAULT_RULES: Final[Rules] = {
    Basis.BOTH: Rule((2.31, 8.23, -9.93, -5.57), -3.14, 0.63),
    Basis.TEXT: Rule((8.85, -9.58, -9.08), -3.25, 0.34),
    Basis.IMAGE: Rule((10.78,), -6.27, 0.85),
}
"""What `python -m benchmarks.duplicates --fit` prints."""


def bases_of(features: Floats) -> dict[Basis, npt.NDArray[np.bool_]]:
    """Return which pairs have which basis.

    Args:
        features: shape (pairs, 4); NaN where the items do not both have the text or picture.
    """
    has_text, has_image = ~np.isnan(features[:, TEXT]), ~np.isnan(features[:, IMAGE])
    return {
        Basis.BOTH: has_text & has_image,
        Basis.TEXT: has_text & ~has_image,
        Basis.IMAGE: ~has_text & has_image,
    }


def scores(features: Floats, rules: Rules) -> Floats:
    """Return the score of each pair, 0 to 1, 0 where the items have nothing in common."""
    found = np.zeros(len(features))
    for basis, chosen in bases_of(features).items():
        found[chosen] = score(features[chosen][:, basis.columns], rules[basis])
    return found


def score(columns: Floats, rule: Rule) -> Floats:
    """Return scores by one rule, from its own columns, shape (pairs, columns)."""
    # Beyond 500 a float's exponential overflows; such a score is 0 or 1.
    logit = np.clip(columns @ np.array(rule.weights) + rule.bias, -500, 500)
    found: Floats = 1 / (1 + np.exp(-logit))
    return found


def accepted(features: Floats, found: Floats, rules: Rules) -> npt.NDArray[np.bool_]:
    """Return which pairs are duplicates by their scores."""
    good = np.zeros(len(features), np.bool_)
    for basis, chosen in bases_of(features).items():
        good |= chosen & (found >= rules[basis].cutoff)
    return good
