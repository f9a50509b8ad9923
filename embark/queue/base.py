"""What a queue promises. `tests/contract/test_queue.py` holds every implementation to it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from embark.inputs import Input
from embark.keys import Key


class Lane(str, enum.Enum):
    """Who waits: a lookup that has just missed, or work that nobody waits for."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Request:
    """One vector to compute: the key it will have, and the input it is computed from.

    Attributes:
        key: under which the vector will be.
        item: the input.
        lane: who waits.
        trace: what asked, as a context of `embark.tracing`; empty if that is not followed.
    """

    key: Key
    item: Input
    lane: Lane
    trace: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request handed to a consumer.

    Attributes:
        request: the work.
        attempt: 1 the first time, one more after each counted retry.
        queued_at: when it was queued, seconds since 1970.
        receipt: names this delivery towards the queue; opaque.
    """

    request: Request
    attempt: int
    queued_at: float
    receipt: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request that was given up, kept to be looked at and sent again.

    Attributes:
        name: names it towards `replay` and `purge`; opaque.
        key: printed key, or what stands in its place when the request cannot be read.
        lane: the lane it came from.
        attempt: how often it was tried.
        code: machine-readable reason.
        message: the reason for people.
        died_at: when it was given up, seconds since 1970.
    """

    name: str
    key: str
    lane: Lane
    attempt: int
    code: str
    message: str
    died_at: float


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """How much waits in a lane.

    Attributes:
        depth: requests not finished, delivered ones included.
        oldest_seconds: age of the oldest, 0 when there is none.
        parts: what `depth` is made of, by topic or by state.
    """

    depth: int
    oldest_seconds: float
    parts: Mapping[str, int] = field(default_factory=dict)


class Queue(Protocol):
    """Requests, delivered at least once. Safe for many threads; opened after fork.

    Each delivery ends in exactly one of `ack`, `retry`, `defer` and `bury`; one that ends in none
    of them, because its consumer died, is delivered again, maybe to another consumer. A word about
    a delivery that has been handed to another consumer changes nothing.
    """

    def put(self, requests: Sequence[Request]) -> None:
        """Accept requests; durable when this returns. A key may be put while it waits.

        Raises:
            QueueUnavailable: not all were accepted; some may be.
        """
        ...

    def take(self, lane: Lane, most: int, most_bytes: int) -> list[Delivery]:
        """Deliver up to `most` due requests of a lane, about oldest first, without waiting.

        Their inputs have up to `most_bytes` together; at least one is delivered whatever its
        size, if any is due.

        Raises:
            QueueUnavailable: nothing was delivered.
        """
        ...

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Say that deliveries are still being worked on, for queues that lease them."""
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Finish deliveries whose records are in the archive."""
        ...

    def retry(self, delivery: Delivery, delay_s: float) -> bool:
        """Deliver again after `delay_s`, as the next attempt; durable when this returns.

        Returns whether that holds: False if the delivery is another consumer's by now.
        """
        ...

    def defer(self, deliveries: Sequence[Delivery], delay_s: float) -> None:
        """Deliver again after `delay_s`, as the same attempt: it was not the inputs' fault."""
        ...

    def bury(self, delivery: Delivery, code: str, message: str) -> bool:
        """Finish a delivery that is given up, and keep it as a dead letter.

        Returns whether that holds: False if the delivery is another consumer's by now.
        """
        ...

    def dead(self, most: int) -> list[DeadLetter]:
        """Return the latest dead letters, latest first."""
        ...

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """Queue dead letters again as first attempts, and forget them; returns how many."""
        ...

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """Forget dead letters; returns how many."""
        ...

    def status(self) -> dict[Lane, LaneStatus]:
        """Return how much waits in each lane, as of a few seconds ago at most.

        Raises:
            QueueUnavailable: it cannot be told.
        """
        ...

    def close(self) -> None:
        """Release everything; idempotent. The queue cannot be used afterwards."""
        ...
