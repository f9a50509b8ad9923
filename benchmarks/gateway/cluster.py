"""The real Cassandra and Kafka of a run, from their Maven artefacts, and settings that use them."""

from __future__ import annotations

import uuid
from typing import Any

from benchmarks.gateway.place import Place, Stopped
from benchmarks.gateway.workload import REPOSITORY
from embark.cli.schema import apply_schema
from embark.cluster.local import Addresses, LocalCluster
from embark.config import Configuration, load
from embark.errors import EmbArkError
from embark.ports import free_port


def start_cluster(place: Place) -> Addresses:
    """Start one Cassandra node and a Kafka broker, which end with the run.

    Raises:
        Stopped: they do not start.
    """
    folder = place.folder / "cluster"
    cluster = LocalCluster(folder, nodes=1, cassandra_port=free_port(), kafka_port=free_port())
    place.stack.callback(cluster.stop)
    try:
        return cluster.start(place.report)
    except EmbArkError as error:
        raise Stopped(f"Cassandra and Kafka: {error.message}") from error


def settings_on(addresses: Addresses, place: Place, **changes: Any) -> Configuration:
    """Return settings with a keyspace and topics of their own, their schema applied.

    Args:
        addresses: of the cluster.
        place: where data would be.
        changes: more settings, by dotted path with __ for the dots.
    """
    own = uuid.uuid4().hex[:12]
    overrides: dict[str, Any] = {
        "data": str(place.folder / "data"),
        "archive.backend": "cassandra",
        "archive.cassandra.contact_points": list(addresses.contact_points),
        "archive.cassandra.port": addresses.cassandra_port,
        "archive.cassandra.keyspace": f"bench_{own}",
        "archive.cassandra.replication": [f"{addresses.datacenter}:1"],
        "archive.neighbours.models": [],
        "queue.backend": "kafka",
        "queue.kafka.bootstrap": [addresses.kafka],
        "queue.kafka.prefix": f"bench_{own}",
        "retina.model_repository": str(REPOSITORY.absolute()),
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    configuration = load(environment={}, overrides=overrides)
    for change in apply_schema(configuration.settings):
        place.report(change)
    return configuration
