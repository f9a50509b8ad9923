"""What one key may ask at once and in a second, in this process.

A gateway's processes share the work, not the counts: each allows its part of a limit. Connections
spread unevenly, so a key that uses few of them may meet its limit a little early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from embark.api_keys import ApiKey
from embark.errors import TooManyRequests
from embark.metrics import REFUSED

_LONGEST_RETRY_SECONDS = 60.0


class Limit:
    """What one name may do. Safe for many threads.

    Args:
        rate: requests a second; 0 for any number.
        concurrent: requests at once; 0 for any number.
        clock: monotonic seconds.
    """

    def __init__(self, rate: float, concurrent: int, clock: Callable[[], float]) -> None:
        self.rate: Final = rate
        self.concurrent: Final = concurrent
        self._clock: Final = clock
        self._lock = threading.Lock()
        # A second's worth at once, so that a batch of calls passes.
        self._most = max(1.0, rate)
        self._tokens = self._most
        self._filled = clock()
        self._running = 0

    def take(self) -> None:
        """Begin a request.

        Raises:
            TooManyRequests: the limit is reached.
        """
        with self._lock:
            if self.concurrent and self._running >= self.concurrent:
                REFUSED.labels(reason="concurrency").inc()
                raise TooManyRequests(
                    "as many requests of this key as it is allowed run already",
                    code="too_many_concurrent_requests",
                )
            if self.rate:
                self._spend()
            self._running += 1

    def give_back(self) -> None:
        """End a request."""
        with self._lock:
            self._running -= 1

    def _spend(self) -> None:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            REFUSED.labels(reason="rate").inc()
            wait_s = min((1 - self._tokens) / self.rate, _LONGEST_RETRY_SECONDS)
            raise TooManyRequests("this key has asked too often lately", retry_after_s=wait_s)
        self._tokens -= 1


class Limits:
    """The limits of all names.

    Args:
        rate: requests a second of a key that says nothing itself; 0 for any number.
        concurrent: the same for requests at once.
        processes: how many share them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rate: float,
        concurrent: int,
        processes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._default_rate: Final = rate
        self._default_concurrent: Final = concurrent
        self._processes: Final = processes
        self._clock: Final = clock
        self._known: dict[tuple[str, float, int], Limit] = {}

    def of(self, key: ApiKey) -> Limit | None:
        """Return the limit of a key, None for none; keys of one name that say the same share it."""
        rate = key.requests_per_second or self._default_rate
        concurrent = key.concurrent or self._default_concurrent
        if not rate and not concurrent:
            return None
        rate /= self._processes
        concurrent = -(-concurrent // self._processes)
        name = (key.name, rate, concurrent)
        known = self._known.get(name)
        if known is None:
            known = self._known.setdefault(name, Limit(rate, concurrent, self._clock))
        return known
