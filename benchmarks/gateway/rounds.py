"""Rounds in which everything takes turns, and what is said of them: median, least and most.

A machine that is slow for a while is then slow for all. A ratio is taken within each round, between
the medians of one slice and of another; only then over the rounds. Not for sending requests: that
is `clients`.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slice:
    """What one subject did in one round.

    Attributes:
        p50_ms, p99_ms: of a request, milliseconds.
        per_s: requests in a second, of all clients together.
        count: requests that ended.
    """

    p50_ms: float
    p99_ms: float
    per_s: float
    count: int


@dataclass(frozen=True)
class Spread:
    """A figure over rounds."""

    median: float
    least: float
    most: float


def slice_of(clients: Sequence[Sequence[float]]) -> Slice:
    """Return what clients saw, each a list of seconds, one a request, one after another."""
    took = sorted(second for client in clients for second in client)
    if not took:
        raise ValueError("no request ended")
    p99 = took[min(len(took) - 1, round(0.99 * (len(took) - 1)))]
    per_s = sum(len(client) / sum(client) for client in clients if client)
    return Slice(1000 * statistics.median(took), 1000 * p99, per_s, len(took))


def spread(values: Iterable[float]) -> Spread:
    """Return the median of some values, their least and their most."""
    some = list(values)
    return Spread(statistics.median(some), min(some), max(some))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the ratios in each round."""
    return spread(one / other for one, other in zip(above, below, strict=True))


def alternate(
    names: Sequence[str], rounds: int, take: Callable[[str, int], Slice | None], seed: int = 0
) -> dict[str, list[Slice]]:
    """Have each subject take its turn in each round, in an order that changes.

    Returns the slices of those that were there in every round.

    Args:
        names: the subjects.
        rounds: how many.
        take: measures a slice of a subject in a round, counted from 0; None if it cannot, which
            ends the subject's turns.
        seed: of the orders.
    """
    rng = random.Random(seed)
    slices: dict[str, list[Slice]] = {name: [] for name in names}
    for number in range(rounds):
        for name in rng.sample(list(slices), len(slices)):
            one = take(name, number)
            if one is None:
                del slices[name]
            else:
                slices[name].append(one)
    return slices
