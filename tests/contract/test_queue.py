"""What every queue promises; see `embark.queue.base`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from embark.errors import QueueUnavailable
from embark.inputs import Input, InputKind
from embark.keys import Key
from embark.queue.base import Delivery, Lane, Queue, Request
from tests.contract.conftest import LEASE_S, Clock

ALL = 10**9


def request(number: int, lane: Lane = Lane.INTERACTIVE, payload: bytes = b"x") -> Request:
    key = Key("m", "0" * 16, number.to_bytes(16, "big"))
    return Request(key, Input(InputKind.TEXT, payload), lane)


def take(queue: Queue, lane: Lane = Lane.INTERACTIVE, most: int = 100) -> list[Delivery]:
    return queue.take(lane, most, ALL)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int.from_bytes(one.request.key.digest, "big") for one in deliveries]


def test_a_request_is_delivered_as_it_was_put_oldest_first(queue: Queue, clock: Clock) -> None:
    for number in (3, 1, 2):
        queue.put([request(number, payload=bytes([number]))])
        clock.now += 1
    deliveries = take(queue)
    assert [one.request for one in deliveries] == [
        request(number, payload=bytes([number])) for number in (3, 1, 2)
    ]
    assert {one.attempt for one in deliveries} == {1}
    assert deliveries[0].queued_at == clock.now - 3


def test_acknowledged_is_gone_and_may_be_asked_again(queue: Queue, clock: Clock) -> None:
    queue.put([request(1)])
    queue.ack(take(queue))
    clock.now += 10 * LEASE_S
    assert take(queue) == []
    queue.put([request(1)])
    assert numbers(take(queue)) == [1]


def test_a_leased_request_is_not_delivered_again_until_the_lease_ends(
    queue: Queue, clock: Clock
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


def test_words_that_come_too_late_change_nothing(queue: Queue, clock: Clock) -> None:
    queue.put([request(1)])
    (late,) = take(queue)
    clock.now += LEASE_S + 1
    (current,) = take(queue)
    queue.ack([late])
    queue.retry(late, 0)
    queue.defer([late], 0)
    queue.bury(late, "code", "message")
    assert queue.status()[Lane.INTERACTIVE].depth == 1
    assert queue.dead(10) == []
    assert take(queue) == []
    queue.ack([current])
    assert queue.status()[Lane.INTERACTIVE].depth == 0


def test_retry_counts_an_attempt_and_defer_does_not(queue: Queue, clock: Clock) -> None:
    queue.put([request(1)])
    queue.retry(take(queue)[0], 5)
    assert take(queue) == []
    clock.now += 5
    (second,) = take(queue)
    assert second.attempt == 2
    queue.defer([second], 5)
    assert take(queue) == []
    clock.now += 5
    assert take(queue)[0].attempt == 2


def test_a_buried_request_is_kept_as_a_dead_letter(queue: Queue) -> None:
    queue.put([request(1), request(2)])
    for one in take(queue):
        queue.bury(one, "code", f"message {numbers([one])[0]}")
    assert take(queue) == []
    latest, earlier = queue.dead(10)
    assert (latest.code, latest.message, latest.request) == ("code", "message 2", request(2))
    assert earlier.attempt == 1
    assert len(queue.dead(1)) == 1


def test_a_key_waits_once_and_interactive_lifts_bulk(queue: Queue) -> None:
    queue.put([request(1, Lane.BULK), request(1, Lane.BULK), request(2, Lane.BULK)])
    queue.put([request(1, Lane.INTERACTIVE)])
    queue.put([request(2, Lane.BULK)])
    assert numbers(take(queue, Lane.INTERACTIVE)) == [1]
    assert numbers(take(queue, Lane.BULK)) == [2]


def test_deliveries_are_bounded_in_number_and_bytes_but_never_none(queue: Queue) -> None:
    queue.put([request(number, payload=b"x" * 100) for number in range(5)])
    assert len(queue.take(Lane.INTERACTIVE, 1, ALL)) == 1
    assert len(queue.take(Lane.INTERACTIVE, 100, 250)) == 2
    assert len(queue.take(Lane.INTERACTIVE, 100, 10)) == 1
    assert len(queue.take(Lane.INTERACTIVE, 100, ALL)) == 1


def test_status_tells_depth_and_age(queue: Queue, clock: Clock) -> None:
    queue.put([request(1), request(2, Lane.BULK), request(3, Lane.BULK)])
    clock.now += 7
    take(queue, Lane.BULK)
    status = queue.status()
    assert (status[Lane.BULK].depth, status[Lane.BULK].oldest_seconds) == (2, 7)
    assert (status[Lane.INTERACTIVE].depth, status[Lane.INTERACTIVE].oldest_seconds) == (1, 7)


def test_a_large_image_travels(queue: Queue) -> None:
    payload = bytes(range(256)) * 80_000
    queue.put([request(1, payload=payload)])
    assert take(queue)[0].request.item.payload == payload


def test_takers_at_once_never_get_the_same_delivery(open_queue: Callable[[], Queue]) -> None:
    queues = [open_queue() for _ in range(4)]
    queues[0].put([request(number) for number in range(400)])

    def drain(queue: Queue) -> list[int]:
        taken: list[int] = []
        while deliveries := take(queue, most=7):
            taken += numbers(deliveries)
            queue.ack(deliveries)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [number for part in pool.map(drain, queues) for number in part]
    assert sorted(taken) == list(range(400))


def test_what_was_put_is_there_after_reopening(open_queue: Callable[[], Queue]) -> None:
    first = open_queue()
    first.put([request(1)])
    first.close()
    assert numbers(take(open_queue())) == [1]


def test_a_closed_queue_says_so(queue: Queue) -> None:
    queue.close()
    queue.close()
    with pytest.raises(QueueUnavailable):
        queue.put([request(1)])
    with pytest.raises(QueueUnavailable):
        take(queue)
    with pytest.raises(QueueUnavailable):
        queue.status()
