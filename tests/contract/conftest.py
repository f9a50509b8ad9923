"""Every implementation of the store and the queue, by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embark.cluster.local import Addresses
from embark.queue.base import Delivery, Lane, Queue
from embark.queue.kafka import KafkaQueue
from embark.queue.sqlite import SqliteQueue
from embark.settings import Settings
from embark.store.base import Store
from embark.store.cassandra import CassandraLedger, CassandraStore, Claims
from embark.store.ledger import Ledger
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from tests.support.clock import Clock
from tests.support.cluster import applied, configuration, connected, unique

LEASE_S = 10.0
ALL = 10**9
ON_SERVERS = pytest.mark.cluster


@pytest.fixture(scope="session")
def shared(addresses: Addresses) -> Settings:
    """Settings of the session's cluster, with a keyspace for all contract tests."""
    return applied(configuration(addresses, queue__kafka__prefix=unique("t"))).settings


@dataclass(frozen=True)
class Opened:
    """One implementation of store and ledger.

    Attributes:
        passes: lets seconds pass, as the ledger sees it.
    """

    store: Store
    ledger: Ledger
    passes: Callable[[float], None]


@pytest.fixture(params=["lmdb", pytest.param("cassandra", marks=ON_SERVERS)])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Opened]:
    if request.param == "lmdb":
        embedded = LmdbStore(tmp_path / "archive", 64 * 2**20)

        def passes(seconds: float) -> None:
            clock.now += seconds

        made = Opened(embedded, LmdbLedger(embedded, clock), passes)
    else:
        connection = connected(request.getfixturevalue("shared").archive.cassandra)
        ledger = CassandraLedger(connection, Claims(connection, 3600))
        made = Opened(CassandraStore(connection), ledger, time.sleep)
    yield made
    made.store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store


@pytest.fixture
def ledger(opened: Opened) -> Ledger:
    return opened.ledger


@pytest.fixture
def model() -> str:
    """A model whose records no other test writes."""
    return unique("m")


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Bench:
    """One implementation of the queue, and what a test must know of it.

    Attributes:
        open: opens the queue once more, as another process would.
        takes_s: how long a delivery may take to arrive.
        settles_s: after how long nothing is on its way.
        dies: what happens when the consumer that has this queue open dies.
    """

    def __init__(
        self,
        open_one: Callable[[], Queue],
        takes_s: float,
        settles_s: float,
        dies: Callable[[Queue], None],
    ) -> None:
        self._open_one = open_one
        self.opened: list[Queue] = []
        self._takes_s = takes_s
        self._settles_s = settles_s
        self.dies = dies

    def open(self) -> Queue:
        self.opened.append(self._open_one())
        return self.opened[-1]

    def take(
        self, queue: Queue, count: int, lane: Lane = Lane.INTERACTIVE, most: int = 100
    ) -> list[Delivery]:
        """Take until `count` deliveries have come."""
        deadline = time.monotonic() + self._takes_s
        taken = queue.take(lane, most, ALL)
        while len(taken) < count:
            assert time.monotonic() < deadline, f"{len(taken)} of {count} came"
            time.sleep(0.01)
            taken += queue.take(lane, most - len(taken), ALL)
        return taken

    def nothing(self, queue: Queue, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Whether nothing comes."""
        ends = time.monotonic() + self._settles_s
        taken = queue.take(lane, 100, ALL)
        while not taken and time.monotonic() < ends:
            time.sleep(0.02)
            taken = queue.take(lane, 100, ALL)
        return not taken


def _sqlite(path: Path, clock: Clock) -> Bench:
    def dies(_queue: Queue) -> None:
        clock.now += LEASE_S + 1

    return Bench(lambda: SqliteQueue(path, LEASE_S, clock), 0, 0, dies)


def _kafka(settings: Settings, claims: Claims, clock: Clock) -> Bench:
    def dies(queue: Queue) -> None:
        queue.close()

    return Bench(lambda: KafkaQueue(settings.queue.kafka, claims, clock), 30, 1, dies)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=ON_SERVERS)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Bench]:
    if request.param == "sqlite":
        made = _sqlite(tmp_path / "queue.sqlite", clock)
        yield made
        _close(made)
        return
    addresses = request.getfixturevalue("addresses")
    keyspace = request.getfixturevalue("shared").archive.cassandra.keyspace
    settings = applied(
        configuration(
            addresses,
            archive__cassandra__keyspace=keyspace,
            queue__kafka__prefix=unique("t"),
            queue__kafka__partitions=1,
            queue__kafka__delivery_seconds=30,
        )
    ).settings
    connection = connected(settings.archive.cassandra)
    made = _kafka(settings, Claims(connection, 3600), clock)
    yield made
    _close(made)
    connection.close()


def _close(bench: Bench) -> None:
    for queue in bench.opened:
        queue.close()


@pytest.fixture
def queue(bench: Bench) -> Queue:
    return bench.open()
