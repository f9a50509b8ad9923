"""Plots of a training run, as PNG files. Not for figures: those are in `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from examples.ctr.arms import Outcome
from examples.ctr.cells import Cells, Split
from examples.ctr.metrics import calibration_bins
from examples.ctr.mixture import Mixture

_DPI = 110
_CURVE_POINTS = 300
_SHOWN_CELLS = 6


def plot_auc(found: Mapping[str, Any], path: Path) -> None:
    """Plot the AUC of every arm on known and new items, seeds as dots."""
    figure = _figure(8, 4)
    axes = figure.add_subplot()
    names = list(found)
    for offset, part in ((-0.2, "known items"), (0.2, "new items")):
        values = [[seed["auc"] for seed in found[name][part]["seeds"]] for name in names]
        places = np.arange(len(names)) + offset
        axes.bar(places, [float(np.mean(one)) for one in values], 0.38, label=part)
        for place, one in zip(places, values, strict=True):
            axes.plot([place] * len(one), one, "k.", markersize=4)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0.5, None)
    axes.set_ylabel("AUC, held out")
    axes.legend()
    _save(figure, path)


def plot_calibration(split: Split, outcomes: Sequence[Outcome], path: Path) -> None:
    """Plot predicted against observed CTR of the first seed of every arm."""
    figure = _figure(6, 5)
    axes = figure.add_subplot()
    for outcome in _first_seeds(outcomes):
        bins = calibration_bins(split.heldout, outcome.predicted["none"].ctr)
        predicted, observed = [one.predicted for one in bins], [one.observed for one in bins]
        axes.plot(predicted, observed, "o-", markersize=4, label=outcome.name)
    axes.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel("predicted CTR, mean of a tenth of the impressions")
    axes.set_ylabel("observed CTR")
    axes.legend()
    _save(figure, path)


def plot_learning(outcomes: Sequence[Outcome], path: Path) -> None:
    """Plot the held-out loss after each epoch, first seeds."""
    figure = _figure(7, 4)
    axes = figure.add_subplot()
    for outcome in _first_seeds(outcomes):
        losses = [one.heldout for one in outcome.losses]
        axes.plot(range(1, len(losses) + 1), losses, label=outcome.name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("-log P(clicks) per impression, held out")
    axes.legend()
    _save(figure, path)


def plot_distributions(mixture: Mixture, cells: Cells, path: Path) -> None:
    """Plot predicted distributions of the CTR, each with the truth that it should cover.

    Args:
        mixture: of the cells.
        cells: a few.
        path: of the file.
    """
    count = min(_SHOWN_CELLS, len(cells))
    figure = _figure(9, 5)
    ctr = np.linspace(0.002, 0.5, _CURVE_POINTS)
    for number in range(count):
        axes = figure.add_subplot(2, 3, number + 1)
        one = Mixture(*(part[number : number + 1] for part in vars(mixture).values()))
        axes.plot(ctr, _density(one, ctr))
        axes.axvline(float(cells.truth[number]), color="black", linestyle="--", linewidth=1)
        axes.set_title(f"item {cells.item[number]}, segment {cells.user[number]}", fontsize=9)
        axes.set_yticks([])
    figure.supxlabel("CTR: predicted density, and the truth (dashed)")
    _save(figure, path)


def _density(mixture: Mixture, ctr: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    points = torch.from_numpy(ctr)
    logit = torch.logit(points).unsqueeze(1)
    normal = torch.distributions.Normal(mixture.mean.double(), mixture.sigma.double())
    log_mass = mixture.log_weight.double() + normal.log_prob(logit)  # type: ignore[no-untyped-call]
    density: np.ndarray[Any, Any] = (log_mass.exp().sum(dim=1) / (points * (1 - points))).numpy()
    return density


def _first_seeds(outcomes: Sequence[Outcome]) -> list[Outcome]:
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.name, outcome)
    return list(first.values())


def _figure(width: float, height: float) -> Figure:
    # Not pyplot, which has global state and may want a display.
    with mpl.rc_context({"axes.grid": True, "grid.alpha": 0.3}):
        return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI)
