"""The head of the CTR model: tables, vectors of text and picture, dense layers, mixture density.

Where the vectors come from is not its business: from the archive, from a tower run inline, or from
one that is trained with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from embark.errors import ConfigurationError
from examples.ctr.impressions import BANDS, SEGMENTS
from examples.ctr.mixture import Mixture, MixtureLayer

_TABLE = 8
_AXES = 64
_HIDDEN = (96, 48)
_DROPOUT = 0.1
_LEAST_SPREAD = 1e-2
_VECTORS_AN_AXIS = 4
_FIRST_SPREAD = 0.01


@dataclass(frozen=True)
class Batch:
    """Cells of some items; `row` says of which item a cell is.

    Attributes:
        user, band, row: int64, shape (cells,).
        category, advertiser, item: int64, shape (rows,).
        text, image: float32, shape (rows, dimension); None for a head without content.
    """

    user: Tensor
    band: Tensor
    row: Tensor
    category: Tensor
    advertiser: Tensor
    item: Tensor
    text: Tensor | None
    image: Tensor | None


@dataclass(frozen=True)
class HeadShape:
    """What a head is made for.

    Attributes:
        categories, advertisers: rows of their tables.
        text_dimension, image_dimension: of the vectors; 0 if the head takes none of them.
        items: rows of a table of items; 0 for a head that does not know items by their number.
        base: logit around which the mixture begins.
    """

    categories: int
    advertisers: int
    text_dimension: int
    image_dimension: int
    items: int
    base: float


class Axes(nn.Module):
    """Vectors to their coordinates along the principal axes of known vectors, each of spread 1.

    Neither the encoder's scale nor its correlations reach the head. Fitted, not trained; before,
    the first axes are the vector's own, of spread 1 if its length is 1.
    """

    centre: Tensor
    directions: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimension))
        own = torch.eye(dimension, min(_AXES, dimension)) * dimension**0.5
        self.register_buffer("directions", own)

    def fit(self, vectors: Tensor) -> None:
        """Find the axes of `vectors`, (n, dimension)."""
        self.centre.copy_(vectors.mean(dim=0))
        _, spread, directions = torch.linalg.svd(vectors - self.centre, full_matrices=False)
        deviation = spread / max(1.0, len(vectors) - 1.0) ** 0.5
        # Axes that few vectors have found, or hardly vary along, say nothing about other vectors.
        count = min(self.directions.shape[1], max(1, len(vectors) // _VECTORS_AN_AXIS))
        count = min(count, int((deviation > _LEAST_SPREAD * deviation[0]).sum()))
        self.directions.zero_()
        self.directions[:, :count] = directions[:count].T / deviation[:count]

    def shortest_step(self) -> float:
        """Return the length along an axis, at most, after which a coordinate has changed by 1."""
        return 1 / float(self.directions.norm(dim=0).max())

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (n, axes)."""
        return (vectors - self.centre) @ self.directions


class Head(nn.Module):
    """See the module.

    Attributes:
        shape: what it was made for.
        text_oov, image_oov: what the head is given where a vector is missing; shape (dimension,).
            Trained elsewhere, kept here so that a scorer has them.
    """

    text_oov: Tensor
    image_oov: Tensor

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.users = nn.Embedding(SEGMENTS, _TABLE)
        self.bands = nn.Embedding(BANDS, _TABLE)
        self.categories = nn.Embedding(shape.categories, _TABLE)
        self.advertisers = nn.Embedding(shape.advertisers, _TABLE)
        # Row 0 stands for items without a row of their own.
        self.items = nn.Embedding(shape.items + 1, _TABLE) if shape.items else None
        if self.items is not None:
            nn.init.normal_(self.items.weight, std=_FIRST_SPREAD)
        width = 4 * _TABLE + (_TABLE if shape.items else 0)
        self.text = Axes(shape.text_dimension) if shape.text_dimension else None
        self.image = Axes(shape.image_dimension) if shape.image_dimension else None
        for axes in (self.text, self.image):
            width += 0 if axes is None else axes.directions.shape[1]
        self.register_buffer("text_oov", torch.zeros(shape.text_dimension))
        self.register_buffer("image_oov", torch.zeros(shape.image_dimension))
        self.dense = nn.Sequential(
            nn.Linear(width, _HIDDEN[0]),
            nn.SiLU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN[0], _HIDDEN[1]),
            nn.SiLU(),
        )
        self.mixture = MixtureLayer(_HIDDEN[1], shape.base)

    @property
    def text_dimension(self) -> int:
        """Length of a text's vector."""
        return self.shape.text_dimension

    @property
    def image_dimension(self) -> int:
        """Length of a picture's vector."""
        return self.shape.image_dimension

    def forward(self, batch: Batch) -> Mixture:
        """Return the distribution of each cell's CTR."""
        rows = [self.categories(batch.category), self.advertisers(batch.advertiser)]
        if self.items is not None:
            rows.append(self.items(batch.item))
        if self.text is not None:
            rows.append(self.text(batch.text))
        if self.image is not None:
            rows.append(self.image(batch.image))
        of_items = torch.cat(rows, dim=1)[batch.row]
        of_cells = [self.users(batch.user), self.bands(batch.band), of_items]
        mixture: Mixture = self.mixture(self.dense(torch.cat(of_cells, dim=1)))
        return mixture


def save_head(head: Head, path: Path) -> None:
    """Write a head."""
    torch.save({"shape": asdict(head.shape), "state": head.state_dict()}, path)


def load_head(path: Path) -> Head:
    """Return the head that `save_head` wrote.

    Raises:
        OSError: the file cannot be read.
        ConfigurationError: it holds no head of this version of the example.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        head = Head(HeadShape(**saved["shape"]))
        head.load_state_dict(saved["state"])
    except (KeyError, TypeError, RuntimeError, UnpicklingError) as error:
        raise ConfigurationError(
            f"{path} holds no head of this version ({error}); train again"
        ) from error
    return head
