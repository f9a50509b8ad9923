"""Work on the next few things while the present one is used. No torch here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from embark.errors import BadRequest

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(
    items: Iterable[Item], make: Callable[[Item, threading.Event], Made], depth: int
) -> Generator[tuple[Item, Made], None, None]:
    """Yield each item with what `make` makes of it, in order; up to `depth` are made beforehand.

    `items` is iterated in the caller's thread, so that a sampler's random numbers do not depend on
    timing; `make` runs in others, which end when the iterator is exhausted, closed or dropped.

    Args:
        items: what to work on.
        make: given an item and an event; it ends soon after the event is set. What it raises is
            raised in the item's place.
        depth: how many to have in work, at least 1.

    Raises:
        BadRequest: `depth` is below 1.
    """
    if depth < 1:
        raise BadRequest(f"depth is {depth}; it must be at least 1")
    return _ahead(items, make, depth)


def _ahead(
    items: Iterable[Item], make: Callable[[Item, threading.Event], Made], depth: int
) -> Generator[tuple[Item, Made], None, None]:
    stop = threading.Event()
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    threads = ThreadPoolExecutor(depth, thread_name_prefix="embark-ahead")
    try:
        for item in items:
            waiting.append((item, threads.submit(make, item, stop)))
            if len(waiting) > depth:
                first, made = waiting.popleft()
                yield first, made.result()
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()
    finally:
        stop.set()
        threads.shutdown(wait=True, cancel_futures=True)
