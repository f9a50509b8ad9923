"""Real Cassandra and Kafka for tests: one of each for a session, apart by keyspace and topics."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from embark.cli.schema import apply_schema
from embark.cluster.local import Addresses, LocalCluster
from embark.config import Configuration, load, to_environment
from embark.ports import free_port


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
    for node in nodes:
        node.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            node.send_signal(signal.SIGCONT)


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
        # No shedding, which other tests are about: this machine may have much else to do.
        "gateway.objective_ms": 60_000,
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
