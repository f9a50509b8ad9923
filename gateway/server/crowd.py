"""The connections of one process together: how many, how many bytes they hold, who makes room."""

from __future__ import annotations

from typing import Final

from embark.metrics import REFUSED
from embark.settings import GatewaySettings
from gateway.server.connection import Connection, State

# Bytes that need not be counted: each connection has that few.
_UNCOUNTED_BYTES = 16 * 1024
# Who makes room first: whoever does the least with its connection.
_DISPENSABLE = {
    State.CLOSING: 0,
    State.GREETING: 1,
    State.IDLE: 1,
    State.HEAD: 1,
    State.ANSWERING: 3,
    State.BODY: 3,
}


class Crowd:
    """Connections by number, within their bounds; for the loop only.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._most: Final = settings.max_connections
        self._most_bytes: Final = settings.max_buffered_bytes
        self._by_number: Final[dict[int, Connection]] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, number: int, connection: Connection) -> None:
        """Add one."""
        self._by_number[number] = connection

    def find(self, number: int) -> Connection | None:
        """Return the one with that number."""
        return self._by_number.get(number)

    def remove(self, number: int) -> bool:
        """Forget one; return whether it was there."""
        connection = self._by_number.pop(number, None)
        if connection is None:
            return False
        self._held -= connection.held
        connection.held = 0
        return True

    def all(self) -> list[Connection]:
        """Return all of them, as they are now."""
        return list(self._by_number.values())

    def is_full(self) -> bool:
        """Whether one must go before another is added."""
        return len(self._by_number) >= self._most

    def least(self) -> Connection | None:
        """Return the one that makes room for another; None if all have a request answered now."""
        movable = [one for one in self._by_number.values() if one.state in _DISPENSABLE]
        if not movable:
            return None
        least = min(movable, key=lambda one: (_DISPENSABLE[one.state], one.deadline))
        if least.state is not State.IDLE:
            REFUSED.labels(reason="crowded").inc()
        return least

    def count(self, connection: Connection) -> Connection | None:
        """Count a connection's bytes; return the one that goes if all hold too many together.

        That is whoever holds the most, so that small requests pass whatever others send.
        """
        size = connection.size()
        if size < _UNCOUNTED_BYTES:
            size = 0
        self._held += size - connection.held
        connection.held = size
        if self._held <= self._most_bytes:
            return None
        movable = [
            one
            for one in self._by_number.values()
            if one.held and one.state in (State.BODY, State.ANSWERING)
        ]
        if not movable:
            return None
        REFUSED.labels(reason="crowded").inc()
        return max(movable, key=lambda one: one.held)
