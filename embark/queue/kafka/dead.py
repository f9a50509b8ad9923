"""Dead letters: a compacted topic, each letter in it until it is replayed, purged, or old."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from embark.errors import QueueUnavailable
from embark.queue.base import DeadLetter, Lane
from embark.queue.kafka import message as wire
from embark.queue.kafka.client import Refusals, client_options, to_record
from embark.queue.kafka.producer import Producer
from embark.queue.kafka.topics import Topics
from embark.settings import KafkaSettings

_CALL_SECONDS = 5.0
_READ_SECONDS = 60.0
_BATCH = 500


class DeadLetters:
    """The dead letters of both lanes.

    Args:
        settings: where Kafka is.
        producer: writes letters and their removal.
        clock: seconds since 1970.
    """

    def __init__(
        self, settings: KafkaSettings, producer: Producer, clock: Callable[[], float]
    ) -> None:
        self._settings: Final = settings
        self._topics: Final = Topics(settings.prefix)
        self._producer: Final = producer
        self._clock: Final = clock

    def bury(self, record: wire.Record, origin: str, code: str, detail: str) -> None:
        """Keep a record as a dead letter.

        Raises:
            QueueUnavailable: it could not be kept.
        """
        marks: dict[str, object] = {
            "reason": code,
            "detail": detail,
            "died_ms": int(self._clock() * 1000),
        }
        self._producer.send([wire.buried(record, self._topics.dead, origin, marks)])

    def latest(self, most: int) -> list[DeadLetter]:
        """Return the latest letters, latest first.

        Raises:
            QueueUnavailable: they cannot be read.
        """
        letters = [_letter(name, record) for name, record in self._read(None).items()]
        letters.sort(key=lambda letter: letter.died_at, reverse=True)
        return letters[:most]

    def replay(self, names: Collection[str]) -> int:
        """Queue letters again, and remove them; returns how many.

        Raises:
            QueueUnavailable: not all were; those that were may be queued twice.
        """
        found = self._read(names)
        now_ms = int(self._clock() * 1000)
        for batch in _batches(found):
            again = [wire.revived(one, self._home(one), now_ms) for one in batch.values()]
            self._producer.send(again)
            self._remove(batch)
        return len(found)

    def purge(self, names: Collection[str]) -> list[wire.Record]:
        """Remove letters, and return them.

        Raises:
            QueueUnavailable: not all were removed.
        """
        found = self._read(names)
        for batch in _batches(found):
            self._remove(batch)
        return list(found.values())

    def _home(self, letter: wire.Record) -> str:
        return self._topics.requests(_lane(letter))

    def _remove(self, letters: Mapping[str, wire.Record]) -> None:
        self._producer.send(
            [wire.Record(self._topics.dead, letter.key, None) for letter in letters.values()]
        )

    def _read(self, names: Collection[str] | None) -> dict[str, wire.Record]:
        """Return the letters of these names, or all of them without their values."""
        refusals = Refusals()
        consumer = Consumer(
            client_options(self._settings, refusals)
            | {
                "group.id": self._topics.dead,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        letters: dict[str, wire.Record] = {}
        try:
            for name, record in self._records(consumer):
                letters.pop(name, None)
                if record.value is None:
                    continue
                if names is None:
                    letters[name] = wire.Record(record.topic, record.key, b"", record.headers)
                elif name in names:
                    letters[name] = record
        except KafkaException as error:
            consumer.poll(0)
            trouble = f"dead letters cannot be read: {error.args[0].str()}"
            raise QueueUnavailable(refusals.add_to(trouble)) from error
        finally:
            consumer.close()
        return letters

    def _records(self, consumer: Consumer) -> Iterator[tuple[str, wire.Record]]:
        place = TopicPartition(self._topics.dead, 0)
        position, end = consumer.get_watermark_offsets(place, timeout=_CALL_SECONDS)
        consumer.assign([TopicPartition(self._topics.dead, 0, position)])
        deadline = time.monotonic() + _READ_SECONDS
        while position < end:
            for read in consumer.consume(_BATCH, 0.2):
                error = read.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return  # the last offsets may be gone by compaction
                if error is not None:
                    raise KafkaException(error)
                position = int(read.offset() or 0) + 1
                record = to_record(read)
                yield (record.key or b"").decode("utf-8", "backslashreplace"), record
            if time.monotonic() > deadline:
                raise QueueUnavailable(f"dead letters were not read within {_READ_SECONDS:g} s")


def _letter(name: str, record: wire.Record) -> DeadLetter:
    key = wire.original_key(record).decode("utf-8", "backslashreplace")
    return DeadLetter(
        name=name,
        key=key or record.header("origin") or name,
        lane=_lane(record),
        attempt=record.number("attempt"),
        code=record.header("reason") or "unknown",
        message=record.header("detail") or "",
        died_at=record.number("died_ms") / 1000,
    )


def _lane(record: wire.Record) -> Lane:
    bulk = Lane.BULK.value
    named = record.header("lane")
    if named is None:
        named = bulk if f".{bulk}" in (record.header("origin") or "") else None
    return Lane.BULK if named == bulk else Lane.INTERACTIVE


def _batches(letters: Mapping[str, wire.Record]) -> Iterator[dict[str, wire.Record]]:
    names = list(letters)
    for start in range(0, len(names), _BATCH):
        yield {name: letters[name] for name in names[start : start + _BATCH]}
