"""The way of a request for neighbours: items → their vectors → an index → the nearest, named.

Searches are dear, so that only so many run at once in a process; more are turned away, and lookups
never wait for them. Not for finding the nearest: that is `embark.neighbours`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from embark.archive import Archive
from embark.codec import Embedding
from embark.errors import DeadlineExceeded, EmbArkError, NotFound, Unavailable
from embark.inputs import InputKind
from embark.keys import Key
from embark.metrics import NEIGHBOURS, NEIGHBOURS_ERRORS
from embark.models import Catalogue, Model
from embark.neighbours.base import Matrix, Near, Neighbours
from embark.neighbours.exact import exact_nearest
from embark.settings import Settings
from embark.sources import Source, Sources
from embark.store.ledger import Ledger
from gateway.items import Item
from gateway.lookup import Lookups, Result
from gateway.turns import aside


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every item of a request.

    Attributes:
        k: how many of the nearest.
        minimum: cosine below which a record is not near.
        exact: compare with every vector.
        generation: whose vectors are compared; None for the live one's.
        on_miss: as for a lookup.
        wait_ms: as for a lookup.
        within_s: how long anybody waits for the answer, None for as long as it takes.
    """

    k: int
    minimum: float
    exact: bool
    generation: str | None
    on_miss: str
    wait_ms: int
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A record that is near an item.

    Attributes:
        key: its key.
        cosine: from -1 to 1.
        source: where it came from, None if that is not remembered.
    """

    key: Key
    cosine: float
    source: Source | None


class NearItems:
    """Answers requests for neighbours of one gateway process. Safe for many threads.

    Args:
        lookups: gives the items' own vectors.
        archive: where vectors are.
        neighbours: finds the nearest.
        ledger: where sources are.
        settings: bounds, and of which models neighbours are kept.
    """

    def __init__(
        self,
        lookups: Lookups,
        archive: Archive,
        neighbours: Neighbours,
        ledger: Ledger,
        settings: Settings,
    ) -> None:
        self._lookups: Final = lookups
        self._archive: Final = archive
        self._neighbours: Final = neighbours
        self._sources: Final = Sources(ledger)
        self._kept: Final = settings.archive.neighbours
        self._bounds: Final = settings.gateway.neighbours
        self._searches: Final = {
            False: threading.BoundedSemaphore(self._bounds.max_searches),
            True: threading.BoundedSemaphore(max(1, self._bounds.max_exact)),
        }

    def run(
        self, catalogue: Catalogue, items: Sequence[Item], asked: Question
    ) -> list[tuple[Result, list[Neighbour]]]:
        """Return each item's lookup, and if that is a hit its neighbours, the item itself left out.

        Args:
            catalogue: the models.
            items: may repeat and mix models.
            asked: what.

        Raises:
            NotFound: neighbours of a model are not kept, or a generation is not served.
            Unavailable: too many searches run now, or the index or the archive does not answer.
            DeadlineExceeded: not all could be searched within the time that is given.
        """
        ends = math.inf if asked.within_s is None else time.monotonic() + asked.within_s
        items = [self._of_generation(catalogue, item, asked.generation) for item in items]
        results = self._lookups.run(items, asked.on_miss, asked.wait_ms, within_s=asked.within_s)
        by_model: dict[tuple[str, str], list[int]] = {}
        for position, result in enumerate(results):
            if isinstance(result.record, Embedding):
                model = result.item.model
                by_model.setdefault((model.name, model.generation), []).append(position)
        found: dict[int, list[Neighbour]] = {}
        try:
            for positions in by_model.values():
                near = self._of_model([results[position] for position in positions], asked, ends)
                found.update(zip(positions, near, strict=True))
        except EmbArkError as error:
            NEIGHBOURS_ERRORS.labels(reason=error.code).inc()
            raise
        return [(result, found.get(position, [])) for position, result in enumerate(results)]

    def _of_generation(self, catalogue: Catalogue, item: Item, generation: str | None) -> Item:
        name = item.model.name
        if not self._kept.keeps(name):
            raise NotFound(
                f"neighbours of {name} are not kept; archive.neighbours.models names those that"
                " are",
                code="neighbours_off",
            )
        if generation is None or generation == item.model.generation:
            return item
        model = catalogue.generation(name, generation)
        return replace(item, model=model, key=Key(name, generation, item.key.digest))

    def _of_model(
        self, results: Sequence[Result], asked: Question, ends: float
    ) -> list[list[Neighbour]]:
        model = results[0].item.model
        queries = np.stack(
            [
                np.asarray(result.record.vector, np.float32)
                for result in results
                if isinstance(result.record, Embedding)
            ]
        )
        exact = asked.exact
        with self._slot(exact=exact), self._timed(model, exact=exact), aside():
            # One more, since each is its own nearest.
            nearest = self._search_until(ends, model, queries, asked.k + 1, exact=exact)
        kept = [
            [
                near
                for near in some
                if near.digest != result.item.key.digest and near.cosine >= asked.minimum
            ][: asked.k]
            for result, some in zip(results, nearest, strict=True)
        ]
        sources = self._sources_of(model, kept)
        return [
            [
                Neighbour(
                    Key(model.name, model.generation, near.digest),
                    near.cosine,
                    sources.get(near.digest),
                )
                for near in some
            ]
            for some in kept
        ]

    def _search_until(
        self, ends: float, model: Model, queries: Matrix, k: int, *, exact: bool
    ) -> list[list[Near]]:
        bounds = self._bounds
        most_s = bounds.exact_timeout_seconds if exact else bounds.timeout_ms / 1000
        limit_s = min(most_s, ends - time.monotonic())
        try:
            if limit_s > 0:
                return self._search(model, queries, k, limit_s, exact=exact)
        except Unavailable:
            if time.monotonic() < ends:
                raise
        raise DeadlineExceeded("the search did not end in the time that X-Request-Timeout-Ms gives")

    def _search(
        self, model: Model, queries: Matrix, k: int, limit_s: float, *, exact: bool
    ) -> list[list[Near]]:
        if exact:
            return exact_nearest(self._archive, model, queries, k, limit_s)
        return self._neighbours.nearest(model, queries, k, limit_s)

    def _sources_of(
        self, model: Model, nearest: Sequence[Sequence[Near]]
    ) -> dict[bytes, Source | None]:
        """Return sources by digest; without the ledger there are none, and the rest is answered."""
        digests = list(dict.fromkeys(near.digest for some in nearest for near in some))
        try:
            return dict(zip(digests, self._sources.get_many(model.name, digests), strict=True))
        except Unavailable:
            NEIGHBOURS_ERRORS.labels(reason="sources").inc()
            return {}

    @contextmanager
    def _slot(self, *, exact: bool) -> Iterator[None]:
        allowed = not exact or self._bounds.max_exact > 0
        if not allowed or not self._searches[exact].acquire(blocking=False):
            kind = "exact searches" if exact else "searches for neighbours"
            raise Unavailable(
                f"as many {kind} as this process allows run already", code="neighbours_busy"
            )
        try:
            yield
        finally:
            self._searches[exact].release()

    @contextmanager
    def _timed(self, model: Model, *, exact: bool) -> Iterator[None]:
        started = time.perf_counter()
        yield
        mode = "exact" if exact else "index"
        NEIGHBOURS.labels(model=model.name, mode=mode).observe(time.perf_counter() - started)


def content_of(neighbour: Neighbour) -> dict[str, str]:
    """Return a neighbour's text or URL as a field of the answer; nothing if it has none."""
    source = neighbour.source
    if source is None or source.payload is None or source.kind is InputKind.IMAGE:
        return {}
    return {source.kind.value: source.payload.decode("utf-8")}
