"""How a request ends, on the real embedded archive and queue."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.backoff import delay_s
from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.in_flight import InFlight
from embark.archive import MISSING, Archive
from embark.codec import Embedding, Failure
from embark.config import load
from embark.errors import PermanentFailure, TemporaryFailure
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Delivery, Lane, Request
from embark.settings import ConsumerSettings
from tests.support.clock import Clock
from tests.support.gateway import Service, service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until

ATTEMPTS = 3
LEASE_S = 10.0


class Consumer:
    """The end of the consumer's path, without the middle."""

    def __init__(self, here: Service, **queue: float) -> None:
        overrides = {f"queue.{name}": value for name, value in queue.items()}
        settings = load(
            environment={}, overrides={"queue.max_attempts": ATTEMPTS, **overrides}
        ).settings
        self.here = here
        self.model = here.models["words"]
        self.in_flight = InFlight(here.queue, settings.consumer, 15)
        self.flights = Flights()
        self.deliverer = Deliverer(here.backends, self.in_flight, self.flights, settings)

    def take(self, *texts: str) -> list[Delivery]:
        requests = [
            Request(Key("words", GENERATION, digest(item)), item, Lane.INTERACTIVE)
            for item in map(text_input, texts)
        ]
        if requests:
            self.here.queue.put(requests)
        deliveries = self.here.queue.take(Lane.INTERACTIVE, 100, 10**9)
        self.in_flight.add(deliveries)
        return deliveries

    def record(self, delivery: Delivery) -> object:
        return Archive(self.here.store).get_many(self.model, [delivery.request.key.digest], 1)[0]

    @property
    def depth(self) -> int:
        return self.here.queue.status()[Lane.INTERACTIVE].depth


@contextmanager
def consuming(folder: Path, **queue: float) -> Iterator[Consumer]:
    with service(folder) as here:
        made = Consumer(here, **queue)
        try:
            yield made
        finally:
            made.in_flight.close()


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    with consuming(tmp_path) as made:
        yield made


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Consumer]:
    """One whose retries are not due before the test has ended."""
    with consuming(tmp_path, retry_base_seconds=600, retry_max_seconds=600) as made:
        yield made


def test_vectors_are_written_and_acknowledged(consumer: Consumer) -> None:
    deliveries = consumer.take("a", "b")
    vectors = np.stack([vector_of(one.request.key, DIMENSION) for one in deliveries])
    consumer.deliverer.embedded(consumer.model, deliveries, vectors)
    assert all(isinstance(consumer.record(one), Embedding) for one in deliveries)
    assert (consumer.depth, consumer.in_flight.held()) == (0, [])


def test_a_vector_that_cannot_be_stored_fails_alone(consumer: Consumer) -> None:
    deliveries = consumer.take("a", "b")
    vectors = np.zeros((2, DIMENSION), np.float32)
    vectors[0, 0] = np.nan
    consumer.deliverer.embedded(consumer.model, deliveries, vectors)
    broken, good = (consumer.record(one) for one in deliveries)
    assert isinstance(broken, Failure)
    assert broken.code == "not_finite"
    assert isinstance(good, Embedding)
    assert consumer.depth == 0


def test_a_permanent_failure_is_remembered(consumer: Consumer) -> None:
    (delivery,) = consumer.take("a")
    consumer.deliverer.failed(consumer.model, delivery, PermanentFailure("gone", code="not_found"))
    record = consumer.record(delivery)
    assert isinstance(record, Failure)
    assert (record.code, record.message) == ("not_found", "gone")
    assert consumer.depth == 0


