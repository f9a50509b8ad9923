"""Which candidate is chosen, from what was measured. Pure: see `sweep` for measuring.

Every finalist is measured in several rounds, alternately, the present settings among them. Of each
concurrency the median of the rounds counts. The present settings stay unless another candidate is
ahead of them in the medians and in every single round: one lucky round chooses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from export.tuning.objective import Measurement, Objective, best, excess
from export.tuning.record import Candidate

# A candidate's measurements, one for each concurrency.
Round = Sequence[Measurement]


@dataclass(frozen=True)
class Choice:
    """The chosen candidate and the concurrency at which it does best, medians of the rounds."""

    candidate: Candidate
    measurement: Measurement


def choose(
    rounds: Mapping[Candidate, Sequence[Round]],
    baseline: Candidate,
    objectives: Sequence[Objective],
) -> Choice | None:
    """Return the choice, None if no finalist meets the objectives.

    Args:
        rounds: of each finalist and of the baseline, equally many each.
        baseline: the present settings.
        objectives: what must be met.
    """
    meeting = {
        candidate: point
        for candidate, measured in rounds.items()
        if (point := best(medians(measured), objectives)) is not None
    }
    standing = meeting.get(baseline)
    ranked = sorted(meeting, key=lambda candidate: meeting[candidate].throughput, reverse=True)
    for candidate in ranked:
        if (
            candidate == baseline
            or standing is None
            or (
                meeting[candidate].throughput > standing.throughput
                and _always_ahead(rounds[candidate], rounds[baseline], objectives)
            )
        ):
            return Choice(candidate, meeting[candidate])
    return None


def shortlist(
    measured: Mapping[Candidate, Round], objectives: Sequence[Objective], count: int
) -> list[Candidate]:
    """Return the `count` best of a first round: first by throughput, then the least excess."""

    def rank(candidate: Candidate) -> tuple[float, float]:
        point = best(measured[candidate], objectives)
        nearest = min(excess(one, objectives) for one in measured[candidate])
        return (0.0 if point is None else -point.throughput, nearest)

    return sorted(measured, key=rank)[:count]


def closest(rounds: Mapping[Candidate, Sequence[Round]], objectives: Sequence[Objective]) -> Choice:
    """Return the finalist and concurrency that miss the objectives by least."""
    points = [
        Choice(candidate, point)
        for candidate, measured in rounds.items()
        for point in medians(measured)
    ]
    return min(points, key=lambda choice: excess(choice.measurement, objectives))


def medians(rounds: Sequence[Round]) -> list[Measurement]:
    """Return, for each concurrency, the median over rounds of every figure."""
    return [
        Measurement(
            concurrency=same[0].concurrency,
            throughput=median(one.throughput for one in same),
            latency_ms=tuple(
                median(values) for values in zip(*(one.latency_ms for one in same), strict=True)
            ),
        )
        for same in zip(*rounds, strict=True)
    ]


def _always_ahead(
    candidate: Sequence[Round], baseline: Sequence[Round], objectives: Sequence[Objective]
) -> bool:
    def reached(measured: Round) -> float:
        point = best(measured, objectives)
        return 0.0 if point is None else point.throughput

    return all(
        reached(ours) > reached(theirs) for ours, theirs in zip(candidate, baseline, strict=True)
    )
