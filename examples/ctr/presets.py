"""How large a run is: the sizes of `--preset`, and the data that they describe."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from examples.ctr import catalogue as catalogues
from examples.ctr import impressions as shown
from examples.ctr.catalogue import Catalogue
from examples.ctr.impressions import Impressions

TRAINED_SHARE = 0.7


@dataclass(frozen=True)
class Preset:
    """Sizes.

    Attributes:
        items, impressions, days: of the generated data.
        reduced: items of the comparison with inline and trained towers.
        seeds: how many training runs of each arm.
        tower_epochs: of the text tower.
        head_epochs: of heads on frozen vectors.
        end_to_end_epochs: of heads with towers.
    """

    items: int
    impressions: int
    days: float
    reduced: int
    seeds: int
    tower_epochs: int
    head_epochs: int
    end_to_end_epochs: int


PRESETS = {
    "tiny": Preset(80, 20_000, 4, 12, 1, 6, 8, 1),
    "small": Preset(1_500, 150_000, 14, 300, 2, 10, 20, 12),
    "full": Preset(30_000, 1_000_000, 14, 300, 2, 4, 8, 12),
}


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Declare the sizes and the seed."""
    parser.add_argument(
        "--preset", choices=list(PRESETS), default="small", help="sizes (default: small)"
    )
    parser.add_argument("--items", type=int, help="items, instead of the preset's")
    parser.add_argument("--impressions", type=int, help="impressions, instead of the preset's")
    parser.add_argument("--days", type=float, help="days, instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")


def chosen(options: argparse.Namespace) -> Preset:
    """Return the preset with what was given instead."""
    preset = PRESETS[options.preset]
    given = {
        name: getattr(options, name)
        for name in ("items", "impressions", "days")
        if getattr(options, name) is not None
    }
    preset = replace(preset, **given)
    return replace(preset, reduced=min(preset.reduced, preset.items))


def data(preset: Preset, seed: int) -> tuple[Catalogue, Impressions]:
    """Return the generated data.

    Raises:
        BadRequest: a size is below one.
    """
    catalogue = catalogues.generate(preset.items, preset.days, seed)
    return catalogue, shown.generate(catalogue, preset.impressions, preset.days, seed)
