"""What lookups found, in metrics and in the trace of the request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from embark import tracing
from embark.archive import LATE, Answer
from embark.keys import Key
from embark.metrics import LATE_ITEMS, LOOKUP_HITS, LOOKUP_ITEMS

if TYPE_CHECKING:
    from gateway.lookup import Result


def count_results(
    results: Sequence[Result], answers: Mapping[Key, Answer], in_l1: Collection[Key]
) -> None:
    """Count the results of one lookup.

    Args:
        results: one for each item.
        answers: the archive's and memory's, by key.
        in_l1: the keys that memory answered.
    """
    tally: dict[tuple[str, str], int] = {}
    tiers: dict[tuple[str, str], int] = {}
    for result in results:
        key, status = result.item.key, result.status
        tally[key.model, status] = tally.get((key.model, status), 0) + 1
        if status == "hit":
            labels = (key.model, "l1" if key in in_l1 else "archive")
            tiers[labels] = tiers.get(labels, 0) + 1
        elif answers[key] is LATE:
            LATE_ITEMS.labels(model=key.model).inc()
    for (model, status), count in tally.items():
        LOOKUP_ITEMS.labels(model=model, status=status).inc(count)
    for (model, tier), count in tiers.items():
        LOOKUP_HITS.labels(model=model, tier=tier).inc(count)
    if tracing.enabled():
        tracing.note(
            {f"embark.{model}.{status}": count for (model, status), count in tally.items()}
        )
