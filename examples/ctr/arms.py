"""The comparison: the same split, seeds and batches, with content from different places."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from examples.ctr.catalogue import Items
from examples.ctr.cells import Split
from examples.ctr.content import Content
from examples.ctr.predicting import Arm, Missing, Predicted, predict
from examples.ctr.training import Losses, Schedule, fit, make_arm


@dataclass(frozen=True)
class Entry:
    """What is compared.

    Attributes:
        content: makes the content anew, untrained.
        schedule: how to train it.
        items: whether the head knows items by number.
    """

    content: Callable[[], Content]
    schedule: Schedule
    items: bool = False


@dataclass(frozen=True)
class Outcome:
    """One training run and what it says of the held-out cells.

    Attributes:
        name: of the arm.
        seed: of the run.
        seconds: training and predicting.
        losses: after each epoch.
        predicted: by what was taken for missing.
    """

    name: str
    seed: int
    seconds: float
    losses: Sequence[Losses]
    predicted: Mapping[Missing, Predicted]


def compete(
    entries: Mapping[str, Entry],
    split: Split,
    catalogue: Items,
    seeds: Sequence[int],
    report: Callable[[Outcome], None],
) -> tuple[list[Outcome], dict[str, Arm]]:
    """Train every entry with every seed.

    Returns:
        All outcomes, and the arms of the first seed by name.
    """
    outcomes: list[Outcome] = []
    arms: dict[str, Arm] = {}
    for seed in seeds:
        for name, entry in entries.items():
            started = time.perf_counter()
            content = entry.content()
            arm = make_arm(content, split.training, catalogue, items=entry.items, seed=seed)
            losses = fit(arm, split.training, split.heldout, catalogue, entry.schedule, seed=seed)
            predicted: dict[Missing, Predicted] = {"none": predict(arm, split.heldout, catalogue)}
            if content.text_oov is not None:
                for missing in ("learned", "zero"):
                    predicted[missing] = predict(arm, split.heldout, catalogue, missing)
            seconds = time.perf_counter() - started
            outcomes.append(Outcome(name, seed, seconds, losses, predicted))
            arms.setdefault(name, arm)
            report(outcomes[-1])
    return outcomes, arms
