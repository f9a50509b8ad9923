"""Every implementation of the store and the queue, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embark.queue.base import Queue
from embark.queue.sqlite import SqliteQueue
from embark.store.base import Store
from embark.store.lmdb import LmdbStore

LEASE_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["lmdb"])
def store(tmp_path: Path) -> Iterator[Store]:
    opened = LmdbStore(tmp_path / "archive", 64 * 2**20)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite"])
def open_queue(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Queue]]:
    opened: list[Queue] = []

    def open_one() -> Queue:
        opened.append(SqliteQueue(tmp_path / "queue.sqlite", LEASE_S, clock))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def queue(open_queue: Callable[[], Queue]) -> Queue:
    return open_queue()
