"""`generate`: makes the data alone, says what is in it, and writes it for other tools."""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from examples.ctr import cells, metrics, presets
from examples.ctr.catalogue import Catalogue
from examples.ctr.deployment import console
from examples.ctr.pictures import SIDE

_ACROSS, _SHOWN = 4, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    presets.add_sizes(parser)
    parser.add_argument("--output", type=Path, help=".npz for the impressions' columns")
    parser.add_argument("--sheet", type=Path, help=f".png for the first {_SHOWN} pictures")


def run(options: argparse.Namespace) -> int:
    """Generate, and report."""
    preset = presets.chosen(options)
    started = time.perf_counter()
    catalogue, impressions = presets.data(preset, options.seed)
    seconds = time.perf_counter() - started
    split = cells.split(impressions, presets.TRAINED_SHARE)
    ceiling = metrics.figures(split.heldout, split.heldout.truth)
    console.print(
        f"{len(catalogue)} items, {len(impressions)} impressions over {preset.days:g} days in"
        f" {seconds:.1f} s"
    )
    console.print(
        f"clicked: {impressions.click.mean():.2%}; the truth's own AUC on the last"
        f" {1 - presets.TRAINED_SHARE:.0%} of the time: {ceiling.auc:.4f}, log-loss"
        f" {ceiling.log_loss:.4f}: no model can do better"
    )
    for item in range(min(_SHOWN, len(catalogue))):
        console.print(f"{item:4} {catalogue.appeal[item]:+.2f}  {catalogue.text(item)}")
    if options.output is not None:
        np.savez_compressed(options.output, **vars(impressions))
    if options.sheet is not None:
        _write_sheet(catalogue, options.sheet)
    return 0


def _write_sheet(catalogue: Catalogue, path: Path) -> None:
    count = min(_SHOWN, len(catalogue))
    sheet = Image.new("RGB", (_ACROSS * SIDE, -(-count // _ACROSS) * SIDE))
    for item in range(count):
        with Image.open(io.BytesIO(catalogue.picture(item))) as picture:
            sheet.paste(picture, (item % _ACROSS * SIDE, item // _ACROSS * SIDE))
    sheet.save(path)
