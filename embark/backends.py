"""Which store and which queue the settings name, opened. Call it after fork, once a process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from embark import tracing
from embark.errors import ConfigurationError
from embark.models import Model
from embark.neighbours.base import Neighbours
from embark.queue.base import Queue
from embark.queue.traced import TracedQueue
from embark.settings import Settings
from embark.store.base import Store
from embark.store.ledger import Ledger

ARCHIVE_FOLDER = Path("archive")
QUEUE_FILE = Path("queue") / "queue.sqlite"

Served = Callable[[], Iterable[Model]]

_SETTLE_SECONDS = 5.0
_HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Backends:
    """The archive's store, its ledger and the queue of one process."""

    store: Store
    ledger: Ledger
    queue: Queue

    def close(self) -> None:
        """Close all; idempotent."""
        self.queue.close()  # before the store: large inputs of a queue in Kafka are kept there
        self.store.close()


def open_backends(settings: Settings) -> Backends:
    """Open what the settings name. A cluster that is down now does not matter: see each.

    Raises:
        ConfigurationError: a package is missing.
        ArchiveUnavailable: the embedded archive cannot be opened.
        QueueUnavailable: the embedded queue cannot be opened.
    """
    backends = _open(settings)
    if not tracing.enabled():
        return backends
    return replace(backends, queue=TracedQueue(backends.queue))


def _open(settings: Settings) -> Backends:
    if settings.archive.backend == "lmdb":
        from embark.store.lmdb import LmdbStore
        from embark.store.lmdb_ledger import LmdbLedger

        archive = settings.archive
        embedded = LmdbStore(
            settings.data / ARCHIVE_FOLDER, archive.max_bytes, archive.neighbours.keeps
        )
        return Backends(embedded, LmdbLedger(embedded), _sqlite_queue(settings))
    require_package("cassandra", "archive.backend is cassandra")
    from embark.store.cassandra import (
        CassandraLedger,
        CassandraStore,
        Claims,
        Connection,
        NeighbourTables,
    )

    connection = Connection(settings.archive.cassandra)
    connection.wait_settled(_SETTLE_SECONDS)
    # A dead letter may be replayed as long as it is kept, and may have waited long before.
    kafka = settings.queue.kafka
    lasts_hours = kafka.retention_hours + kafka.dead_retention_hours
    claims = Claims(connection, lasts_hours * _HOUR_SECONDS)
    tables = NeighbourTables(connection, settings.archive.neighbours.keeps)
    store, ledger = CassandraStore(connection, tables), CassandraLedger(connection, claims)
    if settings.queue.backend == "sqlite":
        return Backends(store, ledger, _sqlite_queue(settings))
    require_package("confluent_kafka", "queue.backend is kafka")
    from embark.queue.kafka import KafkaQueue

    return Backends(store, ledger, KafkaQueue(kafka, claims))


def open_neighbours(store: Store, settings: Settings, served: Served) -> Neighbours:
    """Open the index of neighbours of an archive that `open_backends` has opened.

    Args:
        store: the archive's; not closed with it.
        settings: as for the store.
        served: returns the generations that are served.

    Raises:
        ConfigurationError: a package is missing.
    """
    if settings.archive.backend == "lmdb":
        require_package("usearch", "neighbours are searched", extra="embedded")
        from embark.neighbours.embedded import EmbeddedNeighbours
        from embark.store.lmdb import LmdbStore

        assert isinstance(store, LmdbStore)
        kept = settings.archive.neighbours.keeps
        return EmbeddedNeighbours(store, lambda: [one for one in served() if kept(one.name)])
    from embark.store.cassandra import CassandraNeighbours, CassandraStore

    assert isinstance(store, CassandraStore) and store.neighbours is not None
    return CassandraNeighbours(store, store.neighbours)


def _sqlite_queue(settings: Settings) -> Queue:
    from embark.queue.sqlite import SqliteQueue

    return SqliteQueue(settings.data / QUEUE_FILE, settings.queue.lease_seconds)


def require_package(name: str, why: str, extra: str = "cassandra,kafka") -> None:
    """Return if a driver is installed.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec(name) is None:
        raise ConfigurationError(f"{why}: pip install 'embark[{extra}]'")
