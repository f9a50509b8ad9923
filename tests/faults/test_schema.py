"""The schema applied while nodes are slow to agree on it."""

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
