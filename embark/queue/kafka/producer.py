"""Writing records: durable when `send` returns, within a time limit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from embark.errors import ConfigurationError, QueueUnavailable
from embark.log import logger
from embark.queue.kafka.client import Refusals, client_options
from embark.queue.kafka.message import Record
from embark.settings import KafkaSettings

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_LINGER_MS = 1
_BUFFER_KIBIBYTES = 256 * 1024

_log = logger(__name__)


class Producer:
    """An idempotent producer with a bounded buffer. Safe for many threads.

    Args:
        settings: where Kafka is, and how long a delivery may take.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings: Final = settings
        self._limit_s: Final = settings.delivery_seconds
        self._refusals: Final = Refusals()
        self._renewing = threading.Lock()
        self._producer = self._new()
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
        producer = self._producer
        reports = _Reports(len(records))
        for record in records:
            try:
                producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=reports.take,
                )
            except BufferError:
                reports.failed("the producer's buffer is full; queue.kafka.buffer_items bounds it")
            except KafkaException as error:
                reports.take(error.args[0], None)
        reports.wait(self._limit_s + _GRACE_SECONDS)
        if reports.fatal:
            self._renew(producer)
        if reports.trouble is not None:
            raise QueueUnavailable(
                self._refusals.add_to(f"Kafka did not take the records: {reports.trouble}")
            )
        self._refusals.forget()

    def close(self) -> None:
        """Wait for what is on its way, then stop; idempotent."""
        if not self._closing.is_set():
            self._producer.flush(self._limit_s + _GRACE_SECONDS)
            self._closing.set()
        self._poller.join()

    def _new(self) -> confluent_kafka.Producer:
        limit_ms = int(self._limit_s * 1000)
        options = client_options(self._settings, self._refusals) | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": _LINGER_MS,
            "message.timeout.ms": limit_ms,
            "request.timeout.ms": limit_ms,
            "queue.buffering.max.messages": self._settings.buffer_items,
            "queue.buffering.max.kbytes": _BUFFER_KIBIBYTES,
            # As Kafka's Java clients choose, so that theirs and ours agree on a key's partition.
            "partitioner": "murmur2_random",
        }
        try:
            return confluent_kafka.Producer(options)
        except KafkaException as error:
            raise ConfigurationError(
                f"the settings of queue.kafka do not work: {error.args[0].str()}"
            ) from error

    def _renew(self, broken: confluent_kafka.Producer) -> None:
        """Replace a producer that has lost its sequence: it takes nothing any more."""
        with self._renewing:
            if self._producer is broken:
                _log.error("producer_renewed")
                self._producer = self._new()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_SECONDS)


class _Reports:
    """The delivery reports of one call.

    Attributes:
        trouble: why a record was not written, None if all were.
        fatal: whether its producer cannot go on.
    """

    def __init__(self, count: int) -> None:
        self.trouble: str | None = None
        self.fatal = False
        self._missing = count
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if count == 0:
            self._ended.set()

    def take(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.fatal = self.fatal or bool(error.fatal())
            self.failed(_describe(error))
        else:
            self._count()

    def failed(self, trouble: str) -> None:
        self.trouble = trouble
        self._count()

    def wait(self, seconds: float) -> None:
        if not self._ended.wait(seconds):
            self.trouble = f"no answer within {seconds:g} s"

    def _count(self) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing == 0:
                self._ended.set()


def _describe(error: KafkaError) -> str:
    if error.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
        return "a topic does not exist; run `embark schema apply`"
    return str(error.str())
