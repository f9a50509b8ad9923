"""The miss path: what a lookup did not find goes to the queue, once, without delaying the answer.

Lookups leave requests in a bounded buffer; one thread writes all that have gathered in one
transaction (group commit). A key just queued is not queued again for a while. What cannot be
queued is forgotten, counted, and asked again by the next lookup.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from embark import tracing
from embark.keys import Key
from embark.log import Seldom, logger
from embark.metrics import MISS_BUFFER, MISS_MARKS, MISSES
from embark.queue.base import Queue, Request
from embark.settings import GatewaySettings
from gateway.turns import aside

_MAX_MARKS = 200_000
_TIDY_SECONDS = 1.0

_log = logger(__name__)


class _Group:
    """Requests that are written together, and what became of them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        # What asked, of those requests whose trace is followed.
        self.traces: dict[Key, str] = {}
        self.size = 0
        self.ended = threading.Event()
        self.written = False


class Misses:
    """Queues misses for one gateway process. Safe for many threads.

    Args:
        queue: where requests go.
        settings: bounds of the buffer, and how long to wait and to remember.
        clock: monotonic seconds.
    """

    def __init__(
        self, queue: Queue, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue: Final = queue
        self._settings: Final = settings
        self._clock: Final = clock
        self._changed = threading.Condition()
        self._gathering = _Group()
        self._buffered_items = 0
        self._buffered_bytes = 0
        # Key → the group it went with and when the mark expires; oldest first.
        self._marks: OrderedDict[Key, tuple[_Group, float]] = OrderedDict()
        self._healthy = True
        self._seldom = Seldom(clock=clock)
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="misses", daemon=True)
        self._writer.start()

    def ask(self, requests: Sequence[Request], patience_s: float | None = None) -> list[bool]:
        """Have requests queued; return for each whether it is known to be in the queue.

        Waits up to `patience_s` for the queue to confirm; without it up to `miss_ack_ms`, and not
        at all when the queue has just failed.
        """
        here = tracing.current()
        with self._changed:
            groups = [self._add(request, here) for request in requests]
            self._changed.notify()
        if patience_s is None:
            patience_s = self._settings.miss_ack_ms / 1000 if self._healthy else 0.0
        _wait_for({group for group in groups if group}, patience_s)
        return [group is not None and group.written for group in groups]

    def in_flight(self, key: Key) -> bool:
        """Return whether this process has queued `key` a short while ago."""
        with self._changed:
            mark = self._marks.get(key)
            return mark is not None and mark[0].written and mark[1] > self._clock()

    def found(self, keys: Iterable[Key]) -> None:
        """Forget keys that the archive holds: should they be missing again, that is a new miss."""
        if self._marks:
            with self._changed:
                for key in keys:
                    if self._marks.pop(key, None) is not None:
                        MISS_MARKS.dec()

    def close(self) -> None:
        """Write what is buffered, then stop; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._writer.join()

    def _add(self, request: Request, here: str) -> _Group | None:
        now = self._clock()
        mark = self._marks.get(request.key)
        if mark is not None and mark[1] > now:
            MISSES.labels(outcome="in_flight").inc()
            if here:
                tracing.link(mark[0].traces.get(request.key, ""))
            return mark[0]
        size = len(request.item.payload)
        if self._closed or not self._has_room(size):
            MISSES.labels(outcome="dropped").inc()
            return None
        group = self._gathering
        if here:
            request = replace(request, trace=here)
            group.traces[request.key] = here
        group.requests.append(request)
        group.size += size
        self._count(1, size)
        if mark is None:
            MISS_MARKS.inc()
        self._marks[request.key] = (group, now + self._settings.in_flight_seconds)
        self._marks.move_to_end(request.key)
        self._forget_old(now)
        return group

    def _has_room(self, size: int) -> bool:
        return (
            self._buffered_items < self._settings.miss_buffer_items
            and self._buffered_bytes + size <= self._settings.miss_buffer_bytes
        )

    def _count(self, items: int, size: int) -> None:
        self._buffered_items += items
        self._buffered_bytes += size
        MISS_BUFFER.inc(items)

    def _forget_old(self, now: float) -> None:
        while self._marks:
            key, (_, expires) = next(iter(self._marks.items()))
            if expires > now and len(self._marks) <= _MAX_MARKS:
                return
            del self._marks[key]
            MISS_MARKS.dec()

    def _write_groups(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, _TIDY_SECONDS)
                self._forget_old(self._clock())
                group, self._gathering = self._gathering, _Group()
                closed = self._closed
            if group.requests:
                self._write(group)
            elif closed:
                return

    def _has_work(self) -> bool:
        return bool(self._gathering.requests) or self._closed

    def _write(self, group: _Group) -> None:
        count = len(group.requests)
        try:
            self._queue.put(group.requests)
        except Exception as error:
            # Whatever the queue does, this thread must not end.
            self._healthy = False
            self._report(error, count)
            MISSES.labels(outcome="failed").inc(count)
            self.found(request.key for request in group.requests)
        else:
            self._healthy = group.written = True
            MISSES.labels(outcome="queued").inc(count)
        with self._changed:
            self._count(-count, -group.size)
            group.requests = []
        group.ended.set()

    def _report(self, error: Exception, count: int) -> None:
        if self._seldom.due():
            _log.error("misses_not_queued", items=count, reason=str(error))


def _wait_for(groups: Collection[_Group], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with aside():
        for group in groups:
            group.ended.wait(max(0.0, deadline - time.monotonic()))
