"""How a request ends: its record in the archive first, then the word to the queue.

Whatever fails half-way leaves the request in the queue, to be delivered again; a second write of
the same record changes nothing. Deliveries that follow another's flight end with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from consumers.backoff import delay_s
from consumers.flights import Flights
from consumers.in_flight import InFlight
from embark import tracing
from embark.archive import Archive, now_ms
from embark.backends import Backends
from embark.codec import Failure, encode_embedding, encode_failure
from embark.errors import ArchiveUnavailable, InputFailure, PermanentFailure, QueueUnavailable
from embark.keys import Key
from embark.log import logger
from embark.metrics import AGE_AT_ARCHIVE, ARCHIVE_ERRORS, CONSUMED, DEAD_LETTERS, FAILURES
from embark.models import Model
from embark.queue.base import Delivery
from embark.queue.traced import contexts
from embark.settings import Settings
from embark.sources import NOTHING_SAID, Source, Sources, Validators

_TROUBLE_SECONDS = 2.0

_log = logger(__name__)


class Deliverer:
    """Ends deliveries. Safe for many threads; never raises for an archive or queue that is down.

    Args:
        backends: where records go, and deliveries came from.
        in_flight: told when a delivery is over.
        flights: who follows whom.
        settings: retry delays, attempts, and how long failures are remembered.
        clock_ms: milliseconds since 1970.
        rng: for jitter.
    """

    def __init__(
        self,
        backends: Backends,
        in_flight: InFlight,
        flights: Flights,
        settings: Settings,
        *,
        clock_ms: Callable[[], int] = now_ms,
        rng: random.Random | None = None,
    ) -> None:
        self._archive = Archive(backends.store)
        self._sources = Sources(backends.ledger, settings.archive.sources)
        self._queue = backends.queue
        self._in_flight = in_flight
        self._flights = flights
        self._settings = settings
        self._clock_ms = clock_ms
        self._rng = rng or random.Random()

    def known(self, deliveries: Sequence[Delivery]) -> None:
        """End deliveries whose records the archive holds already."""
        self._ack(deliveries, "known")
        for delivery in deliveries:
            self._ack(self._flights.land(delivery), "joined")

    def retired(self, deliveries: Sequence[Delivery]) -> None:
        """End deliveries of a generation that is no longer served."""
        self._ack(deliveries, "retired")

    def embedded(
        self,
        model: Model,
        deliveries: Sequence[Delivery],
        vectors: npt.NDArray[np.floating[Any]],
        *,
        outcome: str = "embedded",
        validators: Validators = NOTHING_SAID,
    ) -> None:
        """Write vectors, shape (len(deliveries), dimension), and acknowledge their deliveries.

        Args:
            model: whose vectors they are.
            deliveries: what asked for them; each is written under every key that it leads.
            vectors: float32, or as the archive stores them.
            outcome: as what the deliveries are counted.
            validators: what the server said of an image by URL.
        """
        records: dict[bytes, bytes] = {}
        written: list[tuple[Delivery, npt.NDArray[np.floating[Any]]]] = []
        for delivery, vector in zip(deliveries, vectors, strict=True):
            keys = self._flights.keys(delivery)
            try:
                records.update(self._records(model, keys, vector))
                written.append((delivery, vector))
            except PermanentFailure as failure:
                self.failed(model, delivery, failure)
        ended = [delivery for delivery, _ in written]
        if not self._finish(model, records, ended, outcome, validators):
            return
        for delivery, vector in written:
            followers = self._flights.land(delivery)
            keys = [one.request.key for one in followers]
            records = self._records(model, keys, vector)
            self._finish(model, records, followers, "joined", leader=delivery)

    def failed(self, model: Model | None, delivery: Delivery, failure: InputFailure) -> None:
        """Remember a permanent failure; try a temporary one again, until attempts run out."""
        followers = self._flights.land(delivery)
        if isinstance(failure, PermanentFailure):
            for one in (delivery, *followers):
                self._remember(model, one, failure, self._settings.consumer.failure_seconds)
            return
        if delivery.attempt < self._settings.queue.max_attempts:
            seen_to = self._retry(delivery, failure)
        else:
            seen_to = self._give_up(model, delivery, failure)
        # Of the leader's own key, if its word counted; another key's request stands for itself.
        key = delivery.request.key if seen_to else None
        self._ack([one for one in followers if one.request.key == key], "joined")
        self._defer([one for one in followers if one.request.key != key], 0)

    def deferred(self, deliveries: Sequence[Delivery], delay: float) -> None:
        """Put deliveries back for about `delay` seconds, for no fault of theirs."""
        followers = [one for delivery in deliveries for one in self._flights.land(delivery)]
        self._defer([*deliveries, *followers], delay * self._rng.uniform(0.75, 1.25))

    def _finish(
        self,
        model: Model,
        records: Mapping[bytes, bytes],
        deliveries: Sequence[Delivery],
        outcome: str,
        validators: Validators = NOTHING_SAID,
        *,
        leader: Delivery | None = None,
    ) -> bool:
        """Write records, then acknowledge deliveries; returns whether they are written.

        Sources come first: a vector whose source is lost could never be computed anew.
        """
        sources = {
            one.request.key.digest: Source(
                one.request.item.kind, one.request.item.payload, validators
            )
            for one in deliveries
        }
        if not deliveries:
            return False
        with tracing.step(
            "archive.write",
            contexts(deliveries),
            kind="client",
            attributes={"embark.model": model.name, "embark.outcome": outcome},
            links=contexts([leader] if leader else []),
        ):
            if not self._write(model, records, deliveries, sources):
                return False
        self._observe_age(deliveries)
        self._ack(deliveries, outcome)
        return True

    def _records(
        self, model: Model, keys: Iterable[Key], vector: npt.NDArray[np.floating[Any]]
    ) -> dict[bytes, bytes]:
        """Return a vector's record under each of some keys, by digest."""
        now = self._clock_ms()
        return {
            key.digest: encode_embedding(key, vector, model.facts.dtype, now) for key in set(keys)
        }

    def _retry(self, delivery: Delivery, failure: InputFailure) -> bool:
        queue = self._settings.queue
        delay = delay_s(
            delivery.attempt, queue.retry_base_seconds, queue.retry_max_seconds, self._rng
        )
        _log.info("retry", **_named(delivery), reason=failure.code, delay_s=round(delay, 2))
        return self._tell([delivery], "retried", lambda: self._queue.retry(delivery, delay))

    def _give_up(self, model: Model | None, delivery: Delivery, failure: InputFailure) -> bool:
        message = f"gave up after {delivery.attempt} attempts: {failure.message}"
        _log.warning("gave_up", **_named(delivery), reason=failure.code, detail=failure.message)
        # The letter first: a request whose failure is remembered counts as ended.
        bury = partial(self._queue.bury, delivery, failure.code, message)
        if not self._tell([delivery], "dead", bury):
            return False
        FAILURES.labels(reason=failure.code).inc()
        DEAD_LETTERS.labels(reason=failure.code).inc()
        if model is not None:
            remembered_s = self._settings.consumer.gave_up_seconds
            record = self._failure_record(delivery, failure.code, message, remembered_s)
            self._write(model, record, [])
        return True

    def _remember(
        self, model: Model | None, delivery: Delivery, failure: InputFailure, seconds: float
    ) -> None:
        _log.info("input_failed", **_named(delivery), reason=failure.code, detail=failure.message)
        record = self._failure_record(delivery, failure.code, failure.message, seconds)
        if model is None or self._write(model, record, [delivery]):
            FAILURES.labels(reason=failure.code).inc()
            self._ack([delivery], "failed")

    def _failure_record(
        self, delivery: Delivery, code: str, message: str, seconds: float
    ) -> dict[bytes, bytes]:
        key, now = delivery.request.key, self._clock_ms()
        failure = Failure(code, message, now, now + int(seconds * 1000))
        return {key.digest: encode_failure(key, failure)}

    def _write(
        self,
        model: Model,
        records: Mapping[bytes, bytes],
        deliveries: Sequence[Delivery],
        sources: Mapping[bytes, Source] | None = None,
    ) -> bool:
        try:
            if sources:
                self._sources.remember(model.name, sources)
            self._archive.put_many(model, records)
        except ArchiveUnavailable as error:
            ARCHIVE_ERRORS.labels(operation="write").inc()
            tracing.fail(error.code)
            _log.error("archive_write_failed", items=len(records), reason=error.message)
            self.deferred(deliveries, _TROUBLE_SECONDS)
            return False
        return True

    def _observe_age(self, deliveries: Sequence[Delivery]) -> None:
        now_s = self._clock_ms() / 1000
        for delivery in deliveries:
            lane = delivery.request.lane.value
            AGE_AT_ARCHIVE.labels(lane=lane).observe(max(0.0, now_s - delivery.queued_at))

    def _ack(self, deliveries: Sequence[Delivery], outcome: str) -> None:
        if deliveries:
            self._tell(deliveries, outcome, lambda: self._queue.ack(deliveries))

    def _defer(self, deliveries: Sequence[Delivery], delay: float) -> None:
        if deliveries:
            self._tell(deliveries, "deferred", lambda: self._queue.defer(deliveries, delay))

    def _tell(
        self, deliveries: Sequence[Delivery], outcome: str, tell_queue: Callable[[], bool | None]
    ) -> bool:
        """Tell the queue how deliveries end; returns whether the word counted."""
        try:
            counts = tell_queue() is not False
        except QueueUnavailable as error:
            # The queue delivers it again.
            _log.error("queue_not_told", outcome=outcome, reason=error.message)
            return False
        finally:
            self._in_flight.remove(deliveries)
        if counts:
            for delivery in deliveries:
                CONSUMED.labels(model=delivery.request.key.model, outcome=outcome).inc()
        return counts


def _named(delivery: Delivery) -> dict[str, object]:
    return {"key": str(delivery.request.key), "attempt": delivery.attempt}
