"""The consumer's loop: take, skip what is in hand or in the archive, prepare, embed, deliver.

Texts of one model travel in batches; images one by one, since Triton's batcher joins them. A
request that failed before travels alone, so that it cannot take others with it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from consumers.deliver import Deliverer
from consumers.fetch_pool import FetchPool
from consumers.flights import Flights
from consumers.gate import Gate
from consumers.in_flight import InFlight
from consumers.inputs.fetch import Fetcher
from consumers.inputs.image import inspect
from embark.archive import LATE, Answer, Archive
from embark.codec import Embedding, Failure
from embark.errors import (
    ArchiveUnavailable,
    InputFailure,
    PermanentFailure,
    QueueUnavailable,
    RetinaUnavailable,
    TemporaryFailure,
)
from embark.inputs import InputKind, image_input
from embark.keys import Key, digest
from embark.log import Seldom, logger
from embark.metrics import ARCHIVE_ERRORS
from embark.models import Catalogue, Model
from embark.queue.base import Delivery, Lane, Queue
from embark.retina import Retina
from embark.settings import Settings

_POLL_SECONDS = 0.02
_TROUBLE_SECONDS = 1.0
_ARCHIVE_SECONDS = 5.0
_DRAIN_SECONDS = 20.0

_log = logger(__name__)


class Worker:
    """One consumer process.

    Args:
        catalogue: the models.
        archive: where vectors go.
        queue: where requests come from.
        retina: who computes.
        settings: all bounds.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        archive: Archive,
        queue: Queue,
        retina: Retina,
        settings: Settings,
    ) -> None:
        self._catalogue: Final = catalogue
        self._archive: Final = archive
        self._queue: Final = queue
        self._retina: Final = retina
        self._settings: Final = settings
        self._in_flight: Final = InFlight(queue, settings.consumer, settings.queue.lease_seconds)
        self._flights: Final = Flights()
        self._deliverer: Final = Deliverer(archive, queue, self._in_flight, self._flights, settings)
        self._gate: Final = Gate(retina)
        self._seldom = Seldom()
        self._fetcher: Final = Fetcher(settings.consumer.fetch, settings.inputs)
        self._fetches: Final = FetchPool(settings.consumer.fetch)
        self._inferences: Final = {
            lane: ThreadPoolExecutor(settings.consumer.inferences, f"embed-{lane.value}")
            for lane in Lane
        }

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish what was taken, or give it back."""
        try:
            while not stop.is_set():
                try:
                    taken = sum(self._take(lane) for lane in Lane)
                except QueueUnavailable as error:
                    _log.error("queue_unavailable", reason=error.message)
                    stop.wait(_TROUBLE_SECONDS)
                    continue
                if not taken:
                    self._in_flight.wait_for_change(_POLL_SECONDS)
        finally:
            self._drain()

    def _take(self, lane: Lane) -> int:
        most, most_bytes = self._in_flight.room(lane)
        if most <= 0:
            return 0
        deliveries = self._queue.take(lane, most, most_bytes)
        self._in_flight.add(deliveries)
        by_model: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_model.setdefault(delivery.request.key.model, []).append(delivery)
        for name, group in by_model.items():
            self._guarded(None, group, partial(self._start, name, group))
        return len(deliveries)

    def _start(self, name: str, deliveries: Sequence[Delivery]) -> None:
        model = dict(self._catalogue).get(name)
        live, stale = _split(
            deliveries, lambda one: model and one.request.key.generation == model.generation
        )
        for delivery in stale:
            reason = f"no exported model serves {delivery.request.key}"
            failure = TemporaryFailure(reason, code="unknown_generation")
            self._deliverer.failed(None, delivery, failure)
        leading = [one for one in live if self._flights.lead(one, one.request.key)]
        if model is not None and leading:
            self._prepare(model, self._unknown(model, leading))

    def _unknown(self, model: Model, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries whose records the archive lacks; end the others."""
        digests = [delivery.request.key.digest for delivery in deliveries]
        try:
            found = self._archive.get_many(model, digests, _ARCHIVE_SECONDS)
        except ArchiveUnavailable as error:
            ARCHIVE_ERRORS.labels(operation="read").inc()
            if self._seldom.due():
                _log.error("archive_unavailable", items=len(digests), reason=error.message)
            self._deliverer.deferred(deliveries, _TROUBLE_SECONDS)
            return []
        records = dict(zip(digests, found, strict=True))
        late, seen = _split(deliveries, lambda one: records[one.request.key.digest] is LATE)
        known, unknown = _split(seen, lambda one: _ends(records[one.request.key.digest], one))
        if late:
            self._deliverer.deferred(late, _TROUBLE_SECONDS)
        if known:
            self._deliverer.known(known)
        return unknown

    def _prepare(self, model: Model, deliveries: Sequence[Delivery]) -> None:
        urls, rest = _split(deliveries, lambda one: one.request.item.kind is InputKind.IMAGE_URL)
        refused = [delivery for delivery in urls if not self._submit_fetch(model, delivery)]
        if refused:
            self._deliverer.deferred(refused, _TROUBLE_SECONDS)
        largest = min(self._settings.consumer.text_batch, model.facts.max_batch_size)
        for batch in _batches(rest, largest):
            pool = self._inferences[batch[0].request.lane]
            pool.submit(self._guarded, model, batch, partial(self._embed, model, batch))

    def _submit_fetch(self, model: Model, delivery: Delivery) -> bool:
        url = delivery.request.item.payload.decode("ascii")

        def fetch() -> None:
            image = self._fetcher.fetch(url)
            if self._is_first(model, delivery, image):
                self._embed_payloads(model, [delivery], [image])

        host = urlsplit(url).netloc
        return self._fetches.submit(host, lambda: self._guarded(model, [delivery], fetch))

    def _is_first(self, model: Model, delivery: Delivery, image: bytes) -> bool:
        """Whether a fetched image must be embedded: no other request has, or is about to."""
        content = Key(model.name, model.generation, digest(image_input(image)))
        if not self._flights.lead(delivery, content):
            return False  # it ends with the one it follows
        try:
            (found,) = self._archive.get_many(model, [content.digest], _ARCHIVE_SECONDS)
        except ArchiveUnavailable:
            return True  # one inference too many does no harm
        if not isinstance(found, Embedding):
            return True
        self._deliverer.embedded(model, [delivery], found.vector[np.newaxis], outcome="known")
        return False

    def _embed(self, model: Model, batch: Sequence[Delivery]) -> None:
        self._embed_payloads(model, batch, [one.request.item.payload for one in batch])

    def _embed_payloads(
        self, model: Model, batch: Sequence[Delivery], payloads: Sequence[bytes]
    ) -> None:
        """Have Retina embed a batch of one lane, and deliver."""
        if batch[0].request.item.kind is not InputKind.TEXT:
            inspect(payloads[0], self._settings.inputs)
        if not self._gate.pass_through():
            return
        try:
            vectors = self._retina.embed(model, payloads, batch[0].request.lane)
        except PermanentFailure:
            if len(batch) == 1:
                raise
            for delivery in batch:
                self._guarded(model, [delivery], partial(self._embed, model, [delivery]))
        except RetinaUnavailable as error:
            _log.warning("retina_unavailable", items=len(batch), reason=error.message)
            self._gate.suspect()
            self._deliverer.deferred(batch, _TROUBLE_SECONDS)
        except TemporaryFailure:
            self._gate.suspect()
            raise
        else:
            self._deliverer.embedded(model, batch, vectors)

    def _guarded(
        self, model: Model | None, deliveries: Sequence[Delivery], task: Callable[[], None]
    ) -> None:
        """Run a task that ends deliveries; a failure ends them too."""
        try:
            task()
        except InputFailure as error:
            failure: InputFailure = error
        except Exception:
            # A bug must not take the consumer down, nor be retried without an end.
            _log.exception("unexpected_error", keys=[str(one.request.key) for one in deliveries])
            failure = TemporaryFailure("an unexpected error in the consumer", code="internal")
        else:
            return
        for delivery in deliveries:
            self._deliverer.failed(model, delivery, failure)

    def _drain(self) -> None:
        if not self._in_flight.wait_until_empty(_DRAIN_SECONDS):
            held = self._in_flight.held()
            _log.warning("given_back", items=len(held))
            self._deliverer.deferred(held, 0)
        self._gate.close()
        for pool in self._inferences.values():
            pool.shutdown(cancel_futures=True)
        self._fetches.close()
        self._in_flight.close()


def _ends(record: Answer, delivery: Delivery) -> bool:
    """Whether a record in the archive ends a delivery.

    A failure does if it came after the request was queued: one that is queued again, as a dead
    letter is, shall be tried again.
    """
    if isinstance(record, Failure):
        return record.written_ms >= delivery.queued_at * 1000
    return isinstance(record, Embedding)


def _split(
    deliveries: Sequence[Delivery], condition: Callable[[Delivery], object]
) -> tuple[list[Delivery], list[Delivery]]:
    """Return the deliveries for which `condition` holds, and the others."""
    chosen: list[Delivery] = []
    others: list[Delivery] = []
    for delivery in deliveries:
        (chosen if condition(delivery) else others).append(delivery)
    return chosen, others


def _batches(deliveries: Sequence[Delivery], largest: int) -> Iterator[list[Delivery]]:
    """Yield batches of texts tried for the first time, and everything else alone."""
    batch: list[Delivery] = []
    for delivery in deliveries:
        if delivery.request.item.kind is not InputKind.TEXT or delivery.attempt > 1:
            yield [delivery]
            continue
        batch.append(delivery)
        if len(batch) == largest:
            yield batch
            batch = []
    if batch:
        yield batch
