from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embark.inputs import Input, InputKind
from embark.keys import Key
from embark.metrics import MISS_MARKS
from embark.queue.base import Lane, Request
from embark.queue.sqlite import SqliteQueue
from embark.settings import GatewaySettings
from gateway.misses import Misses
from tests.support.clock import Clock
from tests.support.stack import wait_until


class SlowQueue(SqliteQueue):
    """The real queue, held back until a test lets it go; counts its transactions."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 15)
        self.gate = threading.Event()
        self.gate.set()
        self.puts = 0

    def put(self, requests: Sequence[Request]) -> None:
        assert self.gate.wait(10)
        self.puts += 1
        super().put(requests)


def request(number: int, size: int = 1) -> Request:
    key = Key("m", "0" * 16, number.to_bytes(16, "big"))
    return Request(key, Input(InputKind.TEXT, b"x" * size), Lane.INTERACTIVE)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SlowQueue]:
    opened = SlowQueue(tmp_path / "queue.sqlite")
    yield opened
    opened.gate.set()
    opened.close()


def waiting(queue: SlowQueue) -> int:
    return queue.status()[Lane.INTERACTIVE].depth


def test_threads_that_miss_the_same_key_queue_it_once(queue: SlowQueue) -> None:
    misses = Misses(queue, GatewaySettings(miss_ack_ms=100))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: misses.ask([request(1)], 5), range(100)))
    misses.close()
    assert answers == [[True]] * 100
    assert (queue.puts, waiting(queue)) == (1, 1)


def test_what_gathers_while_the_queue_writes_goes_in_one_transaction(queue: SlowQueue) -> None:
    misses = Misses(queue, GatewaySettings(miss_ack_ms=0))
    queue.gate.clear()
    assert misses.ask([request(number) for number in range(3)]) == [False] * 3
    for number in range(3, 50):
        misses.ask([request(number)])
    queue.gate.set()
    misses.close()
    assert waiting(queue) == 50
    assert queue.puts <= 3


def test_the_buffer_is_bounded_in_items_and_bytes(queue: SlowQueue) -> None:
    limits = GatewaySettings(miss_ack_ms=0, miss_buffer_items=5, miss_buffer_bytes=1000)
    misses = Misses(queue, limits)
    queue.gate.clear()
    misses.ask([request(1, size=900), request(2, size=200)])
    misses.ask([request(number) for number in range(10, 20)])
    queue.gate.set()
    misses.close()
    assert waiting(queue) == 5
    assert misses.in_flight(request(1).key)
    assert not misses.in_flight(request(2).key)


def test_a_key_is_asked_again_after_a_while_or_when_found(queue: SlowQueue) -> None:
    now = [0.0]
    misses = Misses(queue, GatewaySettings(in_flight_seconds=10), clock=lambda: now[0])
    for expected in (1, 1):
        assert misses.ask([request(1)], 5) == [True]
        assert queue.puts == expected
    now[0] = 10
    misses.ask([request(1)], 5)
    assert queue.puts == 2
    misses.found([request(1).key])
    misses.ask([request(1)], 5)
    assert queue.puts == 3
    misses.close()


def test_a_queue_that_fails_is_not_waited_for_and_the_key_is_asked_again(
    queue: SlowQueue, tmp_path: Path
) -> None:
    misses = Misses(queue, GatewaySettings(miss_ack_ms=100))
    queue.close()
    assert misses.ask([request(1)], 5) == [False]
    assert not misses.in_flight(request(1).key)
    misses.close()


def marks() -> float:
    return MISS_MARKS._value.get()


def test_marks_are_counted_while_they_hold(queue: SlowQueue) -> None:
    clock = Clock()
    before = marks()
    misses = Misses(queue, GatewaySettings(miss_ack_ms=100, in_flight_seconds=15), clock)
    misses.ask([request(1), request(2), request(1)], 5)
    misses.ask([request(2), request(3)], 5)
    assert marks() - before == 3
    misses.found([request(1).key, request(9).key])
    assert marks() - before == 2
    # They end by themselves too, without another miss.
    clock.now += 16
    wait_until(lambda: marks() == before, 60, "marks have ended")
    misses.close()
