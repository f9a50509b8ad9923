"""`simulate`: OOV share and AUC after a cold start, under new items, slow encoders, new models."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from embark.errors import BadRequest
from embark.fit import Encoders
from examples.ctr.scorer import Scorer
from examples.ctr.simulation.experiments import (
    Setup,
    break_even,
    changes,
    cold_start,
    inline,
    landscape,
)
from examples.ctr.simulation.plots import draw_changes, draw_cold_start, draw_landscape
from examples.ctr.simulation.rows import Cell, Changed, Inline, Over
from examples.ctr.simulation.scores import score_all
from examples.ctr.work import add_work

FOLDER = "simulation"
_NEW_SHARES = (0.0, 0.003, 0.03, 0.1)
_MAP_SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_MAP_SPEEDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_INTERVALS_H = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
_CHANGE_NEW_SHARE = 0.003
_HALF, _MOST = 0.5, 0.9

_console = Console(highlight=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_work(parser)
    add = parser.add_argument
    add("--impressions", type=int, default=200_000, help="of each world; default: 200000")
    add("--hours", type=float, default=24.0, help="the time they take; default: 24")
    add("--text-throughput", type=float, default=60.0, help="inputs/s; default: 60")
    add("--image-throughput", type=float, default=9.0, help="inputs/s; default: 9")
    add("--candidates", type=int, default=50, help="of a request, for inline; default: 50")
    add("--budget-ms", type=float, default=200.0, help="to encode them inline; default: 200")
    add("--repeats", type=int, default=3, help="seeds of the map of new items; default: 3")
    add("--seed", type=int, default=0, help="default: 0")


def run(options: argparse.Namespace) -> int:
    """Run the experiments; write rows, figures and plots into the work folder."""
    if options.impressions < 100 or min(options.hours, options.candidates, options.repeats) <= 0:
        raise BadRequest(
            "--impressions must be 100 or more; --hours, --candidates and --repeats above 0"
        )
    text = Encoders(options.text_throughput)
    image = Encoders(options.image_throughput, batch=8)
    scorer = Scorer.load(options.work)
    scores = score_all(scorer, options.work)
    setup = Setup(
        scorer.catalogue, scores, options.impressions, options.hours, text, image, options.seed
    )
    folder = options.work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)

    _console.print("cold start …")
    over = list(cold_start(setup, _NEW_SHARES))
    _write_rows(folder / "cold_start.csv", [_flat(one) for one in over])
    draw_cold_start(over, folder / "cold_start.png")
    _console.print("new items against encoders …")
    cells = [
        cell
        for number in range(options.repeats)
        for cell in landscape(replace(setup, seed=setup.seed + number), _MAP_SHARES, _MAP_SPEEDS)
    ]
    _write_rows(folder / "new_items.csv", [asdict(one) for one in cells])
    draw_landscape(cells, folder / "new_items.png")
    _console.print("changes of model …")
    changed = list(changes(setup, _CHANGE_NEW_SHARE, _INTERVALS_H))
    _write_rows(folder / "changes.csv", [asdict(one) for one in changed])
    draw_changes(changed, 2.0, folder / "changes.png")
    within = inline(setup, options.candidates, options.budget_ms / 1000)

    figures = _figures(setup, over, cells, changed, within)
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    _show(figures, folder)
    return 0


def _figures(
    setup: Setup,
    over: Sequence[Over],
    cells: Sequence[Cell],
    changed: Sequence[Changed],
    within: Inline,
) -> dict[str, Any]:
    """Return the conclusions; every one follows from the rows."""
    last = {one.new_share: one for one in over}
    first = {one.new_share: one for one in reversed(over)}
    return {
        "setup": {
            "items": len(setup.trained),
            "impressions": setup.impressions,
            "hours": setup.hours,
            "impressions_per_s": setup.per_second,
            "text": asdict(setup.text),
            "image": asdict(setup.image),
            "seed": setup.seed,
        },
        "cold_start": [
            {"new_share": share, "first_step": _flat(first[share]), "last_step": _flat(end)}
            for share, end in last.items()
        ],
        "break_even": [
            {
                "computed_per_impression": speed,
                "new_share_half_lost": half,
                "new_share_nine_tenths_lost": most,
            }
            for (speed, half), most in zip(
                break_even(cells, _HALF).items(), break_even(cells, _MOST).values(), strict=True
            )
        ],
        "changes": [asdict(one) for one in changed],
        "inline": asdict(within),
    }


def _flat(one: Over) -> dict[str, float]:
    return {
        "new_share": one.new_share,
        **asdict(one.outcome),
        "known_auc": one.known_auc,
        "none_auc": one.none_auc,
        "eaten": one.eaten,
    }


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _show(figures: dict[str, Any], folder: Path) -> None:
    for one in figures["cold_start"]:
        begin, end = one["first_step"], one["last_step"]
        _console.print(
            f"{1000 * one['new_share']:g} new items per 1,000 impressions: OOV"
            f" {begin['any_oov']:.1%} → {end['any_oov']:.2%}, {begin['eaten']:.1%} →"
            f" {end['eaten']:.1%} of content's gain lost (AUC {end['auc']:.4f}, every vector"
            f" {end['known_auc']:.4f}, no content {end['none_auc']:.4f})"
        )
    for one in figures["break_even"]:
        half = one["new_share_half_lost"]
        where = "at no simulated rate" if half is None else f"at {1000 * half:.3g} per 1,000"
        _console.print(
            f"encoders of {1000 * one['computed_per_impression']:g} inputs per 1,000 impressions:"
            f" half of content's gain is lost {where} new items"
        )
    for one in figures["changes"]:
        _console.print(
            f"a new model each {one['interval_h']:g} h, {one['policy']}: OOV {one['any_oov']:.2%},"
            f" {one['eaten']:.1%} of content's gain lost,"
            f" {one['calls_per_impression']:.3f} encoder calls an impression"
            + ("" if one["keeps_up"] else "; filling does not keep up")
        )
    within = figures["inline"]
    _console.print(
        f"inline, {within['candidates']} candidates: encoding takes {within['needed_s']:.2g} s; in"
        f" {within['budget_s']:g} s, {within['text_share']:.0%} of texts and"
        f" {within['image_share']:.0%} of pictures, {within['eaten']:.0%} of content's gain lost"
    )
    _console.print(f"rows, figures and plots are in {folder}")
