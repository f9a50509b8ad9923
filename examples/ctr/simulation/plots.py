"""The experiments' rows as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.ctr.simulation.experiments import mean_eaten
from examples.ctr.simulation.rows import Cell, Changed, Over

_DPI = 120
_LOST = "% of the AUC gained by content that is lost"


def draw_cold_start(rows: Sequence[Over], path: Path) -> None:
    """OOV share, AUC at the highest rate of new items, and what is lost at each rate, over time."""
    figure = Figure(figsize=(15, 4), layout="constrained")
    oov, auc, lost = figure.subplots(1, 3)
    shares = sorted({row.new_share for row in rows})
    for share in shares:
        mine = [row for row in rows if row.new_share == share]
        hours = [row.outcome.since_h for row in mine]
        oov.plot(hours, [100 * row.outcome.any_oov for row in mine], label=_rate(share))
        lost.plot(hours, [100 * row.eaten for row in mine], label=_rate(share))
    mine = [row for row in rows if row.new_share == shares[-1]]
    hours = [row.outcome.since_h for row in mine]
    auc.plot(hours, [row.known_auc for row in mine], "k:", label="every vector known")
    auc.plot(hours, [row.outcome.auc for row in mine], "C3", label="as it is")
    auc.plot(hours, [row.none_auc for row in mine], "k--", label="no content")
    auc.set(ylabel=f"AUC, {_rate(shares[-1])}")
    oov.set(ylabel="% of impressions without a vector", ylim=(0, None))
    lost.set(ylabel=_LOST)
    oov.legend(title="new items")
    auc.legend()
    for axes in (oov, auc, lost):
        axes.set(xlabel="hours since a cold start")
    figure.savefig(path, dpi=_DPI)


def draw_landscape(cells: Sequence[Cell], path: Path) -> None:
    """How much of content's gain is lost, over rate of new items and speed of encoders."""
    mean = mean_eaten(cells)
    speeds, shares = list(mean), list(next(iter(mean.values())))
    eaten = 100 * np.array([list(row.values()) for row in mean.values()])
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    levels = np.linspace(0, 100, 11)
    filled = axes.contourf(shares, speeds, eaten, levels, cmap="RdYlGn_r", extend="both")
    figure.colorbar(filled, label=_LOST)
    if eaten.min() < 50 < eaten.max():
        lines = axes.contour(shares, speeds, eaten, [50], colors="k")
        axes.clabel(lines, fmt="half is lost")
    axes.plot(shares, shares, "k:", label="encoders as fast as new items come")
    axes.set(
        xscale="log", yscale="log", ylim=(speeds[0], speeds[-1]),
        xlabel="new items for each impression",
        ylabel="inputs computed in the time of one impression",
    )  # fmt: skip
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=_DPI)


def draw_changes(rows: Sequence[Changed], inline_calls: float, path: Path) -> None:
    """AUC lost and encoder calls over the interval of model changes, for both policies."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    lost, calls = figure.subplots(1, 2)
    for policy, label in (("flush", "archive emptied"), ("generations", "EmbArk's generations")):
        mine = [row for row in rows if row.policy == policy]
        hours = [row.interval_h for row in mine]
        lost.plot(hours, [100 * row.eaten for row in mine], "o-", label=label)
        calls.plot(hours, [row.calls_per_impression for row in mine], "o-", label=label)
    late = [row.interval_h for row in rows if row.policy == "generations" and not row.keeps_up]
    for axes in (lost, calls):
        if late:
            axes.axvspan(min(late) / 1.2, max(late) * 1.2, color="grey", alpha=0.2,
                         label="filling takes longer")  # fmt: skip
    calls.axhline(inline_calls, color="k", linestyle=":", label="inline")
    _over_intervals(lost, _LOST)
    _over_intervals(calls, "encoder calls for each impression")
    calls.set_yscale("log")
    figure.savefig(path, dpi=_DPI)


def _over_intervals(axes: Axes, label: str) -> None:
    axes.set(xscale="log", xlabel="hours between changes of model", ylabel=label)
    axes.legend()


def _rate(share: float) -> str:
    return f"{1000 * share:g} per 1,000 impressions"
