"""What the embedded queue promises beyond `embark.queue.base`: leases, and a key waits once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from embark.errors import QueueUnavailable
from embark.inputs import Input, InputKind
from embark.keys import Key
from embark.queue.base import Delivery, Lane, Request
from embark.queue.sqlite import SqliteQueue
from tests.support.clock import Clock

ALL = 10**9
LEASE_S = 10.0

T = TypeVar("T")


def request(number: int, lane: Lane = Lane.INTERACTIVE) -> Request:
    key = Key("m", "0" * 16, number.to_bytes(16, "big"))
    return Request(key, Input(InputKind.TEXT, b"x"), lane)


def take(queue: SqliteQueue, lane: Lane = Lane.INTERACTIVE, most: int = 100) -> list[Delivery]:
    return queue.take(lane, most, ALL)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int.from_bytes(one.request.key.digest, "big") for one in deliveries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[SqliteQueue]:
    opened = SqliteQueue(tmp_path / "queue.sqlite", LEASE_S, clock)
    yield opened
    opened.close()


def test_a_leased_request_is_not_delivered_again_until_the_lease_ends(
    queue: SqliteQueue, clock: Clock
) -> None:
    queue.put([request(1)])
    (first,) = take(queue)
    clock.now += LEASE_S - 1
    assert take(queue) == []
    queue.extend([first])
    clock.now += LEASE_S - 1
    assert take(queue) == []
    clock.now += 2
    (second,) = take(queue)
    assert second.request == first.request
    assert second.receipt != first.receipt


def test_a_key_waits_once_and_interactive_lifts_bulk(queue: SqliteQueue) -> None:
    queue.put([request(1, Lane.BULK), request(1, Lane.BULK), request(2, Lane.BULK)])
    queue.put([request(1, Lane.INTERACTIVE)])
    queue.put([request(2, Lane.BULK)])
    assert numbers(take(queue, Lane.INTERACTIVE)) == [1]
    assert numbers(take(queue, Lane.BULK)) == [2]


def patiently(act: Callable[[], T]) -> T:
    """Do what may find the file locked for longer than it is waited for, on a busy disk."""
    for _ in range(60):
        try:
            return act()
        except QueueUnavailable as error:
            assert "locked" in error.message
    return act()


def test_takers_at_once_never_get_the_same_delivery(tmp_path: Path) -> None:
    queues = [SqliteQueue(tmp_path / "shared.sqlite", 3600) for _ in range(4)]
    queues[0].put([request(number) for number in range(400)])

    def drain(queue: SqliteQueue) -> list[int]:
        taken: list[int] = []
        while deliveries := patiently(lambda: take(queue, most=7)):
            taken += numbers(deliveries)
            patiently(lambda: queue.ack(deliveries))
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [number for part in pool.map(drain, queues) for number in part]
    assert sorted(taken) == list(range(400))
    for one in queues:
        one.close()


def test_a_miss_of_what_was_prefetched_is_as_old_as_the_miss(
    queue: SqliteQueue, clock: Clock
) -> None:
    queue.put([request(1, Lane.BULK), request(2)])
    clock.now += 100
    queue.put([request(1), request(2)])
    clock.now += 5
    ages = {lane: status.oldest_seconds for lane, status in queue.status().items()}
    assert ages == {Lane.INTERACTIVE: 105, Lane.BULK: 0}
    queue.ack([one for one in take(queue) if numbers([one]) == [2]])
    assert queue.status()[Lane.INTERACTIVE].oldest_seconds == 5


def test_a_clock_that_steps_back_hides_nothing(queue: SqliteQueue, clock: Clock) -> None:
    queue.put([request(1), request(2)])
    (leased,) = take(queue, most=1)
    clock.now -= 3600
    queue.put([request(3)])
    assert queue.status()[Lane.INTERACTIVE].parts["due"] == 2
    taken = take(queue)
    assert sorted(numbers(taken)) == [2, 3]
    # A lease holds, and a retry waits for its time by the new clock.
    assert take(queue) == []
    for one in taken:
        queue.retry(one, 10)
    queue.retry(leased, 10)
    clock.now += 9
    assert take(queue) == []
    clock.now += 2
    assert sorted(numbers(take(queue))) == [1, 2, 3]


def test_the_oldest_counts_until_it_is_finished(queue: SqliteQueue, clock: Clock) -> None:
    queue.put([request(1)])
    clock.now += 10
    queue.put([request(2)])
    oldest, newest = take(queue)
    queue.ack([newest])
    queue.retry(oldest, 50)
    clock.now += 20
    assert queue.status()[Lane.INTERACTIVE].oldest_seconds == 30
    clock.now += 50
    queue.ack(take(queue))
    assert queue.status()[Lane.INTERACTIVE].oldest_seconds == 0
