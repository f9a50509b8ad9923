"""What every queue promises; see `embark.queue.base`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import pytest

from embark.errors import QueueUnavailable
from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import DeadLetter, Delivery, Lane, LaneStatus, Queue, Request
from tests.contract.conftest import ALL, Bench
from tests.support.clock import Clock


def request(number: int, lane: Lane = Lane.INTERACTIVE, size: int = 4) -> Request:
    item = Input(InputKind.TEXT, number.to_bytes(4, "big") + b"x" * (size - 4))
    return Request(Key("m", "0" * 16, digest(item)), item, lane)


def numbers(deliveries: Iterable[Delivery]) -> list[int]:
    return [int.from_bytes(one.request.item.payload[:4], "big") for one in deliveries]


def depth(queue: Queue, lane: Lane, expected: int) -> bool:
    """Whether a lane's depth becomes what is expected; it may be a few seconds old."""
    return becomes(queue, lambda status: status[lane].depth == expected)


def becomes(queue: Queue, expected: Callable[[dict[Lane, LaneStatus]], bool]) -> bool:
    """Whether a queue's status becomes as expected; a broker may be late to tell."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(QueueUnavailable):
            if expected(queue.status()):
                return True
        time.sleep(0.1)
    return False


def test_a_request_is_delivered_as_it_was_put_oldest_first(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    for number in (3, 1, 2):
        queue.put([request(number)])
        clock.now += 1
    deliveries = bench.take(queue, 3)
    assert [one.request for one in deliveries] == [request(3), request(1), request(2)]
    assert {one.attempt for one in deliveries} == {1}
    assert deliveries[0].queued_at == clock.now - 3


def test_acknowledged_is_gone_and_may_be_asked_again(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    queue.put([request(1)])
    queue.ack(bench.take(queue, 1))
    clock.now += 1000
    assert bench.nothing(queue)
    queue.put([request(1)])
    assert numbers(bench.take(queue, 1)) == [1]


def test_what_a_dead_consumer_held_is_delivered_to_another(bench: Bench) -> None:
    first, second = bench.open(), bench.open()
    first.put([request(number) for number in range(3)])
    held = bench.take(first, 3)
    first.ack(held[:1])
    bench.dies(first)
    again = bench.take(second, 2)
    assert numbers(again) == numbers(held[1:])
    assert {one.receipt for one in again}.isdisjoint(one.receipt for one in held)
    second.ack(again)
    assert bench.nothing(second)


def test_words_that_come_too_late_change_nothing(bench: Bench) -> None:
    first, second = bench.open(), bench.open()
    first.put([request(1)])
    (late,) = bench.take(first, 1)
    bench.dies(first)
    (current,) = bench.take(second, 1)
    first.ack([late])
    first.defer([late], 0)
    try:
        first.retry(late, 0)
        first.bury(late, "code", "message")
    except QueueUnavailable:
        pass  # a queue that is closed may say so
    assert second.dead(10) == []
    assert bench.nothing(second)
    second.ack([current])
    assert depth(second, Lane.INTERACTIVE, 0)


def test_retry_counts_an_attempt_and_defer_does_not(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    queue.put([request(1)])
    queue.retry(bench.take(queue, 1)[0], 5)
    assert bench.nothing(queue)
    clock.now += 5
    (second,) = bench.take(queue, 1)
    assert (second.attempt, second.request) == (2, request(1))
    queue.defer([second], 5)
    assert bench.nothing(queue)
    clock.now += 5
    assert bench.take(queue, 1)[0].attempt == 2


def test_long_and_short_delays_do_not_wait_for_each_other(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    queue.put([request(number) for number in range(4)])
    for one, delay in zip(bench.take(queue, 4), (60, 1, 30, 2), strict=True):
        queue.retry(one, delay)
    for passes, expected in ((1, [1]), (1, [3]), (28, [2]), (30, [0])):
        clock.now += passes
        taken = bench.take(queue, 1)
        assert numbers(taken) == expected
        queue.ack(taken)


def test_a_buried_request_is_kept_as_a_dead_letter(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    queue.put([request(1), request(2)])
    for one in bench.take(queue, 2):
        queue.bury(one, "code", f"message {numbers([one])[0]}")
        clock.now += 1
    assert bench.nothing(queue)
    assert depth(queue, Lane.INTERACTIVE, 0)
    latest, earlier = queue.dead(10)
    assert (latest.code, latest.message) == ("code", "message 2")
    assert (latest.key, latest.lane) == (str(request(2).key), Lane.INTERACTIVE)
    assert (earlier.attempt, earlier.died_at) == (1, clock.now - 2)
    assert len(queue.dead(1)) == 1


def test_dead_letters_are_replayed_as_first_attempts_or_purged(bench: Bench, queue: Queue) -> None:
    queue.put([request(number, Lane.BULK) for number in range(3)])
    for one in bench.take(queue, 3, Lane.BULK):
        queue.bury(one, "code", "message")
    by_key: dict[str, DeadLetter] = {letter.key: letter for letter in queue.dead(10)}
    assert queue.replay([by_key[str(request(1).key)]]) == 1
    (again,) = bench.take(queue, 1, Lane.BULK)
    assert (again.request, again.attempt) == (request(1, Lane.BULK), 1)
    assert queue.purge([by_key[str(request(0).key)]]) == 1
    assert [letter.key for letter in queue.dead(10)] == [str(request(2).key)]
    assert queue.replay(list(by_key.values())) == 1


def test_lanes_are_apart(bench: Bench, queue: Queue) -> None:
    queue.put([request(1, Lane.BULK), request(2, Lane.INTERACTIVE)])
    assert numbers(bench.take(queue, 1, Lane.INTERACTIVE)) == [2]
    assert numbers(bench.take(queue, 1, Lane.BULK)) == [1]


def test_deliveries_are_bounded_in_number_and_bytes_but_never_none(
    bench: Bench, queue: Queue
) -> None:
    queue.put([request(number, size=100) for number in range(6)])
    queue.defer(bench.take(queue, 6), 0)  # all are here now
    assert len(bench.take(queue, 1, most=1)) == 1
    deadline = time.monotonic() + 10
    while len(taken := queue.take(Lane.INTERACTIVE, 100, 250)) != 2:
        queue.defer(taken, 0)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(queue.take(Lane.INTERACTIVE, 100, 10)) == 1
    assert len(queue.take(Lane.INTERACTIVE, 100, ALL)) == 2


def test_status_tells_depth_and_age(bench: Bench, queue: Queue, clock: Clock) -> None:
    queue.put([request(1), request(2, Lane.BULK), request(3, Lane.BULK)])
    clock.now += 7
    bench.take(queue, 2, Lane.BULK)

    def is_told(status: dict[Lane, LaneStatus]) -> bool:
        told = {lane: (one.depth, one.oldest_seconds) for lane, one in status.items()}
        parts = sum(status[Lane.BULK].parts.values())
        return (told, parts) == ({Lane.INTERACTIVE: (1, 7), Lane.BULK: (2, 7)}, 2)

    assert becomes(queue, is_told)


def test_a_retried_request_keeps_its_age_and_its_trace(
    bench: Bench, queue: Queue, clock: Clock
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    queue.put([replace(request(1), trace=trace)])
    clock.now += 10
    (first,) = bench.take(queue, 1)
    assert queue.retry(first, 5)
    clock.now += 20
    (second,) = bench.take(queue, 1)
    assert (second.attempt, second.queued_at) == (2, first.queued_at)
    assert first.request.trace == second.request.trace == trace
    assert becomes(queue, lambda status: status[Lane.INTERACTIVE].oldest_seconds == 30)


def test_a_large_image_travels(bench: Bench, queue: Queue) -> None:
    item = Input(InputKind.IMAGE, bytes(range(256)) * 80_000)
    large = Request(Key("m", "0" * 16, digest(item)), item, Lane.INTERACTIVE)
    queue.put([large])
    (delivery,) = bench.take(queue, 1)
    assert delivery.request == large
    queue.retry(delivery, 0)
    (again,) = bench.take(queue, 1)
    assert (again.request, again.attempt) == (large, 2)
    queue.bury(again, "code", "message")
    assert queue.replay(queue.dead(1)) == 1
    (revived,) = bench.take(queue, 1)
    assert revived.request == large
    queue.ack([revived])


def test_takers_at_once_finish_everything(bench: Bench) -> None:
    queues = [bench.open() for _ in range(3)]
    queues[0].put([request(number) for number in range(300)])
    finished: set[int] = set()
    done = threading.Event()

    def drain(queue: Queue) -> None:
        while not done.wait(0.005):
            deliveries = queue.take(Lane.INTERACTIVE, 7, ALL)
            queue.ack(deliveries)
            finished.update(numbers(deliveries))

    threads = [threading.Thread(target=drain, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    try:
        assert depth(queues[0], Lane.INTERACTIVE, 0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert finished == set(range(300))


def test_what_was_put_is_there_after_reopening(bench: Bench) -> None:
    first = bench.open()
    first.put([request(1)])
    first.close()
    assert numbers(bench.take(bench.open(), 1)) == [1]


def test_a_closed_queue_says_so(queue: Queue) -> None:
    queue.close()
    queue.close()
    for call in (
        lambda: queue.put([request(1)]),
        lambda: queue.take(Lane.INTERACTIVE, 1, ALL),
        queue.status,
        lambda: queue.dead(1),
    ):
        with pytest.raises(QueueUnavailable):
            call()
