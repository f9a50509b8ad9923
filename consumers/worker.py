"""The consumer's loop: take, skip what is in hand or in the archive, prepare, embed, deliver.

Texts of one model travel in batches; images one by one, since Triton's batcher joins them. A
request that failed before travels alone, so that it cannot take others with it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.gate import Gate
from consumers.image_urls import ImageUrls
from consumers.in_flight import InFlight
from consumers.inputs.image import inspect
from embark import tracing
from embark.archive import LATE, Answer, Archive, now_ms
from embark.backends import Backends
from embark.codec import Embedding, Failure
from embark.errors import (
    ArchiveUnavailable,
    InputFailure,
    PermanentFailure,
    QueueUnavailable,
    RetinaUnavailable,
    TemporaryFailure,
)
from embark.following import Following
from embark.inputs import InputKind
from embark.log import Seldom, logger
from embark.metrics import ARCHIVE_ERRORS
from embark.models import Model
from embark.queue.base import Delivery, Lane
from embark.queue.traced import contexts
from embark.retina import NOT_LOADED, Retina
from embark.settings import Settings
from embark.sources import NOTHING_SAID, Validators

_POLL_SECONDS = 0.02
_TROUBLE_SECONDS = 1.0
_ARCHIVE_SECONDS = 5.0
_DRAIN_SECONDS = 20.0
# A model repository may come later to a consumer than to a gateway.
_EXPECTED_SECONDS = 60.0

_log = logger(__name__)


class Worker:
    """One consumer process.

    Args:
        following: the models, as they are now.
        backends: where vectors go and requests come from.
        retina: who computes.
        settings: all bounds.
    """

    def __init__(
        self,
        following: Following,
        backends: Backends,
        retina: Retina,
        settings: Settings,
    ) -> None:
        self._following: Final = following
        self._archive: Final = Archive(backends.store)
        self._queue: Final = backends.queue
        self._retina: Final = retina
        self._settings: Final = settings
        self._in_flight: Final = InFlight(
            backends.queue, settings.consumer, settings.queue.lease_seconds
        )
        self._flights: Final = Flights()
        self._deliverer: Final = Deliverer(backends, self._in_flight, self._flights, settings)
        self._gate: Final = Gate(retina)
        self._seldom = Seldom()
        self._urls: Final = ImageUrls(
            backends, self._flights, self._deliverer, settings, embed=self._embed_image
        )
        self._refresh_ms: Final = settings.inputs.refresh_url_seconds * 1000
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
        by_model: dict[tuple[str, str], list[Delivery]] = {}
        for delivery in deliveries:
            key = delivery.request.key
            by_model.setdefault((key.model, key.generation), []).append(delivery)
        for (name, generation), group in by_model.items():
            self._guarded(None, group, partial(self._start, name, generation, group))
        return len(deliveries)

    def _start(self, name: str, generation: str, deliveries: Sequence[Delivery]) -> None:
        model = self._following.current.served(name, generation)
        if model is not None:
            leading = [one for one in deliveries if self._flights.lead(one, one.request.key)]
            if leading:
                self._prepare(model, leading)
        elif self._following.is_retired(name, generation):
            self._deliverer.retired(deliveries)
        else:
            self._unserved(deliveries)

    def _unserved(self, deliveries: Sequence[Delivery]) -> None:
        """Wait for a generation that gateways know already; in the end, give its requests up."""
        soon, never = _split(
            deliveries, lambda one: now_ms() / 1000 - one.queued_at < _EXPECTED_SECONDS
        )
        self._deliverer.deferred(soon, _TROUBLE_SECONDS)
        for delivery in never:
            reason = f"no exported model serves {delivery.request.key}"
            failure = TemporaryFailure(reason, code="unknown_generation")
            self._deliverer.failed(None, delivery, failure)

    def _prepare(self, model: Model, deliveries: Sequence[Delivery]) -> None:
        records = self._records(model, deliveries)
        known, unknown = _split(
            (one for one in deliveries if one.request.key.digest in records),
            lambda one: _ends(records[one.request.key.digest], one, self._oldest_ms()),
        )
        self._deliverer.known(known)
        urls, rest = _split(unknown, lambda one: one.request.item.kind is InputKind.IMAGE_URL)
        refused = [
            one for one in urls if not self._submit_url(model, one, records[one.request.key.digest])
        ]
        self._deliverer.deferred(refused, _TROUBLE_SECONDS)
        largest = min(self._settings.consumer.text_batch, model.facts.max_batch_size)
        for batch in _batches(rest, largest):
            pool = self._inferences[batch[0].request.lane]
            pool.submit(self._guarded, model, batch, partial(self._embed, model, batch))

    def _records(self, model: Model, deliveries: Sequence[Delivery]) -> dict[bytes, Answer]:
        """Return what the archive holds, by digest; deliveries of which it cannot say wait."""
        digests = [delivery.request.key.digest for delivery in deliveries]
        try:
            found = self._archive.get_many(model, digests, _ARCHIVE_SECONDS)
        except ArchiveUnavailable as error:
            ARCHIVE_ERRORS.labels(operation="read").inc()
            if self._seldom.due():
                _log.error("archive_unavailable", items=len(digests), reason=error.message)
            found = [LATE] * len(digests)
        records = {one: record for one, record in zip(digests, found, strict=True)}
        late = [one for one in deliveries if records[one.request.key.digest] is LATE]
        self._deliverer.deferred(late, _TROUBLE_SECONDS)
        return {name: record for name, record in records.items() if record is not LATE}

    def _oldest_ms(self) -> float:
        """Vectors of image URLs written before this are to be checked, milliseconds since 1970."""
        return now_ms() - self._refresh_ms if self._refresh_ms else 0

    def _submit_url(self, model: Model, delivery: Delivery, record: Answer) -> bool:
        aged = record if isinstance(record, Embedding) else None
        guard = partial(self._guarded, model, [delivery])
        return self._urls.submit(model, delivery, aged, guard)

    def _embed(self, model: Model, batch: Sequence[Delivery]) -> None:
        self._embed_payloads(model, batch, [one.request.item.payload for one in batch])

    def _embed_image(
        self, model: Model, delivery: Delivery, image: bytes, validators: Validators
    ) -> None:
        self._embed_payloads(model, [delivery], [image], validators)

    def _embed_payloads(
        self,
        model: Model,
        batch: Sequence[Delivery],
        payloads: Sequence[bytes],
        validators: Validators = NOTHING_SAID,
    ) -> None:
        """Have Retina embed a batch of one lane, and deliver."""
        if batch[0].request.item.kind is not InputKind.TEXT:
            inspect(payloads[0], self._settings.inputs)
        if not self._gate.pass_through():
            return
        try:
            with tracing.step(
                "infer",
                contexts(batch),
                kind="client",
                attributes={
                    "embark.model": model.name,
                    "embark.generation": model.generation,
                    "embark.items": len(batch),
                },
            ):
                vectors = self._retina.embed(model, payloads, batch[0].request.lane)
        except PermanentFailure:
            if len(batch) == 1:
                raise
            for delivery in batch:
                self._guarded(model, [delivery], partial(self._embed, model, [delivery]))
        except RetinaUnavailable as error:
            _log.warning("retina_unavailable", items=len(batch), reason=error.message)
            if error.code != NOT_LOADED:  # others are served meanwhile
                self._gate.suspect()
            self._deliverer.deferred(batch, _TROUBLE_SECONDS)
        except TemporaryFailure:
            self._gate.suspect()
            raise
        else:
            self._deliverer.embedded(model, batch, vectors, validators=validators)

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
        self._urls.close()
        self._in_flight.close()


def _ends(record: Answer, delivery: Delivery, oldest_ms: float) -> bool:
    """Whether a record in the archive ends a delivery.

    A failure does if it came after the request was queued: one that is queued again, as a dead
    letter is, shall be tried again. A vector does, but for one of an image URL that is too old.
    """
    if isinstance(record, Failure):
        return record.written_ms >= delivery.queued_at * 1000
    if not isinstance(record, Embedding):
        return False
    is_url = delivery.request.item.kind is InputKind.IMAGE_URL
    return not is_url or record.written_ms >= oldest_ms


def _split(
    deliveries: Iterable[Delivery], condition: Callable[[Delivery], object]
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
