"""The schema applied while nodes are slow to agree on it, and what they need for agreeing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from embark.cli.schema import apply_schema
from embark.cluster.local import LocalCluster
from embark.config import Configuration
from embark.store.cassandra import Connection, agreement
from embark.store.cassandra.driver import ONE
from embark.store.cassandra.schema import MIGRATIONS
from tests.support.cluster import applied, configuration, connected, frozen, unique

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# Longer than a write may take, and than a heartbeat is waited for.
FROZEN_S = 8.0
# Until then, the other nodes have found out that it is silent.
SILENT_S = 30.0


@pytest.fixture
def config(three_cassandras: LocalCluster) -> Configuration:
    keyspace = unique("s")
    return configuration(three_cassandras.start(), copies=3, archive__cassandra__keyspace=keyspace)


def tables_by_node(connection: Connection) -> dict[str, set[str]]:
    """Which tables each node has, by its own word."""
    session = connection.use().session
    query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
    return {
        host.address: {
            name
            for (name,) in session.execute(
                query, (connection.settings.keyspace,), host=host, timeout=10, execution_profile=ONE
            )
        }
        for host in session.cluster.metadata.all_hosts()
    }


def test_it_has_been_applied_when_a_node_that_was_frozen_has_it(
    three_cassandras: LocalCluster, config: Configuration
) -> None:
    with ThreadPoolExecutor(1) as pool, frozen(three_cassandras, 3):
        applying = pool.submit(applied, config)
        time.sleep(FROZEN_S)
        assert not applying.done(), "one node cannot have it"
    connection = connected(applying.result().settings.archive.cassandra)
    try:
        tables = {"embedding", "claim", "ledger", "migration"}
        found = tables_by_node(connection)
        assert len(found) == 3
        assert all(tables <= of_one for of_one in found.values()), found
    finally:
        connection.close()


def test_a_node_that_stays_silent_is_named(
    three_cassandras: LocalCluster, config: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "AGREE_SECONDS", SILENT_S)
    with frozen(three_cassandras, 3):
        changes = list(apply_schema(config.settings))
    assert any("WARNING: 127.0.0.3 does not answer" in change for change in changes), changes
    assert sum("migration" in change for change in changes) == len(MIGRATIONS)


def test_nodes_that_start_at_once_do_not_forget_each_other(three_cassandras: LocalCluster) -> None:
    for number in (1, 2, 3):
        log = three_cassandras.folder / f"cassandra-{number}" / "logs" / "server.log"
        said = log.read_text("utf-8")
        assert "is now UP" in said
        assert "removing from gossip" not in said
