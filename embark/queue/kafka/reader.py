"""The reading side of one lane: polls in a thread of its own, bounded, commits what is finished.

What has been read waits here until it is taken, then until it is finished; only then its offset
may be committed. When too much waits, the partitions are paused, so that a slow Retina slows the
reading and memory stays bounded. Deferred requests wait here too, since their partitions are ours;
when they are lost to another consumer, it reads them again from the last committed offset.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from embark.log import Seldom, logger
from embark.queue.base import Lane
from embark.queue.kafka import message as wire
from embark.queue.kafka.client import client_options, to_record
from embark.queue.kafka.offsets import Offsets
from embark.queue.kafka.topics import Topics
from embark.settings import KafkaSettings

_POLL_SECONDS = 0.05
_TROUBLE_SECONDS = 1.0
_CLOSE_SECONDS = 20.0
_PREFETCH_KIBIBYTES = 16 * 1024

_log = logger(__name__)


@dataclass(eq=False)
class Assignment:
    """A partition while it is ours: its offsets, and claims to end when they are committed."""

    offsets: Offsets = field(default_factory=Offsets)
    over: list[tuple[int, wire.Claim]] = field(default_factory=list)
    lost: bool = False


@dataclass(eq=False)
class Entry:
    """A record that was read and is not finished.

    Attributes:
        record: as it was read.
        partition, offset: where.
        assignment: the partition's, at that time.
        due: not before this time, seconds since 1970.
        message: the record understood, once it is.
        payload: the input, once it is there.
        size: bytes it counts for.
    """

    record: wire.Record
    partition: int
    offset: int
    assignment: Assignment
    due: float = 0.0
    message: wire.Message | None = None
    payload: bytes | None = None
    size: int = 0


class LaneReader:
    """Reads one lane as a member of its consumer group. Safe for many threads.

    Args:
        settings: where Kafka is, and how much may wait.
        lane: which lane.
        clock: seconds since 1970.
        admit: prepares an entry that is due; ends in `ready`, `hold` or `finish`. Must not block.
        end_claims: told of claims whose requests are committed.
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
        self._clock: Final = clock
        self._admit: Final = admit
        self._end_claims: Final = end_claims
        self._lock = threading.RLock()
        self._assigned: dict[tuple[str, int], Assignment] = {}
        # Read and due, not taken; of those, the ones whose inputs are there.
        self._near: set[Entry] = set()
        self._near_bytes = 0
        self._ready: deque[Entry] = deque()
        # Retries that are not due. Both kinds of waiting share one heap by time.
        self._far: set[Entry] = set()
        self._waiting: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._paused: set[tuple[str, int]] = set()
        self._seldom = Seldom()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{lane.value}", daemon=True)
        self._thread.start()

    def take(self, most: int, most_bytes: int) -> list[Entry]:
        """Return up to `most` entries that are ready, oldest first, of `most_bytes` or one."""
        if not self._thread.is_alive() and not self._closing.is_set():
            raise RuntimeError(f"the reader of lane {self._lane.value} has died; see the log")
        taken: list[Entry] = []
        total = 0
        with self._lock:
            while self._ready and len(taken) < most:
                entry = self._ready[0]
                if entry in self._near:
                    total += entry.size
                    if taken and total > most_bytes:
                        break
                    self._forget(entry)
                    taken.append(entry)
                self._ready.popleft()
        return taken

    def ready(self, entry: Entry) -> None:
        """Let an entry be taken: its input is there."""
        with self._lock:
            if entry in self._near:
                self._ready.append(entry)

    def hold(self, entry: Entry, due: float) -> None:
        """Admit an entry again at `due`, seconds since 1970, if its partition is still ours."""
        with self._lock:
            if entry.assignment.lost:
                self._forget(entry)
                return
            entry.due = due
            self._remember(entry)
            heapq.heappush(self._waiting, (due, next(self._order), entry))

    def finish(self, entry: Entry, *, claim_over: bool) -> None:
        """Let an entry's offset be committed, and its claim end after that."""
        with self._lock:
            self._forget(entry)
            entry.assignment.offsets.finish(entry.offset)
            claim = entry.message.claim if entry.message else None
            if claim is not None and claim_over:
                entry.assignment.over.append((entry.offset, claim))

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

    def _join(self) -> Consumer:
        settings = self._settings
        consumer = Consumer(
            client_options(settings)
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
            self._admit_due()
            self._throttle(consumer)
            if time.monotonic() >= commit_at:
                self._commit(consumer, list(self._assigned), asynchronous=True)
                commit_at = time.monotonic() + self._settings.commit_ms / 1000

    def _leave(self, consumer: Consumer) -> None:
        try:
            self._commit(consumer, list(self._assigned), asynchronous=False)
        except KafkaException as error:
            self._report(error.args[0])
        finally:
            self._drop(list(self._assigned))
            self._paused.clear()
            consumer.close()

    def _read(self, read: Message) -> None:
        error = read.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            self._report(error)
            return
        record = to_record(read)
        place = (record.topic, int(read.partition() or 0))
        offset = int(read.offset() or 0)
        with self._lock:
            assignment = self._assigned.get(place)
            if assignment is None:
                return
            assignment.offsets.read(offset)
            entry = Entry(record, place[1], offset, assignment, wire.due_at(record))
            entry.size = len(record.value or b"")
            if entry.due > self._clock():
                self._far.add(entry)
                heapq.heappush(self._waiting, (entry.due, next(self._order), entry))
                return
            self._remember(entry)
        self._admit(entry)

    def _admit_due(self) -> None:
        due = []
        with self._lock:
            now = self._clock()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, entry = heapq.heappop(self._waiting)
                if entry in self._far:
                    self._far.discard(entry)
                    self._remember(entry)
                if entry in self._near:
                    due.append(entry)
        for entry in due:
            self._admit(entry)

    def _throttle(self, consumer: Consumer) -> None:
        """Pause and resume partitions, each topic by what of it waits here."""
        with self._lock:
            full = (
                len(self._near) >= self._settings.read_ahead
                or self._near_bytes >= self._settings.read_ahead_bytes
            )
            too_far = len(self._far) >= self._settings.read_ahead
            requests = self._topics.requests(self._lane)
            wanted = {
                place for place in self._assigned if full or (too_far and place[0] != requests)
            }
            pause, resume = wanted - self._paused, self._paused - wanted
            self._paused = wanted
        if pause:
            consumer.pause([TopicPartition(*place) for place in pause])
        if resume:
            consumer.resume([TopicPartition(*place) for place in resume])

    def _commit(
        self, consumer: Consumer, places: Sequence[tuple[str, int]], *, asynchronous: bool
    ) -> None:
        with self._lock:
            offsets = []
            for place in places:
                assignment = self._assigned.get(place)
                offset = None if assignment is None else assignment.offsets.to_commit()
                if offset is not None:
                    offsets.append(TopicPartition(*place, offset))
        if not offsets:
            return
        if asynchronous:
            consumer.commit(offsets=offsets, asynchronous=True)
        else:
            self._committed(None, consumer.commit(offsets=offsets, asynchronous=False) or [])

    def _committed(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        if error is not None:
            self._report(error)
            return
        over: list[wire.Claim] = []
        with self._lock:
            for one in partitions:
                assignment = self._assigned.get((one.topic, one.partition))
                if assignment is None or one.error is not None:
                    continue
                assignment.offsets.committed(one.offset)
                over += [claim for offset, claim in assignment.over if offset < one.offset]
                assignment.over = [pair for pair in assignment.over if pair[0] >= one.offset]
        if over:
            self._end_claims(over)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            for one in partitions:
                self._assigned[one.topic, one.partition] = Assignment()
        _log.info("partitions_assigned", lane=self._lane.value, count=len(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        places = [(one.topic, one.partition) for one in partitions]
        try:
            self._commit(consumer, places, asynchronous=False)
        except KafkaException as error:
            self._report(error.args[0])
        self._drop(places)
        _log.info("partitions_revoked", lane=self._lane.value, count=len(places))

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._drop([(one.topic, one.partition) for one in partitions])
        _log.warning("partitions_lost", lane=self._lane.value, count=len(partitions))

    def _drop(self, places: Sequence[tuple[str, int]]) -> None:
        with self._lock:
            for place in places:
                assignment = self._assigned.pop(place, None)
                if assignment is not None:
                    assignment.lost = True
                self._paused.discard(place)
            for entry in [one for one in self._near if one.assignment.lost]:
                self._forget(entry)
            self._far = {entry for entry in self._far if not entry.assignment.lost}

    def _remember(self, entry: Entry) -> None:
        if entry not in self._near:
            self._near.add(entry)
            self._near_bytes += entry.size

    def _forget(self, entry: Entry) -> None:
        if entry in self._near:
            self._near.discard(entry)
            self._near_bytes -= entry.size

    def _report(self, error: Any) -> None:
        """Log trouble with Kafka, now and then: its clients repeat it for every broker."""
        if self._seldom.due():
            text = error.str() if isinstance(error, KafkaError) else str(error)
            _log.error("queue_trouble", lane=self._lane.value, reason=text)
