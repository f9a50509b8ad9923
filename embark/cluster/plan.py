"""What a cluster is: how many nodes, and every port. Drawn once, then kept in its folder."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embark.errors import ConfigurationError
from embark.ports import LOOPBACK, free_ports

PLAN_FILE = "cluster.json"
HOST = LOOPBACK
NODE_COUNTS = (1, 3)
DEFAULT_NODES = 1
DEFAULT_CASSANDRA_PORT = 9042
DEFAULT_KAFKA_PORT = 9092


@dataclass(frozen=True)
class Plan:
    """A cluster's fixed facts.

    Attributes:
        name: unique, so that servers of two clusters never take each other for peers.
        jmx_ports: one for each Cassandra node, all on 127.0.0.1.
    """

    name: str
    nodes: int
    cassandra_port: int
    kafka_port: int
    storage_port: int
    jmx_ports: tuple[int, ...]
    controller_port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        """Address of each Cassandra node."""
        return node_hosts(self.nodes)


def node_hosts(nodes: int) -> tuple[str, ...]:
    """Return the loopback address of each node."""
    return tuple(f"127.0.0.{number}" for number in range(1, nodes + 1))


def draw(nodes: int, cassandra_port: int, kafka_port: int) -> Plan:
    """Return a new plan whose other ports are free now.

    Raises:
        ConfigurationError: no such cluster can be.
    """
    if nodes not in NODE_COUNTS:
        raise ConfigurationError(f"a cluster here has 1 or 3 Cassandra nodes, not {nodes}")
    for option, port in (("--cassandra-port", cassandra_port), ("--kafka-port", kafka_port)):
        if not 0 < port < 2**16:
            raise ConfigurationError(f"{option} {port} is no port; give one from 1 to 65535")
    if cassandra_port == kafka_port:
        raise ConfigurationError(
            f"--cassandra-port and --kafka-port are both {kafka_port}; choose two"
        )
    storage, controller, *jmx = free_ports(2 + nodes, node_hosts(nodes))
    return Plan(
        name=base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
        nodes=nodes,
        cassandra_port=cassandra_port,
        kafka_port=kafka_port,
        storage_port=storage,
        jmx_ports=tuple(jmx),
        controller_port=controller,
    )


def save(plan: Plan, folder: Path) -> None:
    """Write the plan, whole or not at all."""
    fresh = folder / f"{PLAN_FILE}.new"
    fresh.write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
    fresh.replace(folder / PLAN_FILE)


def load(folder: Path) -> Plan | None:
    """Return the plan in a folder, None if it has none.

    Raises:
        ConfigurationError: the file is damaged.
    """
    file = folder / PLAN_FILE
    try:
        fields: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Plan(**{**fields, "jmx_ports": tuple(fields["jmx_ports"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error}); if its data can go, remove {folder}"
        ) from None
