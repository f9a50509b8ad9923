"""Writing records: durable when `send` returns, within a time limit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from embark.errors import QueueUnavailable
from embark.queue.kafka.client import client_options
from embark.queue.kafka.message import Record
from embark.settings import KafkaSettings

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_LINGER_MS = 1
_BUFFER_KIBIBYTES = 256 * 1024


class Producer:
    """An idempotent producer with a bounded buffer. Safe for many threads.

    Args:
        settings: where Kafka is, and how long a delivery may take.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._limit_s: Final = settings.delivery_seconds
        limit_ms = int(settings.delivery_seconds * 1000)
        options = client_options(settings) | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": _LINGER_MS,
            "message.timeout.ms": limit_ms,
            "request.timeout.ms": limit_ms,
            "queue.buffering.max.messages": settings.buffer_items,
            "queue.buffering.max.kbytes": _BUFFER_KIBIBYTES,
            # As Kafka's Java clients choose, so that theirs and ours agree on a key's partition.
            "partitioner": "murmur2_random",
        }
        try:
            self._producer: Final = confluent_kafka.Producer(options)
        except KafkaException as error:
            raise QueueUnavailable(f"the queue in Kafka: {_text(error)}") from error
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="kafka-reports", daemon=True)
        self._poller.start()

    def send(self, records: Sequence[Record]) -> None:
        """Write records, and return when all brokers that must have them do.

        Raises:
            QueueUnavailable: not all are known to be written; some may be.
        """
        if self._closing.is_set():
            raise QueueUnavailable("the queue in Kafka is closed")
        reports = _Reports(len(records))
        for record in records:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=reports.take,
                )
            except BufferError:
                reports.failed("the producer's buffer is full; queue.kafka.buffer_items bounds it")
            except KafkaException as error:
                reports.failed(_text(error))
        reports.wait(self._limit_s + _GRACE_SECONDS)

    def close(self) -> None:
        """Wait for what is on its way, then stop; idempotent."""
        if not self._closing.is_set():
            self._producer.flush(self._limit_s + _GRACE_SECONDS)
            self._closing.set()
        self._poller.join()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_SECONDS)


class _Reports:
    """The delivery reports of one call."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._trouble: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if count == 0:
            self._ended.set()

    def take(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.failed(_describe(error))
        else:
            self._count()

    def failed(self, trouble: str) -> None:
        self._trouble = trouble
        self._count()

    def wait(self, seconds: float) -> None:
        if not self._ended.wait(seconds):
            raise QueueUnavailable(f"Kafka did not confirm within {seconds:g} s")
        if self._trouble is not None:
            raise QueueUnavailable(f"Kafka did not take the records: {self._trouble}")

    def _count(self) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing == 0:
                self._ended.set()


def _describe(error: KafkaError) -> str:
    if error.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
        return "a topic does not exist; run `embark schema apply`"
    return str(error.str())


def _text(error: KafkaException) -> str:
    reason = error.args[0]
    return _describe(reason) if isinstance(reason, KafkaError) else str(reason)
