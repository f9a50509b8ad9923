"""A queue whose requests carry their traces to whoever takes them; opened when traces are sent.

Putting is a span of each request that asks, *consume* one of each delivery, from being taken until
its end. Not for what consumers do meanwhile: they name the delivery's context as the parent.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from embark import tracing
from embark.errors import QueueUnavailable
from embark.queue.base import DeadLetter, Delivery, Lane, LaneStatus, Queue, Request

MOST_FOLLOWED = 16
"""Of one request's misses, so many are followed: a trace stays readable."""


def contexts(deliveries: Iterable[Delivery]) -> list[str]:
    """Return what deliveries' steps are parts of, for `embark.tracing.step`."""
    return [delivery.request.trace for delivery in deliveries]


class TracedQueue:
    """See `Queue`.

    Args:
        queue: keeps the requests; closed with it.
        clock: seconds since 1970.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._queue: Final = queue
        self._clock: Final = clock
        self._open: dict[bytes, tracing.Span] = {}

    def put(self, requests: Sequence[Request]) -> None:
        """See `Queue.put`."""
        here = tracing.current()
        asking = Counter(asker for one in requests if (asker := one.trace or here))
        spans: dict[str, tracing.Span] = {}
        for asker, count in asking.items():
            span = tracing.begin("queue.put", asker, "producer", {"embark.items": count})
            if span is not None:
                spans[asker] = span
        with _ending(spans.values()):
            self._queue.put(list(_carrying(requests, here, spans)))

    def take(self, lane: Lane, most: int, most_bytes: int) -> list[Delivery]:
        """See `Queue.take`."""
        return [self._begun(one) for one in self._queue.take(lane, most, most_bytes)]

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.extend`."""
        self._queue.extend(deliveries)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.ack`."""
        with _ending(self._ended(deliveries, "finished")):
            self._queue.ack(deliveries)

    def retry(self, delivery: Delivery, delay_s: float) -> bool:
        """See `Queue.retry`."""
        with _ending(self._ended([delivery], "retried")):
            return self._queue.retry(delivery, delay_s)

    def defer(self, deliveries: Sequence[Delivery], delay_s: float) -> None:
        """See `Queue.defer`."""
        with _ending(self._ended(deliveries, "deferred")):
            self._queue.defer(deliveries, delay_s)

    def bury(self, delivery: Delivery, code: str, message: str) -> bool:
        """See `Queue.bury`."""
        with _ending(self._ended([delivery], "dead")):
            return self._queue.bury(delivery, code, message)

    def dead(self, most: int) -> list[DeadLetter]:
        """See `Queue.dead`."""
        return self._queue.dead(most)

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.replay`."""
        return self._queue.replay(letters)

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.purge`."""
        return self._queue.purge(letters)

    def status(self) -> dict[Lane, LaneStatus]:
        """See `Queue.status`."""
        return self._queue.status()

    def close(self) -> None:
        """See `Queue.close`."""
        self._queue.close()

    def _begun(self, delivery: Delivery) -> Delivery:
        """Begin a delivery's span, and have it carry that span's context."""
        request = delivery.request
        attributes = {
            "embark.model": request.key.model,
            "embark.generation": request.key.generation,
            "embark.lane": request.lane.value,
            "embark.attempt": delivery.attempt,
            "embark.waited_ms": max(0, round((self._clock() - delivery.queued_at) * 1000)),
        }
        span = tracing.begin("consume", request.trace, "consumer", attributes)
        if span is None:
            return delivery
        self._open[delivery.receipt] = span
        return replace(delivery, request=replace(request, trace=span.context))

    def _ended(self, deliveries: Iterable[Delivery], outcome: str) -> list[tracing.Span]:
        found = (self._open.pop(delivery.receipt, None) for delivery in deliveries)
        spans = [span for span in found if span is not None]
        for span in spans:
            span.note({"embark.outcome": outcome})
        return spans


def _carrying(
    requests: Iterable[Request], here: str, spans: dict[str, tracing.Span]
) -> Iterator[Request]:
    """Yield the requests with the contexts that they travel with."""
    followed: Counter[str] = Counter()
    for request in requests:
        asker = request.trace or here
        span = spans.get(asker)
        followed[asker] += 1
        if span is not None and followed[asker] <= MOST_FOLLOWED:
            yield replace(request, trace=span.context)
        else:
            yield replace(request, trace="") if request.trace else request


@contextmanager
def _ending(spans: Iterable[tracing.Span]) -> Iterator[None]:
    error = ""
    try:
        yield
    except QueueUnavailable as failure:
        error = failure.code
        raise
    finally:
        for span in spans:
            span.end(error)
