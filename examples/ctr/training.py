"""Training a head on any content. Not for what is compared: `arms`; nor for predicting.

A step takes some items with all their cells, so that each item's vectors are looked up, or its
towers run, once a step. The step's loss is divided by what a step has on average, not by what it
has, so that gradients stay unbiased though popular items have more impressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from examples.ctr.catalogue import Items
from examples.ctr.cells import Cells
from examples.ctr.content import Content
from examples.ctr.model import Head, HeadShape
from examples.ctr.predicting import Arm, Drop, mixture_of, mixtures, of_items

_Integers = npt.NDArray[np.int64]

_CLIP = 1.0
_DECAY = 1e-2
_OOV_RATE = 0.1


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        epochs: passes over the training cells.
        rows: items a step.
        rate: the highest learning rate of the head; it rises and falls once over the run.
        tower_rate: that of towers.
        drop: share of the items of a step that lose vectors though they are known: a third of them
            the text's, a third the picture's, a third both.
    """

    epochs: int
    rows: int = 64
    rate: float = 2e-3
    tower_rate: float = 2e-3
    drop: float = 0.3


@dataclass(frozen=True)
class Losses:
    """Mean of -log P(clicks) over impressions, after an epoch."""

    training: float
    heldout: float


def make_arm(
    content: Content, training: Cells, catalogue: Items, *, items: bool = False, seed: int
) -> Arm:
    """Return an untrained arm.

    Args:
        content: where its vectors come from.
        training: cells that it will be trained on: the base rate and the axes are of them.
        catalogue: whose items.
        items: whether the head knows items by number.
        seed: of the head's first weights.
    """
    torch.manual_seed(seed)
    seen = torch.from_numpy(np.unique(training.item))
    with torch.no_grad():
        text, image = content.vectors(seen)
    rate = (training.clicks.sum() + 1) / (training.impressions.sum() + 2)
    shape = HeadShape(
        categories=int(catalogue.category.max()) + 1,
        advertisers=int(catalogue.advertiser.max()) + 1,
        text_dimension=0 if text is None else text.shape[1],
        image_dimension=0 if image is None else image.shape[1],
        items=len(catalogue) if items else 0,
        base=float(np.log(rate / (1 - rate))),
    )
    head = Head(shape)
    number = torch.zeros(len(catalogue), dtype=torch.int64)
    number[seen] = seen + 1
    for axes, vectors, oov in (
        (head.text, text, content.text_oov),
        (head.image, image, content.image_oov),
    ):
        if axes is not None and vectors is not None and oov is not None:
            axes.fit(vectors)
            with torch.no_grad():
                oov.copy_(axes.centre)
    return Arm(head, content, number)


def fit(
    arm: Arm,
    training: Cells,
    heldout: Cells,
    catalogue: Items,
    schedule: Schedule,
    *,
    seed: int,
    report: Callable[[int, Losses], None] = lambda epoch, losses: None,
) -> list[Losses]:
    """Train an arm; returns the losses of each epoch. What is held out is looked at, not used.

    Args:
        arm: changed in place.
        training: cells to train on.
        heldout: cells to look at.
        catalogue: whose items.
        schedule: how.
        seed: of order and dropping: arms of one seed see the same batches.
        report: told each epoch's losses.
    """
    rng, torch_rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    items = np.unique(training.item)
    steps = math.ceil(len(items) / schedule.rows)
    usual = float(training.impressions.sum()) / steps
    optimiser, groups = _optimiser(arm, schedule)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, groups, total_steps=schedule.epochs * steps, pct_start=0.2
    )
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    losses = []
    for epoch in range(schedule.epochs):
        arm.head.train()
        arm.content.train()
        total = 0.0
        for rows in np.array_split(rng.permutation(items), steps):
            part, row = of_items(training, rows)
            mixture = mixture_of(arm, catalogue, (part, row, rows), _dropping(schedule, torch_rng))
            loss = -mixture.log_likelihood(*_counts(part)).sum()
            optimiser.zero_grad()
            (loss / usual).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimiser.step()
            scheduler.step()
            total += loss.item()
        losses.append(
            Losses(total / float(training.impressions.sum()), _loss(arm, heldout, catalogue))
        )
        report(epoch, losses[-1])
    _keep_oov(arm)
    return losses


def _dropping(schedule: Schedule, rng: torch.Generator) -> Drop:
    def drop(rows: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(len(rows), generator=rng) * 3 / max(schedule.drop, 1e-9)
        return (drawn < 1) | ((drawn >= 2) & (drawn < 3)), (drawn >= 1) & (drawn < 3)

    return drop


def _loss(arm: Arm, cells: Cells, catalogue: Items) -> float:
    total = sum(
        -mixture.log_likelihood(*_counts(part)).sum().item()
        for _, part, mixture in mixtures(arm, cells, catalogue, "none")
    )
    return total / float(cells.impressions.sum())


def _counts(part: Cells) -> tuple[Tensor, Tensor]:
    clicks = torch.from_numpy(part.clicks.astype(np.float32))
    return clicks, torch.from_numpy(part.impressions.astype(np.float32))


def _optimiser(arm: Arm, schedule: Schedule) -> tuple[torch.optim.Optimizer, list[float]]:
    """Return the optimiser, and the highest rate of each of its groups."""
    groups: list[dict[str, object]] = [
        {"params": list(arm.head.parameters()), "weight_decay": _DECAY}
    ]
    rates = [schedule.rate]
    if towers := arm.content.towers():
        groups.append({"params": towers, "weight_decay": 0.0})
        rates.append(schedule.tower_rate)
    for oov, axes in (
        (arm.content.text_oov, arm.head.text),
        (arm.content.image_oov, arm.head.image),
    ):
        if oov is not None and axes is not None:
            # Adam's steps are as long whatever the gradient, and a vector's scale is the encoder's.
            groups.append({"params": [oov], "weight_decay": 0.0})
            rates.append(_OOV_RATE * axes.shortest_step())
    return torch.optim.AdamW(groups, lr=schedule.rate), rates


def _keep_oov(arm: Arm) -> None:
    with torch.no_grad():
        if arm.content.text_oov is not None:
            arm.head.text_oov.copy_(arm.content.text_oov)
        if arm.content.image_oov is not None:
            arm.head.image_oov.copy_(arm.content.image_oov)
