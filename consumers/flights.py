"""Single flight: of requests for the same vector that are in hand at once, one is computed.

A delivery leads the keys that its vector will be written under: its own, and for an image by URL,
once fetched, the key of the image's bytes. A delivery that wants a key which is led follows the
leader, and ends as the leader does.
"""

from __future__ import annotations

import threading

from embark.keys import Key
from embark.queue.base import Delivery


class Flights:
    """Who leads which keys, and who follows. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leaders: dict[Key, bytes] = {}
        self._led: dict[bytes, list[Key]] = {}
        self._followers: dict[bytes, list[Delivery]] = {}

    def lead(self, delivery: Delivery, key: Key) -> bool:
        """Have `delivery` lead `key`, or follow who leads it; returns whether it leads."""
        with self._lock:
            leader = self._leaders.setdefault(key, delivery.receipt)
            if leader == delivery.receipt:
                led = self._led.setdefault(delivery.receipt, [])
                if key not in led:
                    led.append(key)
                return True
            self._followers.setdefault(leader, []).append(delivery)
            return False

    def keys(self, delivery: Delivery) -> list[Key]:
        """Return the keys that a delivery leads; its own if it leads none."""
        with self._lock:
            return list(self._led.get(delivery.receipt, ())) or [delivery.request.key]

    def land(self, delivery: Delivery) -> list[Delivery]:
        """End a delivery's flight; returns who followed it, and who followed them."""
        with self._lock:
            return self._land(delivery)

    def _land(self, delivery: Delivery) -> list[Delivery]:
        for key in self._led.pop(delivery.receipt, ()):
            self._leaders.pop(key, None)
        landed: list[Delivery] = []
        for follower in self._followers.pop(delivery.receipt, ()):
            landed.append(follower)
            landed += self._land(follower)
        return landed
