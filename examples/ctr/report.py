"""What a training run leaves for readers: predictions beside the truth, and every figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from examples.ctr.arms import Outcome
from examples.ctr.cells import Split
from examples.ctr.metrics import Figures, figures
from examples.ctr.predicting import Missing

_ROWS: tuple[tuple[str, str, Missing], ...] = (
    ("known items", "known", "none"),
    ("new items", "new", "none"),
    ("new, learned OOV", "new", "learned"),
    ("new, zero OOV", "new", "zero"),
)
"""Title, slice of the held-out cells, and what was taken for missing."""

_SHOWN = ("auc", "log_loss", "calibration")


def write_heldout(split: Split, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the held-out cells with every prediction as an .npz file.

    Columns, each of shape (cells,): `item`, `user`, `band`, `impressions`, `clicks`, `truth`,
    `known`; and for each arm, seed and what was taken for missing, `ARM/SEED/MISSING/ctr` and
    `…/rank`, see `predicting.Predicted`.
    """
    columns: dict[str, Any] = {**vars(split.heldout), "known": split.known}
    for one in outcomes:
        for missing, predicted in one.predicted.items():
            columns[f"{one.name}/{one.seed}/{missing}/ctr"] = predicted.ctr
            columns[f"{one.name}/{one.seed}/{missing}/rank"] = predicted.rank
    np.savez_compressed(path, **columns)


def compared(split: Split, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of every arm by row, of each seed; and those of the truth itself."""
    found: dict[str, Any] = {}
    if not np.isnan(split.heldout.truth).any():
        found["truth"] = {
            title: {"seeds": [_figures(split, None, slice_, missing).described()]}
            for title, slice_, missing in _rows()
            if missing == "none"
        }
    for name in dict.fromkeys(one.name for one in outcomes):
        runs = [one for one in outcomes if one.name == name]
        found[name] = {
            title: {"seeds": [_figures(split, one, slice_, missing).described() for one in runs]}
            for title, slice_, missing in _rows()
            if missing in runs[0].predicted
        }
        found[name]["seconds"] = [one.seconds for one in runs]
        found[name]["losses"] = [[vars(epoch) for epoch in one.losses] for one in runs]
    return found


def table(title: str, found: Mapping[str, Any]) -> Table:
    """Return the comparison for the screen: the mean over seeds, and how far seeds are apart."""
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for column in ("arm", "held-out part", "AUC", "log-loss", "predicted / clicked"):
        shown.add_column(column, justify="left" if column in ("arm", "held-out part") else "right")
    for name, arm in found.items():
        for part, row in arm.items():
            if isinstance(row, dict):
                shown.add_row(name, part, *(spread(row, figure) for figure in _SHOWN))
    return shown


def spread(row: Mapping[str, Any], figure: str) -> str:
    """Return the mean of a figure over seeds, with half the distance of the farthest two."""
    values = [seed[figure] for seed in row["seeds"]]
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ±{np.ptp(values) / 2:.4f}"


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """Write figures; what is not a number becomes null."""
    path.write_text(json.dumps(_plain(report), indent=2) + "\n", "utf-8")


def _rows() -> tuple[tuple[str, str, Missing], ...]:
    return (("all items", "all", "none"), *_ROWS)


def _figures(split: Split, outcome: Outcome | None, slice_: str, missing: Missing) -> Figures:
    every = np.ones(len(split.heldout), np.bool_)
    chosen = {"all": every, "known": split.known, "new": ~split.known}[slice_]
    part = split.heldout.take(chosen)
    if outcome is None:
        return figures(part, part.truth)
    predicted = outcome.predicted[missing]
    return figures(part, predicted.ctr[chosen], predicted.rank[chosen])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
