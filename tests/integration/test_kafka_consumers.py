"""Consumers that come and go: every request is finished, whoever has its partition."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from embark.cluster.local import Addresses
from embark.errors import QueueUnavailable
from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import Lane, Request
from embark.queue.kafka import KafkaQueue
from embark.settings import Settings
from embark.store.cassandra import Claims
from tests.support.cluster import applied, configuration, connected, unique
from tests.support.stack import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REQUESTS = 3000
CONSUMERS = 3
LIVES_S = (2.0, 5.0)


def request(number: int) -> Request:
    item = Input(InputKind.TEXT, str(number).encode())
    return Request(Key("m", "0" * 16, digest(item)), item, Lane.BULK)


@pytest.fixture
def settings(addresses: Addresses) -> Settings:
    return applied(
        configuration(
            addresses,
            archive__cassandra__keyspace=unique("k"),
            queue__kafka__prefix=unique("k"),
            queue__kafka__partitions=6,
            queue__kafka__delivery_seconds=30,
        )
    ).settings


@pytest.fixture
def claims(settings: Settings) -> Iterator[Claims]:
    connection = connected(settings.archive.cassandra)
    yield Claims(connection, 3600)
    connection.close()


class Consumer(threading.Thread):
    """Takes, works a little, and finishes in its own order; now and then retries or defers."""

    def __init__(self, queue: KafkaQueue, finished: set[bytes], seed: int) -> None:
        super().__init__()
        self.queue = queue
        self.finished = finished
        self.ended = threading.Event()
        self._rng = random.Random(seed)
        self.start()

    def run(self) -> None:
        while not self.ended.is_set():
            taken = self.queue.take(Lane.BULK, 20, 10**9)
            self._rng.shuffle(taken)
            for one in taken:
                fate = self._rng.random()
                if fate < 0.1 and one.attempt < 3:
                    self.queue.retry(one, self._rng.uniform(0, 3))
                elif fate < 0.2:
                    self.queue.defer([one], self._rng.uniform(0, 0.5))
                elif fate > 0.25:
                    self.finished.add(one.request.item.payload)
                    self.queue.ack([one])
                else:
                    self.queue.defer([one], 0)
            self.ended.wait(0.02)


def test_nothing_is_lost_while_consumers_come_and_go(settings: Settings, claims: Claims) -> None:
    rng = random.Random(7)
    finished: set[bytes] = set()
    watcher = KafkaQueue(settings.queue.kafka, claims)
    running: list[Consumer] = []

    def start() -> None:
        queue = KafkaQueue(settings.queue.kafka, claims)
        running.append(Consumer(queue, finished, rng.randrange(10**6)))

    def stop(one: Consumer) -> None:
        one.ended.set()
        one.join()
        one.queue.close()

    try:
        for _ in range(CONSUMERS):
            start()
        for number in range(0, REQUESTS, 500):
            watcher.put([request(number + one) for one in range(500)])
        for _ in range(4):
            time.sleep(rng.uniform(*LIVES_S))
            stop(running.pop(rng.randrange(len(running))))
            start()
        expected = {str(number).encode() for number in range(REQUESTS)}
        wait_until(lambda: finished == expected, 90, "all are finished")

        def is_committed() -> bool:
            with suppress(QueueUnavailable):
                return watcher.status()[Lane.BULK].depth == 0
            return False

        wait_until(is_committed, 60, "all is committed")
    finally:
        for one in running:
            stop(one)
        watcher.close()