def test_a_temporary_failure_is_tried_again_and_at_last_given_up(consumer: Consumer) -> None:
    deliveries = consumer.take("a")
    failure = TemporaryFailure("busy", code="server_error")
    for attempt in range(1, ATTEMPTS + 1):
        (delivery,) = deliveries
        assert (delivery.attempt, consumer.record(delivery)) == (attempt, MISSING)
        consumer.deliverer.failed(consumer.model, delivery, failure)
        deadline = time.monotonic() + 10
        while attempt < ATTEMPTS and not (deliveries := consumer.take()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    record = consumer.record(delivery)
    assert isinstance(record, Failure)
    assert record.code == "server_error"
    (letter,) = consumer.here.queue.dead(10)
    assert (letter.code, letter.key) == ("server_error", str(delivery.request.key))
    assert consumer.depth == 0


def test_when_the_archive_is_down_nothing_is_acknowledged(consumer: Consumer) -> None:
    deliveries = consumer.take("a")
    consumer.here.store.close()
    consumer.deliverer.embedded(consumer.model, deliveries, np.zeros((1, DIMENSION), np.float32))
    assert (consumer.depth, consumer.in_flight.held()) == (1, [])


def test_when_the_queue_is_down_nothing_is_raised(consumer: Consumer) -> None:
    deliveries = consumer.take("a")
    consumer.here.queue.close()
    consumer.deliverer.embedded(consumer.model, deliveries, np.zeros((1, DIMENSION), np.float32))
    assert isinstance(consumer.record(deliveries[0]), Embedding)
    assert consumer.in_flight.held() == []


def test_what_is_in_flight_is_bounded(consumer: Consumer) -> None:
    settings = ConsumerSettings(max_in_flight=5, max_bulk_in_flight=2, max_in_flight_bytes=2**20)
    bounded = InFlight(consumer.here.queue, settings, 15)
    assert bounded.room(Lane.INTERACTIVE) == (5, 2**20)
    assert bounded.room(Lane.BULK) == (2, 2**20)
    deliveries = consumer.take("abcd", "efgh")
    bounded.add(deliveries)
    assert bounded.room(Lane.INTERACTIVE) == (3, 2**20 - 8)
    assert bounded.room(Lane.BULK) == (2, 2**20 - 8)
    bounded.remove(deliveries)
    assert bounded.wait_until_empty(0)
    bounded.close()


def test_leases_are_renewed_while_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path) as here:
        clock = Clock()
        here.queue._clock, here.queue._lease_s = clock, LEASE_S
        consumer = Consumer(here)
        consumer.in_flight.close()
        deliveries = consumer.take("a")
        extend = here.queue.extend
        renewed_at = [clock.now]

        def noted(held: Sequence[Delivery]) -> None:
            now = clock.now
            extend(held)
            renewed_at.append(now)

        monkeypatch.setattr(here.queue, "extend", noted)
        renewing = InFlight(here.queue, ConsumerSettings(), 0.3)
        renewing.add(deliveries)
        for _ in range(3):
            clock.now += 0.6 * LEASE_S
            wait_until(lambda: renewed_at[-1] == clock.now, 60, "the lease is renewed")
            assert consumer.take() == []
        renewing.close()
        clock.now += 2 * LEASE_S
        assert [one.attempt for one in consumer.take()] == [1]


def follow(consumer: Consumer, leader: Delivery, text: str) -> Delivery:
    """Another delivery that waits for the leader's vector."""
    (follower,) = consumer.take(text)
    consumer.flights.lead(leader, leader.request.key)
    assert not consumer.flights.lead(follower, leader.request.key)
    return follower


def test_followers_get_the_vector_under_their_own_keys(consumer: Consumer) -> None:
    (leader,) = consumer.take("leader")
    follower = follow(consumer, leader, "follower")
    vector = vector_of(leader.request.key, DIMENSION)
    consumer.deliverer.embedded(consumer.model, [leader], vector[np.newaxis])
    records = [consumer.record(one) for one in (leader, follower)]
    assert all(isinstance(one, Embedding) for one in records)
    np.testing.assert_array_equal(records[0].vector, records[1].vector)  # type: ignore[attr-defined]
    assert (consumer.depth, consumer.in_flight.held()) == (0, [])


def test_a_vector_is_written_under_every_key_that_is_led(consumer: Consumer) -> None:
    (leader,) = consumer.take("url")
    content = Key("words", GENERATION, digest(text_input("bytes")))
    for key in (leader.request.key, content):
        consumer.flights.lead(leader, key)
    consumer.deliverer.embedded(consumer.model, [leader], np.ones((1, DIMENSION), np.float32))
    found = Archive(consumer.here.store).get_many(consumer.model, [content.digest], 1)
    assert isinstance(found[0], Embedding)


def test_followers_of_a_failure_fail_too_and_those_of_a_retry_wait(late: Consumer) -> None:
    (leader,) = late.take("leader")
    follower = follow(late, leader, "follower")
    late.deliverer.failed(late.model, leader, TemporaryFailure("busy", code="busy"))
    assert late.record(follower) is MISSING
    assert (late.depth, late.in_flight.held()) == (2, [])
    (again,) = late.take()
    assert (again.request, again.attempt) == (follower.request, 1)
    second = follow(late, again, "second")
    late.deliverer.failed(late.model, again, PermanentFailure("gone", code="not_found"))
    assert all(isinstance(late.record(one), Failure) for one in (again, second))


def test_a_word_that_does_not_count_does_not_end_followers(
    consumer: Consumer,
) -> None:
    (late,) = consumer.take("a")
    consumer.here.queue.defer([late], 0)  # another consumer has it now
    (current,) = consumer.take()
    consumer.flights.lead(late, late.request.key)
    assert not consumer.flights.lead(current, late.request.key)
    consumer.deliverer.failed(consumer.model, late, TemporaryFailure("busy", code="busy"))
    assert consumer.depth == 1
    assert [one.attempt for one in consumer.take()] == [1]


@given(st.integers(1, 200), st.floats(0.01, 10), st.floats(10, 100), st.integers())
def test_delays_grow_within_their_bounds(attempt: int, base: float, most: float, seed: int) -> None:
    ceiling = min(most, base * 2.0 ** min(attempt - 1, 60))
    assert ceiling / 2 <= delay_s(attempt, base, most, random.Random(seed)) <= ceiling
