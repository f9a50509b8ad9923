"""The schema applied while nodes are slow to agree on it, and what they need for agreeing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from embark.cluster.local import LocalCluster
from embark.store.cassandra import CassandraStore, Connection
from tests.support.cluster import applied, configuration, frozen, put_on_every_node, unique

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# Longer than a write may take, and than a heartbeat is waited for.
FROZEN_S = 8.0


def test_it_is_applied_although_a_node_is_frozen_for_a_while(
    three_cassandras: LocalCluster,
) -> None:
    config = configuration(
        three_cassandras.start(), copies=3, archive__cassandra__keyspace=unique("s")
    )
    with ThreadPoolExecutor(1) as pool, frozen(three_cassandras, 3):
        applying = pool.submit(applied, config)
        time.sleep(FROZEN_S)
    settings = applying.result().settings.archive.cassandra
    connection = Connection(settings)
    opened = CassandraStore(connection)
    try:
        put_on_every_node(connection, "m", "0" * 16, {b"digest": b"record"})
        assert opened.get_many("m", "0" * 16, [b"digest"], 5.0) == [b"record"]
    finally:
        opened.close()


def test_nodes_that_start_at_once_do_not_forget_each_other(three_cassandras: LocalCluster) -> None:
    for number in (1, 2, 3):
        log = three_cassandras.folder / f"cassandra-{number}" / "logs" / "server.log"
        said = log.read_text("utf-8")
        assert "is now UP" in said
        assert "removing from gossip" not in said
