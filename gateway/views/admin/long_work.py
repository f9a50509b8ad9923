"""What bounds an operator's long requests: one at a time in a process, and not for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from embark.errors import Unavailable

MOST_SECONDS: Final = 20.0
"""After how long such a request gives up."""


class LongWork:
    """Lets one request at a time work, for a bounded time.

    Args:
        what: the work, for people.
        most_seconds: after how long it gives up.
    """

    def __init__(self, what: str, most_seconds: float = MOST_SECONDS) -> None:
        self._what: Final = what
        self._most_seconds: Final = most_seconds
        self._lock: Final = threading.Lock()

    @contextmanager
    def begun(
        self, too_slow: Callable[[int, float], Unavailable]
    ) -> Iterator[Callable[[int], None]]:
        """Begin; gives what is to be told how much is done, again and again.

        Args:
            too_slow: returns the error for what was done when the time was over, and that time in
                seconds.

        Raises:
            Unavailable: another request works, or the time is over.
        """
        if not self._lock.acquire(blocking=False):
            raise Unavailable(f"another {self._what} is under way; ask again", code="busy")
        try:
            ends = time.monotonic() + self._most_seconds

            def check(done: int) -> None:
                if time.monotonic() > ends:
                    raise too_slow(done, self._most_seconds)

            yield check
        finally:
            self._lock.release()
