"""How much waits in Kafka: what the lanes' groups have not committed, and how old it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from embark.errors import QueueUnavailable
from embark.log import logger
from embark.queue.base import Lane, LaneStatus
from embark.queue.kafka.client import Refusals, client_options, to_record
from embark.queue.kafka.topics import Topics
from embark.settings import KafkaSettings

_CALL_SECONDS = 2.0
_OLDEST_SECONDS = 1.5
_PERIOD_SECONDS = 2.0
_FIRST_SECONDS = 10.0
_STALE_SECONDS = 15.0
_FETCH_BYTES = 64 * 1024

Status = dict[Lane, LaneStatus]

_log = logger(__name__)


class Lag:
    """The status of both lanes, kept up to date by a thread from the first time it is asked for.

    Args:
        settings: where Kafka is.
        clock: seconds since 1970.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float]) -> None:
        self._settings: Final = settings
        self._topics: Final = Topics(settings.prefix)
        self._clock: Final = clock
        self._refusals: Final = Refusals()
        self._admin: Final = AdminClient(client_options(settings, self._refusals))
        self._answer: Status | QueueUnavailable = QueueUnavailable(
            "the queue in Kafka has not answered yet"
        )
        self._answered_at = float("-inf")
        self._answered = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def status(self) -> Status:
        """Return what was seen last; only the first call waits.

        Raises:
            QueueUnavailable: Kafka did not answer.
        """
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._watch, name="kafka-lag", daemon=True)
                self._thread.start()
        self._answered.wait(_FIRST_SECONDS)
        if time.monotonic() - self._answered_at > _STALE_SECONDS:
            raise QueueUnavailable("Kafka does not say how much waits")
        answer = self._answer
        if isinstance(answer, QueueUnavailable):
            raise QueueUnavailable(answer.message)
        return answer

    def close(self) -> None:
        """Stop watching; idempotent."""
        self._closing.set()
        with self._lock:
            if self._thread is not None:
                self._thread.join(_CALL_SECONDS * 4)

    def _watch(self) -> None:
        consumers: dict[Lane, Consumer] = {}
        try:
            while not self._closing.is_set():
                try:
                    self._answer = {lane: self._read(lane, consumers) for lane in Lane}
                    self._refusals.forget()
                except QueueUnavailable as error:
                    self._answer = error
                except KafkaException as error:
                    self._admin.poll(0)
                    for consumer in consumers.values():
                        consumer.poll(0)
                    text = self._refusals.add_to(f"Kafka does not answer: {error.args[0].str()}")
                    self._answer = QueueUnavailable(text)
                except Exception as error:
                    # Whatever its client does, this thread must not end.
                    _log.exception("queue_watch_failed")
                    self._answer = QueueUnavailable(f"an unexpected error: {error}")
                self._answered_at = time.monotonic()
                self._answered.set()
                self._closing.wait(_PERIOD_SECONDS)
        finally:
            for consumer in consumers.values():
                consumer.close()

    def _read(self, lane: Lane, consumers: dict[Lane, Consumer]) -> LaneStatus:
        if lane not in consumers:
            consumers[lane] = Consumer(
                client_options(self._settings, self._refusals)
                | {
                    "group.id": self._topics.group(lane),
                    "enable.auto.commit": False,
                    "queued.min.messages": 1,
                    "fetch.message.max.bytes": _FETCH_BYTES,
                    "socket.timeout.ms": int(_CALL_SECONDS * 1000),
                }
            )
        consumer = consumers[lane]
        behind: list[TopicPartition] = []
        parts: dict[str, int] = {}
        partitions = self._partitions(consumer, lane)
        ends = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        starts = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        for one in consumer.committed(partitions, timeout=_CALL_SECONDS):
            place = (one.topic, one.partition)
            start = max(starts[place], one.offset)
            parts[one.topic] = parts.get(one.topic, 0) + ends[place] - start
            if ends[place] > start:
                behind.append(TopicPartition(one.topic, one.partition, start))
        return LaneStatus(sum(parts.values()), self._oldest_seconds(consumer, behind), parts)

    def _offsets(
        self, partitions: list[TopicPartition], which: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        asked = self._admin.list_offsets(
            dict.fromkeys(partitions, which), request_timeout=_CALL_SECONDS
        )
        return {
            (one.topic, one.partition): found.result(_CALL_SECONDS).offset
            for one, found in asked.items()
        }

    def _partitions(self, consumer: Consumer, lane: Lane) -> list[TopicPartition]:
        known = consumer.list_topics(timeout=_CALL_SECONDS).topics
        missing = [topic for topic in self._topics.of_lane(lane) if topic not in known]
        if missing:
            raise QueueUnavailable(f"topic {missing[0]} does not exist; run `embark schema apply`")
        return [
            TopicPartition(topic, partition)
            for topic in self._topics.of_lane(lane)
            for partition in known[topic].partitions
        ]

    def _oldest_seconds(self, consumer: Consumer, behind: list[TopicPartition]) -> float:
        """Read the first unfinished record of each partition, and tell the age of the oldest."""
        if not behind:
            return 0.0
        waiting = {(one.topic, one.partition) for one in behind}
        oldest = self._clock()
        consumer.assign(behind)
        deadline = time.monotonic() + _OLDEST_SECONDS
        while waiting and time.monotonic() < deadline:
            read = consumer.poll(0.1)
            if read is None or read.error() is not None:
                continue
            record = to_record(read)
            place = (record.topic, int(read.partition() or 0))
            if place in waiting:
                waiting.discard(place)
                oldest = min(oldest, record.number("queued_ms") / 1000 or oldest)
        consumer.unassign()
        return max(0.0, self._clock() - oldest)
