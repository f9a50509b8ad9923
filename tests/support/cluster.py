"""Real Cassandra and Kafka for tests: one of each for a session, apart by keyspace and topics."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from cassandra import ConsistencyLevel

from embark.cli.schema import apply_schema
from embark.cluster.local import Addresses, LocalCluster
from embark.config import Configuration, load, to_environment
from embark.errors import ArchiveUnavailable
from embark.ports import free_port
from embark.settings import CassandraSettings
from embark.store.cassandra import CassandraStore, Connection
from embark.store.cassandra.driver import DRIVER_ERRORS
from embark.store.cassandra.session import SELECT_RECORDS
from tests.support.freezing import freeze, thaw
from tests.support.stack import PATIENT_MS, succeeds, wait_until

_COMPARE_SECONDS = 10.0


@contextmanager
def running_cluster(folder: Path, nodes: int = 1) -> Iterator[LocalCluster]:
    """A cluster on free ports, stopped and gone at the end."""
    cluster = LocalCluster(folder, nodes=nodes, cassandra_port=free_port(), kafka_port=free_port())
    try:
        cluster.start(print)
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def frozen(cluster: LocalCluster, *numbers: int) -> Iterator[None]:
    """Some of its Cassandra nodes, counted from 1, do nothing meanwhile."""
    nodes = []
    for number in numbers:
        pid = cluster.pid(f"cassandra-{number}")
        assert pid is not None
        nodes.append(psutil.Process(pid))
    try:
        freeze(nodes)
        yield
    finally:
        thaw(nodes)


def connected(settings: CassandraSettings) -> Connection:
    """A connection that can be used: its first attempt may fail on a busy machine."""
    connection = Connection(settings)
    wait_until(lambda: succeeds(connection.use), 60, "Cassandra is connected to")
    return connection


def put_on_every_node(
    connection: Connection, model: str, generation: str, records: Mapping[bytes, bytes]
) -> None:
    """Write records and return when every replica has them.

    A write returns when most replicas have it, and a lookup asks one, which may be another.
    """
    write = partial(CassandraStore(connection).put_many, model, generation, records)
    wait_until(lambda: succeeds(write), 60, "the records are written")
    for digest in records:
        repair = partial(_read_at_all, connection, model, generation, digest)
        wait_until(partial(succeeds, repair), 60, "every replica has the record")


def _read_at_all(connection: Connection, model: str, generation: str, digest: bytes) -> None:
    """Read a record from all replicas: they are compared, and one that lacks it gets it.

    Raises:
        ArchiveUnavailable: a node does not answer, or was frozen and is still taken for dead.
    """
    prepared = connection.use()
    query = prepared.statements[SELECT_RECORDS].bind((model, generation, [digest]))
    query.consistency_level = ConsistencyLevel.ALL
    try:
        row = prepared.session.execute(query, timeout=_COMPARE_SECONDS).one()
    except DRIVER_ERRORS as error:
        raise ArchiveUnavailable(str(error)) from error
    assert row is not None


def unique(stem: str) -> str:
    """A name that no other test uses."""
    return f"{stem}{uuid.uuid4().hex[:12]}"


def configuration(addresses: Addresses, *, copies: int = 1, **changes: Any) -> Configuration:
    """Settings that use a cluster; `changes` by dotted path with __ for the dots."""
    overrides: dict[str, Any] = {
        "archive.backend": "cassandra",
        "archive.cassandra.contact_points": list(addresses.contact_points),
        "archive.cassandra.port": addresses.cassandra_port,
        "archive.cassandra.replication": [f"{addresses.datacenter}:{copies}"],
        "queue.backend": "kafka",
        "queue.kafka.bootstrap": [addresses.kafka],
        "queue.kafka.partitions": 4,
        "queue.kafka.session_seconds": 6,
        "gateway.objective_ms": PATIENT_MS,
    }
    overrides |= {name.replace("__", "."): value for name, value in changes.items()}
    return load(environment={}, overrides=overrides)


def applied(config: Configuration) -> Configuration:
    """The same, with its schema made."""
    for change in apply_schema(config.settings):
        print(change)
    return config


def environment_of(addresses: Addresses, stem: str, **changes: Any) -> dict[str, str]:
    """Settings as environment variables, for a platform that has a part of a cluster to itself."""
    own: dict[str, Any] = {
        "archive__cassandra__keyspace": unique(stem),
        "queue__kafka__prefix": unique(stem),
        # A read that is late on a busy machine would be taken for a vector that is not there.
        "gateway__archive_timeout_ms": 1000,
    }
    return to_environment(applied(configuration(addresses, **own, **changes)))
