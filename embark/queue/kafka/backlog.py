"""What one consumer has read of a lane and not finished: bounded, by time, ready to be taken.

An entry that was read is *near*, or *far* if it is a retry that is not due. Near ones become ready
when their inputs are here, and are taken; deferred ones come back. Not for talking to Kafka: that
is `embark.queue.kafka.reader`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from embark.queue.base import Request
from embark.queue.kafka import message as wire
from embark.queue.kafka.offsets import Offsets

Place = tuple[str, int]
"""A topic and a partition."""


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
        size: bytes of its input, wherever that is.
        message: the record understood, once it is.
        request: what is delivered, once the input is here.
    """

    record: wire.Record
    partition: int
    offset: int
    assignment: Assignment
    due: float
    size: int
    message: wire.Message | None = None
    request: Request | None = None


class _Pile:
    """Entries, and their bytes."""

    def __init__(self) -> None:
        self.entries: set[Entry] = set()
        self.size = 0

    def add(self, entry: Entry) -> None:
        if entry not in self.entries:
            self.entries.add(entry)
            self.size += entry.size

    def remove(self, entry: Entry) -> bool:
        if entry not in self.entries:
            return False
        self.entries.remove(entry)
        self.size -= entry.size
        return True

    def exceeds(self, most: int, most_bytes: int) -> bool:
        return len(self.entries) >= most or self.size >= most_bytes


class Backlog:
    """The unfinished entries of one lane's assigned partitions. Safe for many threads.

    Args:
        most: near entries, and far ones, from which on a lane counts as full.
        most_bytes: the same in bytes; also of claimed inputs that are loaded.
        clock: seconds since 1970.
    """

    def __init__(self, most: int, most_bytes: int, clock: Callable[[], float]) -> None:
        self._bounds: Final = (most, most_bytes)
        self._clock: Final = clock
        self._lock = threading.RLock()
        self._assigned: dict[Place, Assignment] = {}
        self._near = _Pile()
        self._far = _Pile()
        self._loaded = _Pile()
        self._ready: deque[Entry] = deque()
        self._waiting: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()

    @property
    def places(self) -> list[Place]:
        """The partitions that are assigned."""
        with self._lock:
            return list(self._assigned)

    def assign(self, places: Sequence[Place]) -> None:
        """Begin with partitions."""
        with self._lock:
            self._assigned |= {place: Assignment() for place in places}

    def drop(self, places: Sequence[Place]) -> None:
        """Forget all of partitions that are no longer ours; others read it again."""
        with self._lock:
            for place in places:
                assignment = self._assigned.pop(place, None)
                if assignment is not None:
                    assignment.lost = True
            for pile in (self._near, self._far, self._loaded):
                for entry in [one for one in pile.entries if one.assignment.lost]:
                    pile.remove(entry)

    def read(self, record: wire.Record, partition: int, offset: int) -> Entry | None:
        """Note a record; returns its entry if it is due now, to be admitted."""
        with self._lock:
            assignment = self._assigned.get((record.topic, partition))
            if assignment is None:
                return None
            assignment.offsets.read(offset)
            due, size = wire.due_at(record), wire.input_size(record)
            entry = Entry(record, partition, offset, assignment, due, size)
            if due > self._clock():
                self._far.add(entry)
                self._wait(entry)
                return None
            self._near.add(entry)
            return entry

    def due(self) -> list[Entry]:
        """Return the entries that waited and are due, to be admitted."""
        with self._lock:
            found = []
            now = self._clock()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, entry = heapq.heappop(self._waiting)
                if self._far.remove(entry):
                    self._near.add(entry)
                if entry in self._near.entries:
                    found.append(entry)
            return found

    def may_load(self, entry: Entry) -> bool:
        """Whether there is room for an entry's claimed input; if so, it counts from now on."""
        with self._lock:
            most_bytes = self._bounds[1]
            full = self._loaded.size and self._loaded.size + entry.size > most_bytes
            if full or entry not in self._near.entries:
                return False
            self._loaded.add(entry)
            return True

    def ready(self, entry: Entry) -> None:
        """Let an entry be taken: its input is here."""
        with self._lock:
            if entry in self._near.entries:
                self._ready.append(entry)

    def take(self, most: int, most_bytes: int) -> list[Entry]:
        """Return up to `most` entries that are ready, oldest first, of `most_bytes` or one."""
        taken: list[Entry] = []
        total = 0
        with self._lock:
            while self._ready and len(taken) < most:
                entry = self._ready[0]
                if entry in self._near.entries:
                    total += entry.size
                    if taken and total > most_bytes:
                        break
                    self._forget(entry)
                    taken.append(entry)
                self._ready.popleft()
        return taken

    def hold(self, entry: Entry, due: float) -> None:
        """Have an entry admitted again at `due`, seconds since 1970, if it is still ours."""
        with self._lock:
            self._forget(entry)
            if not entry.assignment.lost:
                entry.due = due
                self._near.add(entry)
                self._wait(entry)

    def finish(self, entry: Entry, *, claim_over: bool) -> None:
        """Let an entry's offset be committed, and its claim end after that."""
        with self._lock:
            self._forget(entry)
            entry.assignment.offsets.finish(entry.offset)
            claim = entry.message.claim if entry.message else None
            if claim is not None and claim_over:
                entry.assignment.over.append((entry.offset, claim))

    def fullness(self) -> tuple[bool, bool]:
        """Whether too many near entries wait, and whether too many far ones do."""
        with self._lock:
            return self._near.exceeds(*self._bounds), self._far.exceeds(*self._bounds)

    def to_commit(self, places: Sequence[Place]) -> dict[Place, int]:
        """Return the offsets that may be committed and are not."""
        with self._lock:
            found = {
                place: assignment.offsets.to_commit()
                for place in places
                if (assignment := self._assigned.get(place)) is not None
            }
        return {place: offset for place, offset in found.items() if offset is not None}

    def committed(self, place: Place, offset: int) -> list[wire.Claim]:
        """Note a committed offset; returns the claims that may end now."""
        with self._lock:
            assignment = self._assigned.get(place)
            if assignment is None:
                return []
            assignment.offsets.committed(offset)
            over = [claim for at, claim in assignment.over if at < offset]
            assignment.over = [pair for pair in assignment.over if pair[0] >= offset]
            return over

    def _wait(self, entry: Entry) -> None:
        heapq.heappush(self._waiting, (entry.due, next(self._order), entry))

    def _forget(self, entry: Entry) -> None:
        self._near.remove(entry)
        self._loaded.remove(entry)
