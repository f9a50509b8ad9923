"""Figures about predictions for cells, from counts alone: a reader can compute them again.

Every impression counts once: a cell with n impressions and c clicks is c ones and n - c zeros.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from examples.ctr.cells import Cells

_Floats = npt.NDArray[np.floating]

LEVELS = (0.5, 0.8, 0.95)
_BINS = 10
_CLOSEST = 1e-6


@dataclass(frozen=True)
class Bin:
    """Impressions with predictions next to each other.

    Attributes:
        predicted: mean prediction.
        observed: share that was clicked.
        impressions: how many.
    """

    predicted: float
    observed: float
    impressions: int


@dataclass(frozen=True)
class Figures:
    """What predictions are worth on some cells.

    Attributes:
        impressions, clicks: how many they are about.
        auc: share of pairs of a click and a non-click that are ranked rightly, ties half.
        log_loss: mean of -log p(outcome) over impressions, natural logarithm.
        calibration: expected clicks over clicks; 1 is right.
        calibration_error: mean distance of predicted and observed over tenths of the impressions,
            relative to the share that is clicked.
        coverage: of the true CTR by the central intervals of each level in `LEVELS`; None without
            a truth or a distribution.
    """

    impressions: int
    clicks: int
    auc: float
    log_loss: float
    calibration: float
    calibration_error: float
    coverage: dict[str, float] | None

    def described(self) -> dict[str, object]:
        """Return the figures by name."""
        return asdict(self)


def figures(cells: Cells, ctr: _Floats, rank: _Floats | None = None) -> Figures:
    """Return the figures of predictions.

    Args:
        cells: what happened.
        ctr: predicted, shape (cells,).
        rank: where the truth lies in the predicted distribution, see `predicting.Predicted`.
    """
    clicks, total = cells.clicks.astype(np.float64), cells.impressions.astype(np.float64)
    bounded = np.clip(ctr.astype(np.float64), _CLOSEST, 1 - _CLOSEST)
    loss = -(clicks * np.log(bounded) + (total - clicks) * np.log1p(-bounded)).sum()
    return Figures(
        impressions=int(total.sum()),
        clicks=int(clicks.sum()),
        auc=auc(cells, ctr),
        log_loss=float(loss / total.sum()) if total.sum() else float("nan"),
        calibration=float((bounded * total).sum() / clicks.sum()) if clicks.sum() else float("nan"),
        calibration_error=_calibration_error(cells, bounded),
        coverage=None if rank is None or np.isnan(rank).any() else coverage(cells, rank),
    )


def auc(cells: Cells, score: _Floats) -> float:
    """Return the area under the ROC curve; NaN if all or none was clicked."""
    levels, level = np.unique(score, return_inverse=True)
    ones = np.bincount(level, cells.clicks, len(levels))
    zeros = np.bincount(level, cells.impressions - cells.clicks, len(levels))
    pairs = ones.sum() * zeros.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / pairs)


def coverage(cells: Cells, rank: _Floats) -> dict[str, float]:
    """Return the share of impressions whose true CTR is in the central interval of each level."""
    total = cells.impressions.sum()
    return {
        f"{level:.0%}": float(cells.impressions[np.abs(rank - 0.5) <= level / 2].sum() / total)
        for level in LEVELS
    }


def calibration_bins(cells: Cells, ctr: _Floats, bins: int = _BINS) -> list[Bin]:
    """Return bins of about equally many impressions, by rising prediction."""
    order = np.argsort(ctr, kind="stable")
    total = cells.impressions[order].astype(np.float64)
    place = np.minimum((np.cumsum(total) - total / 2) * bins / total.sum(), bins - 1).astype(int)
    found = []
    for one in np.unique(place):
        chosen = order[place == one]
        count = float(cells.impressions[chosen].sum())
        found.append(
            Bin(
                predicted=float((ctr[chosen] * cells.impressions[chosen]).sum() / count),
                observed=float(cells.clicks[chosen].sum() / count),
                impressions=int(count),
            )
        )
    return found


def _calibration_error(cells: Cells, ctr: _Floats) -> float:
    found = calibration_bins(cells, ctr) if len(cells) else []
    clicks = float(cells.clicks.sum())
    if clicks == 0:
        return float("nan")
    apart = sum(abs(one.predicted - one.observed) * one.impressions for one in found)
    return float(apart / clicks)
