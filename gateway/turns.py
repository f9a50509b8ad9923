"""Turns at the interpreter: threads that compute do so one after another.

Python runs one thread at a time, so more that compute only get in each other's way, and in that of
the loop that takes requests in and turns them away. A thread that waits, for the archive, the queue
or a model, steps aside meanwhile; when it waits because the client asked for it, it says so, and
its request counts as load no more. Outside the server nobody takes turns, and both do nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final


class Turn:
    """What one thread has at a time, in the order in which they ask."""

    def __init__(self) -> None:
        self._changing: Final = threading.Lock()
        self._is_taken = False
        self._waiting: Final[deque[threading.Lock]] = deque()

    def take(self) -> None:
        """Wait for the turn; this thread has it until it gives it back."""
        with self._changing:
            if self._is_taken:
                handed = threading.Lock()
                handed.acquire()
                self._waiting.append(handed)
            else:
                self._is_taken = True
                handed = None
        if handed is not None:
            handed.acquire()
        _thread.turn = self

    def give_back(self) -> None:
        """Hand it to the thread that has waited longest."""
        _thread.turn = None
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


class _Thread(threading.local):
    turn: Turn | None = None
    on_patience: Callable[[], None] | None = None


_thread = _Thread()


@contextmanager
def aside() -> Iterator[None]:
    """Let others have this thread's turn while it waits for something, then wait for it again."""
    turn = _thread.turn
    if turn is None:
        yield
        return
    turn.give_back()
    try:
        yield
    finally:
        turn.take()


@contextmanager
def told_of_patience(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called, perhaps several times, when this thread's request waits on purpose."""
    _thread.on_patience = tell
    try:
        yield
    finally:
        _thread.on_patience = None


def waits_on_purpose() -> None:
    """Say that this thread's request is going to wait because its client asked for it."""
    if _thread.on_patience is not None:
        _thread.on_patience()
