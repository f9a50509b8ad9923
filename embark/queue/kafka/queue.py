"""The queue in Kafka: requests in, deliveries out, each finished only when its word is durable.

A delivery ends when its offset may be committed: after `ack` at once, after `retry` and `bury`
when the record that stands for it is written. `defer` keeps it here. Whatever is not finished when
this process ends is read again by another consumer.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from embark.errors import ArchiveUnavailable, PermanentFailure, QueueUnavailable
from embark.log import logger
from embark.metrics import DEAD_LETTERS
from embark.queue.base import DeadLetter, Delivery, Lane, LaneStatus, Request
from embark.queue.kafka import message as wire
from embark.queue.kafka.backlog import Backlog, Entry
from embark.queue.kafka.dead import DeadLetters
from embark.queue.kafka.lag import Lag
from embark.queue.kafka.producer import Producer
from embark.queue.kafka.reader import LaneReader
from embark.queue.kafka.topics import Topics
from embark.settings import KafkaSettings
from embark.store.cassandra import Claims

_TROUBLE_SECONDS = 1.0
_NO_ROOM_SECONDS = 0.1
_HELPERS = 4

_log = logger(__name__)


class KafkaQueue:
    """A queue in a cluster. It joins the consumer groups when it is first taken from.

    Args:
        settings: where Kafka is, and all bounds.
        claims: where inputs too large for a record are kept.
        clock: seconds since 1970.
    """

    def __init__(
        self, settings: KafkaSettings, claims: Claims, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings: Final = settings
        self._claims: Final = claims
        self._clock: Final = clock
        self._topics: Final = Topics(settings.prefix)
        self._producer: Final = Producer(settings)
        self._dead: Final = DeadLetters(settings, self._producer, clock)
        self._lag: Final = Lag(settings, clock)
        # Claims are fetched, and unreadable records buried, off the reading threads.
        self._helpers: Final = ThreadPoolExecutor(_HELPERS, "kafka-helper")
        self._lock = threading.Lock()
        self._readers: dict[Lane, LaneReader] = {}
        self._taken: dict[bytes, tuple[Backlog, Entry]] = {}
        self._receipts = itertools.count()
        self._closed = False

    def put(self, requests: Sequence[Request]) -> None:
        """See `Queue.put`."""
        self._require_open()
        now_ms = int(self._clock() * 1000)
        small: list[Request] = []
        large: list[Request] = []
        for request in requests:
            fits = len(request.item.payload) <= self._settings.inline_bytes
            (small if fits else large).append(request)
        records = [
            wire.encode(request, self._topics.requests(request.lane), now_ms, None)
            for request in small
        ]
        self._producer.send(records)
        if large:
            claimed = self._helpers.map(lambda request: self._claimed(request, now_ms), large)
            self._producer.send(list(claimed))

    def take(self, lane: Lane, most: int, most_bytes: int) -> list[Delivery]:
        """See `Queue.take`."""
        reader = self._reader(lane)
        reader.check()
        backlog = reader.backlog
        return [self._deliver(backlog, entry) for entry in backlog.take(most, most_bytes)]

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.extend`: the group's session is the lease, and its client renews it."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.ack`."""
        for delivery in deliveries:
            taken = self._taken.pop(delivery.receipt, None)
            if taken is not None:
                backlog, entry = taken
                backlog.finish(entry, claim_over=True)

    def retry(self, delivery: Delivery, delay_s: float) -> bool:
        """See `Queue.retry`."""
        topic = self._topics.retries(delivery.request.lane, delay_s)
        due_ms = int((self._clock() + delay_s) * 1000)

        def send(entry: Entry) -> None:
            attempt = delivery.attempt + 1
            self._producer.send([wire.retried(entry.record, topic, attempt, due_ms)])

        return self._move(delivery, send)

    def defer(self, deliveries: Sequence[Delivery], delay_s: float) -> None:
        """See `Queue.defer`."""
        for delivery in deliveries:
            taken = self._taken.pop(delivery.receipt, None)
            if taken is not None:
                backlog, entry = taken
                backlog.hold(entry, self._clock() + delay_s)

    def bury(self, delivery: Delivery, code: str, message: str) -> bool:
        """See `Queue.bury`."""
        return self._move(delivery, lambda entry: self._bury(entry, code, message))

    def dead(self, most: int) -> list[DeadLetter]:
        """See `Queue.dead`."""
        self._require_open()
        return self._dead.latest(most)

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.replay`."""
        self._require_open()
        return self._dead.replay({letter.name for letter in letters})

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.purge`."""
        self._require_open()
        removed = self._dead.purge({letter.name for letter in letters})
        claims = []
        for record in removed:
            try:
                claim = wire.decode(record).claim
            except PermanentFailure:
                continue
            if claim is not None:
                claims.append(claim)
        self._end_claims(claims)
        return len(removed)

    def status(self) -> dict[Lane, LaneStatus]:
        """See `Queue.status`."""
        self._require_open()
        return self._lag.status()

    def close(self) -> None:
        """See `Queue.close`."""
        with self._lock:
            self._closed = True
            readers = list(self._readers.values())
        for reader in readers:
            reader.close()
        self._helpers.shutdown()
        self._lag.close()
        self._producer.close()

    def _require_open(self) -> None:
        if self._closed:
            raise QueueUnavailable("the queue in Kafka is closed")

    def _reader(self, lane: Lane) -> LaneReader:
        with self._lock:
            self._require_open()
            reader = self._readers.get(lane)
            if reader is None:
                reader = self._readers[lane] = LaneReader(
                    self._settings,
                    lane,
                    clock=self._clock,
                    admit=lambda entry: self._admit(self._readers[lane].backlog, entry),
                    end_claims=lambda claims: self._help(lambda: self._end_claims(claims)),
                )
                reader.start()
        return reader

    def _claimed(self, request: Request, now_ms: int) -> wire.Record:
        try:
            name = self._claims.put(request.item.payload)
        except ArchiveUnavailable as error:
            raise QueueUnavailable(f"a large input cannot be kept: {error.message}") from error
        claim = wire.Claim(name, len(request.item.payload))
        return wire.encode(request, self._topics.requests(request.lane), now_ms, claim)

    def _deliver(self, backlog: Backlog, entry: Entry) -> Delivery:
        message, request = entry.message, entry.request
        assert message is not None and request is not None
        receipt = f"{_origin(entry)}/{next(self._receipts)}".encode()
        self._taken[receipt] = (backlog, entry)
        return Delivery(request, message.attempt, message.queued_ms / 1000, receipt)

    def _move(self, delivery: Delivery, send: Callable[[Entry], None]) -> bool:
        """Finish a delivery when the record that stands for it is written; else keep it."""
        taken = self._taken.pop(delivery.receipt, None)
        if taken is None or taken[1].assignment.lost:
            return False
        backlog, entry = taken
        try:
            send(entry)
        except QueueUnavailable:
            backlog.hold(entry, self._clock() + _TROUBLE_SECONDS)
            raise
        backlog.finish(entry, claim_over=False)
        return True

    def _admit(self, backlog: Backlog, entry: Entry) -> None:
        """Understand a record, fetch its input, and let it be taken; or bury it."""
        if entry.request is not None:
            backlog.ready(entry)
            return
        try:
            entry.message = entry.message or wire.decode(entry.record)
            if entry.message.payload is None:
                if backlog.may_load(entry):
                    self._help(lambda: self._fetch_claim(backlog, entry), backlog, entry)
                else:
                    backlog.hold(entry, self._clock() + _NO_ROOM_SECONDS)
                return
            entry.request = entry.message.request(entry.message.payload)
        except PermanentFailure as failure:
            code, detail = failure.code, failure.message
            self._help(lambda: self._refuse(backlog, entry, code, detail), backlog, entry)
            return
        backlog.ready(entry)

    def _fetch_claim(self, backlog: Backlog, entry: Entry) -> None:
        assert entry.message is not None and entry.message.claim is not None
        claim = entry.message.claim
        try:
            payload = self._claims.get(claim.name, claim.size)
        except ArchiveUnavailable as error:
            _log.warning("claim_not_read", origin=_origin(entry), reason=error.message)
            backlog.hold(entry, self._clock() + _TROUBLE_SECONDS)
            return
        if payload is None:
            self._refuse(backlog, entry, "claim_expired", "the input is no longer kept")
            return
        try:
            entry.request = entry.message.request(payload)
        except PermanentFailure as failure:
            self._refuse(backlog, entry, failure.code, failure.message)
            return
        backlog.ready(entry)

    def _refuse(self, backlog: Backlog, entry: Entry, code: str, detail: str) -> None:
        """Bury a record that can never be delivered."""
        if entry.assignment.lost:
            return  # its new consumer may have ended it already
        try:
            self._bury(entry, code, detail)
        except QueueUnavailable as error:
            _log.error("dead_letter_not_written", origin=_origin(entry), reason=error.message)
            backlog.hold(entry, self._clock() + _TROUBLE_SECONDS)
            return
        DEAD_LETTERS.labels(reason=code).inc()
        _log.warning("record_refused", origin=_origin(entry), reason=code, detail=detail)
        backlog.finish(entry, claim_over=False)

    def _bury(self, entry: Entry, code: str, detail: str) -> None:
        self._dead.bury(entry.record, _origin(entry), code, detail)

    def _end_claims(self, claims: Sequence[wire.Claim]) -> None:
        try:
            self._claims.delete([(claim.name, claim.size) for claim in claims])
        except ArchiveUnavailable as error:
            # They end by themselves in time.
            _log.warning("claims_not_ended", count=len(claims), reason=error.message)

    def _help(
        self,
        task: Callable[[], None],
        backlog: Backlog | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Run a task off the reading threads; if it fails, its entry is admitted again."""

        def guarded() -> None:
            try:
                task()
            except Exception:
                _log.exception("unexpected_error", origin=None if entry is None else _origin(entry))
                if backlog is not None and entry is not None:
                    backlog.hold(entry, self._clock() + _TROUBLE_SECONDS)

        try:
            self._helpers.submit(guarded)
        except RuntimeError:
            return  # closing: what is unfinished is read again by the next consumer


def _origin(entry: Entry) -> str:
    return f"{entry.record.topic}/{entry.partition}/{entry.offset}"
