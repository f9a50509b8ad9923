"""Which fetches run now: a few at once from each host, so that a slow one holds up no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from embark.settings import FetchSettings

Task = Callable[[], None]

_WAITING_PER_SLOT = 4


class FetchPool:
    """Threads that fetch. A task must not raise.

    Args:
        settings: `threads` in all, `per_host` for each host.
    """

    def __init__(self, settings: FetchSettings) -> None:
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="fetch")
        self._per_host: Final = settings.per_host
        self._most_waiting: Final = settings.threads * _WAITING_PER_SLOT
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[Task]] = {}
        self._total_waiting = 0

    def submit(self, host: str, task: Task) -> bool:
        """Run `task` when its host's turn comes; False when too much waits already."""
        with self._lock:
            if sum(self._running.values()) < self._most_waiting and (
                self._running.get(host, 0) < self._per_host
            ):
                self._running[host] = self._running.get(host, 0) + 1
                self._threads.submit(self._run, host, task)
                return True
            waiting = self._waiting.setdefault(host, deque())
            full = len(waiting) >= self._per_host * _WAITING_PER_SLOT
            if full or self._total_waiting >= self._most_waiting:
                return False
            waiting.append(task)
            self._total_waiting += 1
            return True

    def close(self) -> None:
        """Forget what waits, and return when what runs has ended; idempotent."""
        with self._lock:
            self._waiting.clear()
            self._total_waiting = 0
        self._threads.shutdown(cancel_futures=True)

    def _run(self, host: str, task: Task) -> None:
        try:
            task()
        finally:
            with self._lock:
                self._next(host)

    def _next(self, host: str) -> None:
        waiting = self._waiting.get(host)
        if waiting:
            self._total_waiting -= 1
            self._threads.submit(self._run, host, waiting.popleft())
            return
        self._waiting.pop(host, None)
        self._running[host] -= 1
        if not self._running[host]:
            del self._running[host]
