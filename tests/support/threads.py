"""Threads that work until the `with` block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Self = TypeVar("Self", bound="Threads")


class Threads:
    """Runs functions, each in a thread; they end soon after `stopping` is set."""

    def __init__(self, functions: Sequence[Callable[[], None]]) -> None:
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=function) for function in functions]

    def __enter__(self: Self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
