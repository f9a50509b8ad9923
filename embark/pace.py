"""A pace: how fast background work may go, so that it leaves the archive to lookups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final


class Pace:
    """Lets work through at an even rate.

    Args:
        per_second: how much; 0 for as fast as it goes.
        stop: ends a wait.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        per_second: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second: Final = per_second
        self._stop: Final = stop
        self._clock: Final = clock
        self._due = clock()

    def wait(self, amount: int) -> None:
        """Wait until the work before is paid for, then count `amount` more."""
        if not self._per_second:
            return
        now = self._clock()
        self._stop.wait(max(0.0, self._due - now))
        self._due = max(self._due, now) + amount / self._per_second
