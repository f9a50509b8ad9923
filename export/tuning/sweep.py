"""The order of measuring: every candidate once, then the best few in alternated rounds.

What measures is given, so that this is only the order; what is chosen is in `choosing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from export.tuning.choosing import Choice, Round, choose, closest, shortlist
from export.tuning.objective import Objective
from export.tuning.record import Candidate

FINALISTS = 3

Measure = Callable[[Candidate], Round]


@dataclass(frozen=True)
class Sweep:
    """What was measured, and what follows.

    Attributes:
        first: one round of every candidate; empty where all of them were finalists.
        rounds: of each finalist and of the baseline.
        choice: None if none meets the objectives.
        closest: the finalist that misses them by least, if none meets them.
    """

    first: Mapping[Candidate, Round]
    rounds: Mapping[Candidate, Sequence[Round]]
    choice: Choice | None
    closest: Choice


def loads(candidates: Sequence[Candidate], rounds: int) -> int:
    """Return how many times a sweep starts a Triton, at most."""
    first = len(candidates) if len(candidates) > FINALISTS else 0
    return first + rounds * (1 + min(FINALISTS, len(candidates)))


def sweep(
    measure: Measure,
    baseline: Candidate,
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    rounds: int,
) -> Sweep:
    """Measure and choose.

    Args:
        measure: returns one round of a candidate.
        baseline: the present settings, measured in every round.
        candidates: what is tried besides.
        objectives: what must be met.
        rounds: how often each finalist is measured.
    """
    rivals = [candidate for candidate in candidates if candidate != baseline]
    first = (
        {candidate: measure(candidate) for candidate in rivals} if len(rivals) > FINALISTS else {}
    )
    finalists = shortlist(first, objectives, FINALISTS) if first else rivals
    entrants = [baseline, *finalists]
    measured: dict[Candidate, list[Round]] = {candidate: [] for candidate in entrants}
    for number in range(rounds):
        # The other way round every second time, so that no one is always measured first.
        for candidate in entrants if number % 2 == 0 else reversed(entrants):
            measured[candidate].append(measure(candidate))
    return Sweep(
        first, measured, choose(measured, baseline, objectives), closest(measured, objectives)
    )
