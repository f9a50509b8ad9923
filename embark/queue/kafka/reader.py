"""The reading side of one lane: polls in a thread of its own, and commits what is finished.

When too much waits in the backlog, partitions are paused, so that a slow Retina slows the reading.
What is unfinished when a partition goes to another consumer, or this one dies, is read again from
the last committed offset.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from embark.errors import ConfigurationError
from embark.log import Seldom, logger
from embark.queue.base import Lane
from embark.queue.kafka import message as wire
from embark.queue.kafka.backlog import Backlog, Entry, Place
from embark.queue.kafka.client import client_options, to_record
from embark.queue.kafka.topics import Topics
from embark.settings import KafkaSettings

_POLL_SECONDS = 0.05
_TROUBLE_SECONDS = 1.0
_CLOSE_SECONDS = 20.0
_PREFETCH_KIBIBYTES = 16 * 1024

_log = logger(__name__)


class LaneReader:
    """Reads one lane as a member of its consumer group.

    Args:
        settings: where Kafka is, and how much may wait.
        lane: which lane.
        clock: seconds since 1970.
        admit: prepares an entry that is due; ends in `ready`, `hold` or `finish` of the backlog.
            Must not block.
        end_claims: told of claims whose requests are committed.

    Attributes:
        backlog: what was read and is not finished.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        lane: Lane,
        *,
        clock: Callable[[], float],
        admit: Callable[[Entry], None],
        end_claims: Callable[[Sequence[wire.Claim]], None],
    ) -> None:
        self._settings: Final = settings
        self._topics: Final = Topics(settings.prefix)
        self._lane: Final = lane
        self._admit: Final = admit
        self._end_claims: Final = end_claims
        self.backlog: Final = Backlog(settings.read_ahead, settings.read_ahead_bytes, clock)
        self._paused: set[Place] = set()
        self._seldom = Seldom()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{lane.value}", daemon=True)

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def check(self) -> None:
        """Raise if the thread has died: a bug, after which the process should start again."""
        if not self._thread.is_alive() and not self._closing.is_set():
            raise RuntimeError(f"the reader of lane {self._lane.value} has died; see the log")

    def close(self) -> None:
        """Commit what is finished and leave the group; idempotent."""
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                consumer = self._join()
                try:
                    self._consume(consumer)
                finally:
                    self._leave(consumer)
            except KafkaException as error:
                self._report(error.args[0])
                self._closing.wait(_TROUBLE_SECONDS)
            except ConfigurationError as error:
                # A file that was there when this process began.
                self._report(error.message)
                self._closing.wait(_TROUBLE_SECONDS)

    def _join(self) -> Consumer:
        settings = self._settings
        consumer = Consumer(
            client_options(settings, self._report)
            | {
                "group.id": self._topics.group(self._lane),
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "queued.min.messages": settings.read_ahead,
                "queued.max.messages.kbytes": _PREFETCH_KIBIBYTES,
                "topic.metadata.refresh.interval.ms": 10_000,
                "on_commit": self._committed,
            }
        )
        consumer.subscribe(
            self._topics.of_lane(self._lane),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        return consumer

    def _consume(self, consumer: Consumer) -> None:
        commit_at = 0.0
        while not self._closing.is_set():
            first = consumer.poll(_POLL_SECONDS)
            if first is not None:
                self._read(first)
                for one in consumer.consume(self._settings.read_ahead, 0):
                    self._read(one)
            for entry in self.backlog.due():
                self._admit(entry)
            self._throttle(consumer)
            if time.monotonic() >= commit_at:
                self._commit(consumer, self.backlog.places, asynchronous=True)
                commit_at = time.monotonic() + self._settings.commit_ms / 1000

    def _leave(self, consumer: Consumer) -> None:
        places = self.backlog.places
        try:
            self._commit(consumer, places, asynchronous=False)
        except KafkaException as error:
            self._report(error.args[0])
        finally:
            self.backlog.drop(places)
            self._paused.clear()
            consumer.close()

    def _read(self, read: Message) -> None:
        error = read.error()
        if error is None:
            entry = self.backlog.read(
                to_record(read), int(read.partition() or 0), int(read.offset() or 0)
            )
            if entry is not None:
                self._admit(entry)
        elif error.fatal():
            raise KafkaException(error)
        else:
            self._report(error)

    def _throttle(self, consumer: Consumer) -> None:
        """Pause and resume partitions, each topic by what of it waits."""
        near_full, far_full = self.backlog.fullness()
        requests = self._topics.requests(self._lane)
        wanted = {
            place
            for place in self.backlog.places
            if near_full or (far_full and place[0] != requests)
        }
        pause, resume = wanted - self._paused, self._paused - wanted
        self._paused = wanted
        if pause:
            consumer.pause([TopicPartition(*place) for place in pause])
        if resume:
            consumer.resume([TopicPartition(*place) for place in resume])

    def _commit(self, consumer: Consumer, places: Sequence[Place], *, asynchronous: bool) -> None:
        offsets = [
            TopicPartition(*place, offset)
            for place, offset in self.backlog.to_commit(places).items()
        ]
        if offsets and asynchronous:
            consumer.commit(offsets=offsets, asynchronous=True)
        elif offsets:
            self._committed(None, consumer.commit(offsets=offsets, asynchronous=False) or [])

    def _committed(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        if error is not None:
            self._report(error)
            return
        over: list[wire.Claim] = []
        for one in partitions:
            if one.error is None:
                over += self.backlog.committed((one.topic, one.partition), one.offset)
        if over:
            self._end_claims(over)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.backlog.assign([(one.topic, one.partition) for one in partitions])
        _log.info("partitions_assigned", lane=self._lane.value, count=len(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        places = [(one.topic, one.partition) for one in partitions]
        try:
            self._commit(consumer, places, asynchronous=False)
        except KafkaException as error:
            self._report(error.args[0])
        self._give_up(consumer, places)
        _log.info("partitions_revoked", lane=self._lane.value, count=len(places))

    def _on_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._give_up(consumer, [(one.topic, one.partition) for one in partitions])
        _log.warning("partitions_lost", lane=self._lane.value, count=len(partitions))

    def _give_up(self, consumer: Consumer, places: Sequence[Place]) -> None:
        """Forget partitions; resumed before, since else they stay paused if they come back."""
        paused = [TopicPartition(*place) for place in places if place in self._paused]
        try:
            if paused:
                consumer.resume(paused)
        except KafkaException as error:
            self._report(error.args[0])
        self._paused.difference_update(places)
        self.backlog.drop(places)

    def _report(self, error: Any) -> None:
        """Log trouble with Kafka, now and then: its clients repeat it for every broker."""
        if self._seldom.due():
            text = error.str() if isinstance(error, KafkaError) else str(error)
            _log.error("queue_trouble", lane=self._lane.value, reason=text)
