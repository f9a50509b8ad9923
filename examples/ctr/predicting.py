"""Running an arm, a head with its content, on cells; what training and evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from examples.ctr.catalogue import Items
from examples.ctr.cells import Cells
from examples.ctr.content import Content
from examples.ctr.mixture import Mixture
from examples.ctr.model import Batch, Head

_Integers = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float32]

_PREDICTED_ROWS = 256
_CLOSEST = 1e-6

Missing = Literal["none", "learned", "zero"]
"""What predictions take for missing: nothing; or every vector, and in its place stands the learned
OOV vector, or zeros."""


Drop = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Returns which texts and which pictures of some items are taken away, bool (items,) each."""


@dataclass(frozen=True)
class Arm:
    """A head with the content that it is trained on.

    Attributes:
        head: the head.
        content: where its vectors come from.
        number: the head's number of every item, 0 for what training has not seen; (catalogue,).
    """

    head: Head
    content: Content
    number: Tensor


@dataclass(frozen=True)
class Predicted:
    """Of each cell: float32, shape (cells,).

    Attributes:
        ctr: expected CTR.
        rank: where the true CTR lies in the predicted distribution, 0 to 1; NaN without a truth.
    """

    ctr: _Floats
    rank: _Floats


def predict(arm: Arm, cells: Cells, catalogue: Items, missing: Missing = "none") -> Predicted:
    """Return what an arm says of cells."""
    ctr, rank = np.empty(len(cells), np.float32), np.empty(len(cells), np.float32)
    for chosen, part, mixture in mixtures(arm, cells, catalogue, missing):
        ctr[chosen] = mixture.expected().numpy()
        truth = torch.from_numpy(np.clip(part.truth, _CLOSEST, 1 - _CLOSEST))
        rank[chosen] = mixture.cdf(truth).numpy()
    return Predicted(ctr, rank)


def mixtures(
    arm: Arm, cells: Cells, catalogue: Items, missing: Missing
) -> Iterator[tuple[slice, Cells, Mixture]]:
    """Yield what an arm says of cells, some items at a time: where they are, they, and that."""
    arm.head.eval()
    arm.content.eval()
    items = np.unique(cells.item)
    drop = _keeping if missing == "none" else _taking
    done = 0
    with torch.no_grad():
        for start in range(0, len(items), _PREDICTED_ROWS):
            rows = items[start : start + _PREDICTED_ROWS]
            part, row = of_items(cells, rows)
            zero = missing == "zero"
            mixture = mixture_of(arm, catalogue, (part, row, rows), drop, zero=zero)
            yield slice(done, done + len(part)), part, mixture
            done += len(part)


def mixture_of(
    arm: Arm,
    catalogue: Items,
    taken: tuple[Cells, _Integers, _Integers],
    drop: Drop,
    *,
    zero: bool = False,
) -> Mixture:
    """Run the head on cells, with the row of each, and the items of the rows."""
    part, row, rows = taken
    index = torch.from_numpy(rows)
    text, image = arm.content.vectors(index)
    no_text, no_image = drop(index)
    number = torch.where(no_text & no_image, 0, arm.number[index])
    batch = Batch(
        user=torch.from_numpy(part.user),
        band=torch.from_numpy(part.band),
        row=torch.from_numpy(row),
        category=torch.from_numpy(catalogue.category[rows].astype(np.int64)),
        advertiser=torch.from_numpy(catalogue.advertiser[rows].astype(np.int64)),
        item=number,
        text=_without(text, no_text, arm.content.text_oov, zero=zero),
        image=_without(image, no_image, arm.content.image_oov, zero=zero),
    )
    mixture: Mixture = arm.head(batch)
    return mixture


def _without(
    vectors: Tensor | None, dropped: Tensor, oov: Tensor | None, *, zero: bool
) -> Tensor | None:
    if vectors is None or oov is None:
        return vectors
    stand_in = torch.zeros_like(oov) if zero else oov
    return torch.where(dropped.unsqueeze(1), stand_in, vectors)


def of_items(cells: Cells, rows: _Integers) -> tuple[Cells, _Integers]:
    """Return the cells of some items, and of which of them each is."""
    first = np.searchsorted(cells.item, rows, side="left")
    count = np.searchsorted(cells.item, rows, side="right") - first
    row = np.repeat(np.arange(len(rows)), count)
    index = np.arange(int(count.sum())) + np.repeat(first - (np.cumsum(count) - count), count)
    return cells.take(index), row


def _keeping(rows: Tensor) -> tuple[Tensor, Tensor]:
    none = torch.zeros(len(rows), dtype=torch.bool)
    return none, none


def _taking(rows: Tensor) -> tuple[Tensor, Tensor]:
    every = torch.ones(len(rows), dtype=torch.bool)
    return every, every
