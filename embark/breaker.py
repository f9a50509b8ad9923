"""A circuit breaker: after failures in a row it says no at once, until somebody has seen success.

Source: M. Nygard, "Release It!", 2007. It does not probe by itself: its owner does, and reports.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final


class Breaker:
    """Closed while things work, open after `failures` failures in a row. Safe for many threads.

    Args:
        failures: how many failures in a row open it.
        changed: told, outside any lock, whether it is open now, each time that changes.
    """

    def __init__(self, failures: int, changed: Callable[[bool], None]) -> None:
        self._most: Final = failures
        self._changed: Final = changed
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether calls should not be tried."""
        return self._open

    def succeeded(self) -> None:
        """Close it."""
        if self._in_a_row or self._open:  # read without the lock: the hot path has no failures
            self._report(failed=False)

    def failed(self) -> None:
        """Count a failure."""
        self._report(failed=True)

    def _report(self, *, failed: bool) -> None:
        with self._lock:
            before = self._open
            self._in_a_row = self._in_a_row + 1 if failed else 0
            self._open = failed and (before or self._in_a_row >= self._most)
            now = self._open
        if now is not before:
            self._changed(now)
