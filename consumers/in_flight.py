"""What this consumer has taken from the queue and not finished: bounds it and keeps its leases."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final

from embark.errors import QueueUnavailable
from embark.log import logger
from embark.metrics import IN_FLIGHT
from embark.queue.base import Delivery, Lane, Queue
from embark.settings import ConsumerSettings

_log = logger(__name__)


class InFlight:
    """Deliveries by receipt, within the bounds of the settings. Safe for many threads.

    Args:
        queue: whose leases are renewed.
        settings: `max_in_flight`, `max_in_flight_bytes` and `max_bulk_in_flight`.
        lease_s: length of a lease; each is renewed three times as often.
    """

    def __init__(self, queue: Queue, settings: ConsumerSettings, lease_s: float) -> None:
        self._queue = queue
        self._settings = settings
        self._period_s: Final = lease_s / 3
        self._deliveries: dict[bytes, Delivery] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._renewer.start()

    def room(self, lane: Lane) -> tuple[int, int]:
        """Return how many more deliveries of a lane, and how many bytes, may be taken now."""
        with self._changed:
            held = self._deliveries.values()
            most = self._settings.max_in_flight - len(held)
            if lane is Lane.BULK:
                bulk = sum(delivery.request.lane is Lane.BULK for delivery in held)
                most = min(most, self._settings.max_bulk_in_flight - bulk)
            free = self._settings.max_in_flight_bytes - sum(map(_size, held))
            return (most, free) if free > 0 else (0, 0)

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Count deliveries just taken."""
        with self._changed:
            self._deliveries.update({delivery.receipt: delivery for delivery in deliveries})
        IN_FLIGHT.inc(len(deliveries))

    def remove(self, deliveries: Iterable[Delivery]) -> None:
        """Forget deliveries whose end the queue was told, or whose lease shall lapse."""
        with self._changed:
            removed = [self._deliveries.pop(delivery.receipt, None) for delivery in deliveries]
            self._changed.notify_all()
        IN_FLIGHT.dec(sum(delivery is not None for delivery in removed))

    def wait_for_change(self, timeout_s: float) -> None:
        """Return when something was removed, or after `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Return whether everything was finished within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._deliveries, timeout_s)

    def held(self) -> list[Delivery]:
        """Return what is in flight now."""
        with self._changed:
            return list(self._deliveries.values())

    def close(self) -> None:
        """Stop renewing leases; idempotent."""
        self._closed.set()
        self._renewer.join()

    def _renew(self) -> None:
        while not self._closed.wait(self._period_s):
            held = self.held()
            try:
                if held:
                    self._queue.extend(held)
            except QueueUnavailable as error:
                _log.warning("leases_not_renewed", held=len(held), reason=error.message)


def _size(delivery: Delivery) -> int:
    return len(delivery.request.item.payload)
