"""How long a request would wait now, learned from those before it: what is turned away, and when.

Turning away costs a hundredth of an answer, so it is done when the head has come and before the
body is read. A request waits for those before it, which use the interpreter one after another, or
the archive, or a processor that others use too: what they take of the interpreter is measured, and
at what pace they are answered while there are several, so nobody has to say how fast the machine
is. Not counted are requests that wait on purpose (`on_miss: wait`): they use nothing meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

# Of the objective; the rest is for the request's own work, and for what the estimate misses.
_SHARE = 1 / 3
_WEIGHT = 0.05
# From so many at once on, the pace counts. It is learned from fewer on, or an estimate that is too
# high would let nobody in who shows that it is.
_SEVERAL = 4
_LEARNT_FROM = 2


class Load:
    """The requests of one process that have come and are not answered. Safe for many threads.

    Args:
        objective_s: what an accepted request may take.
        clock: monotonic seconds.
    """

    def __init__(self, objective_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._objective_s: Final = objective_s
        self._clock: Final = clock
        self._lock = threading.Lock()
        self._waiting = 0
        self._running = 0
        self._work_s = 0.0  # of the interpreter, for one request
        self._pace_s = 0.0  # between two answers, while there are several requests
        self._ended: float | None = None  # when the last answer was, if there were several then
        self._stuck_since = 0.0  # when the foremost came to the front

    def expected_s(self) -> float:
        """Return how long a request that came now would wait."""
        with self._lock:
            return self._expected_s()

    def has_room(self) -> bool:
        """Whether a request that came now would be answered within the objective."""
        with self._lock:
            expected_s = self._expected_s()
            if expected_s <= self._objective_s * _SHARE:
                return True
            # Behind a single one there is little that the estimate could miss.
            is_second = self.unanswered <= 1
            return is_second and expected_s + self._work_s <= self._objective_s

    def is_too_late(self, waited_s: float) -> bool:
        """Whether a request has waited so long that its answer would be late, against all hope."""
        return waited_s > self._objective_s

    def enter(self) -> None:
        """Count a request that waits for a thread."""
        with self._lock:
            if not self._waiting:
                self._stuck_since = self._clock()
            self._waiting += 1

    def begin(self) -> None:
        """Count it as given a thread."""
        with self._lock:
            self._waiting -= 1
            self._running += 1
            self._stuck_since = self._clock()

    def pause(self) -> None:
        """Count it as waiting on purpose, to its end."""
        with self._lock:
            self._running -= 1

    def end(self, work_s: float, *, paused: bool) -> None:
        """Count it as answered.

        Args:
            work_s: seconds of the processor that it took; 0 if it was turned away after all.
            paused: whether it waited on purpose.
        """
        with self._lock:
            if work_s:
                self._work_s += _WEIGHT * (min(work_s, self._objective_s) - self._work_s)
            if paused:
                return
            now = self._clock()
            if self._ended is not None:
                pace_s = min(now - self._ended, self._objective_s / _SEVERAL)
                self._pace_s += _WEIGHT * (pace_s - self._pace_s)
            self._running -= 1
            self._ended = now if self._waiting + self._running >= _LEARNT_FROM else None

    @property
    def unanswered(self) -> int:
        """How many wait or run."""
        return self._waiting + self._running

    def _expected_s(self) -> float:
        before = self.unanswered
        expected_s = before * max(self._work_s, self._pace_s if before >= _SEVERAL else 0.0)
        if not self._waiting:
            return expected_s
        # Threads that are all stuck change no pace, but the foremost's wait grows.
        return max(expected_s, self._clock() - self._stuck_since)
