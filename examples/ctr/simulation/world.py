"""Traffic to simulate: a catalogue with a wished rate of new items, and impressions of it.

New items look like items of the trained catalogue, drawn at random: another identity, so another
input, with a vector that is known already. So any rate can be simulated without running an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from embark.fit import Trace
from examples.ctr import impressions as traffic
from examples.ctr.catalogue import Catalogue
from examples.ctr.impressions import Impressions

HOUR_S = 3600.0

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class World:
    """Simulated traffic.

    Attributes:
        impressions: sorted by time, from 0 on.
        looks_like: shape (items,), the item of the trained catalogue that each one looks like.
        arrival_s: shape (items,), ascending; 0 for those that are there at the start.
        hours: how long it is.
        new_share: new items for each impression.
    """

    impressions: Impressions
    looks_like: npt.NDArray[np.int64]
    arrival_s: npt.NDArray[np.float64]
    hours: float
    new_share: float

    @property
    def trace(self) -> Trace:
        """The same as requests for inputs: an item's text, or its picture."""
        return Trace(
            self.impressions.time_s, self.impressions.item, len(self.looks_like), mean_bytes=0.0
        )

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which items are there at the start, shape (items,)."""
        return self.arrival_s <= 0


def make_world(
    trained: Catalogue, impressions: int, hours: float, new_share: float, seed: int
) -> World:
    """Return random traffic.

    Args:
        trained: all its items are there at the start.
        impressions: how many, spread evenly.
        hours: the time they take.
        new_share: new items for each impression; they arrive evenly.
        seed: the same traffic for the same arguments.
    """
    rng = np.random.default_rng([seed, 5])
    new = round(new_share * impressions)
    # Popularity goes by the item's number: another seed makes other looks popular.
    there = rng.permutation(len(trained))
    looks_like = np.concatenate([there, rng.integers(len(trained), size=new)])
    arrival_s = np.concatenate(
        [np.zeros(len(trained)), np.sort(rng.uniform(0, hours * HOUR_S, new))]
    )
    catalogue = replace(_rows(trained, looks_like), arrival_s=arrival_s)
    shown = traffic.generate(catalogue, impressions, hours / 24, seed)
    return World(shown, looks_like, arrival_s, hours, new_share)


def _rows(part: _Part, index: npt.NDArray[np.int64]) -> _Part:
    """Return a dataclass of arrays, nested ones included, with these rows."""
    changed: dict[str, Any] = {}
    for field in fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray):
            changed[field.name] = value[index]
        elif is_dataclass(value):
            changed[field.name] = _rows(value, index)
    return replace(part, **changed)  # type: ignore[type-var]
