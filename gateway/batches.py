"""Lookups as arrays: what L1 has is answered without any work for a single key.

For answers in binary. The rest goes the way of every lookup, `gateway.lookup`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from embark.archive import now_ms
from embark.binary import Status
from embark.codec import Embedding
from embark.inputs import Modality
from embark.keys import DIGEST_BYTES
from embark.metrics import LOOKUP_BATCH, LOOKUP_HITS, LOOKUP_ITEMS
from embark.models import Model
from embark.usage import Usage
from gateway.items import Item
from gateway.l1 import L1, Digests
from gateway.l1.arena import Vectors
from gateway.lookup import Lookups, Result

_AS_ONE = f"V{DIGEST_BYTES}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one generation.

    Attributes:
        model: the generation.
        digests: shape (n, 16), contiguous; they may repeat.
        item: returns the item at a position.
    """

    model: Model
    digests: Digests
    item: Callable[[int], Item]


@dataclass(frozen=True, slots=True)
class Batch:
    """The answer.

    Attributes:
        vectors: shape (n, dimension), as they are stored; the out-of-vocabulary vector for what is
            no hit.
        statuses: a `Status` each, shape (n,).
    """

    vectors: Vectors
    statuses: npt.NDArray[np.uint8]


class Batches:
    """Answers lookups in arrays, of one gateway process. Safe for many threads.

    Args:
        lookups: answers what L1 does not have.
        l1: the vectors in memory.
        usage: counts what is asked.
        refresh_s: age from which a vector of an image URL is checked again; 0 for never.
    """

    def __init__(self, lookups: Lookups, l1: L1, usage: Usage, refresh_s: float) -> None:
        self._lookups: Final = lookups
        self._l1: Final = l1
        self._usage: Final = usage
        self._refresh_ms: Final = refresh_s * 1000
        self._known: dict[str, tuple[Counter, Counter]] = {}

    def run(
        self,
        asked: Sequence[Asked],
        on_miss: str,
        wait_ms: int = 0,
        within_s: float | None = None,
    ) -> list[Batch]:
        """Look up; the answers are in the order asked. For the rest see `Lookups.run`."""
        LOOKUP_BATCH.observe(sum(len(one.digests) for one in asked))
        batches: list[Batch] = []
        rest: list[Item] = []
        places: list[tuple[Model, Batch, int]] = []
        for one in asked:
            batch, is_held = self._held(one)
            batches.append(batch)
            if np.count_nonzero(is_held) < len(is_held):
                left = np.flatnonzero(~is_held).tolist()
                rest += [one.item(position) for position in left]
                places += [(one.model, batch, position) for position in left]
        if rest:
            results = self._lookups.answer(rest, on_miss, wait_ms, within_s=within_s)
            for (model, batch, position), result in zip(places, results, strict=True):
                record = result.record
                if isinstance(record, Embedding):
                    batch.vectors[position] = record.vector  # its status is 0, a hit
                else:
                    batch.vectors[position] = model.oov
                    batch.statuses[position] = _status(result)
        return batches

    def from_memory(self, model: Model, digests: Digests) -> Batch | None:
        """Return the answer if L1 has all of it and none is to be checked again, else None."""
        if self._may_be_old(model):
            return None
        held = self._l1.get_many(model, digests)
        if np.count_nonzero(held.found) < len(digests):
            return None
        LOOKUP_BATCH.observe(len(digests))
        self._count(model.name, digests, len(digests))
        return Batch(held.vectors, np.zeros(len(digests), np.uint8))

    def _held(self, one: Asked) -> tuple[Batch, npt.NDArray[np.bool_]]:
        """Return what L1 has, and which positions are answered with it."""
        held = self._l1.get_many(one.model, one.digests)
        is_held = held.found
        if self._may_be_old(one.model):
            is_held = is_held & (held.written_ms >= now_ms() - self._refresh_ms)
        self._count(one.model.name, one.digests, int(np.count_nonzero(is_held)))
        return Batch(held.vectors, np.zeros(len(one.digests), np.uint8)), is_held

    def _may_be_old(self, model: Model) -> bool:
        return self._refresh_ms > 0 and model.facts.modality is Modality.IMAGE

    def _count(self, name: str, digests: Digests, held: int) -> None:
        self._usage.count_inputs(name, lambda: digests.view(_AS_ONE).ravel().tolist())
        if held:
            for metric in self._counters(name):
                metric.inc(held)

    def _counters(self, name: str) -> tuple[Counter, Counter]:
        """Return the metrics of a model's hits; finding them takes longer than counting."""
        found = self._known.get(name)
        if found is None:
            items = LOOKUP_ITEMS.labels(model=name, status="hit")
            found = self._known[name] = (items, LOOKUP_HITS.labels(model=name, tier="l1"))
        return found


def _status(result: Result) -> Status:
    """Return the status of what is no hit."""
    if result.status == "oov":
        return Status.QUEUED if result.queued else Status.OOV
    return Status.FAILED
