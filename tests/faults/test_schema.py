"""The schema applied while nodes are slow to agree on it."""

from __future__ import annotations

import signal
import threading

import psutil
import pytest

from embark.cluster.local import LocalCluster
from embark.store.cassandra import CassandraStore, Connection
from tests.support.cluster import applied, configuration, unique

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# Longer than a write may take, and than a heartbeat is waited for.
FROZEN_S = 8.0


def test_it_is_applied_although_a_node_is_frozen_for_a_while(
    three_cassandras: LocalCluster,
) -> None:
    config = configuration(
        three_cassandras.start(), copies=3, archive__cassandra__keyspace=unique("s")
    )
    pid = three_cassandras.pid("cassandra-3")
    assert pid is not None
    node = psutil.Process(pid)
    thaw = threading.Timer(FROZEN_S, node.resume)
    node.send_signal(signal.SIGSTOP)
    thaw.start()
    try:
        settings = applied(config).settings.archive.cassandra
    finally:
        node.resume()
        thaw.cancel()
    connection = Connection(settings)
    connection.wait_settled(30)
    opened = CassandraStore(connection)
    try:
        opened.put_many("m", "0" * 16, {b"digest": b"record"})
        assert opened.get_many("m", "0" * 16, [b"digest"], 5.0) == [b"record"]
    finally:
        opened.close()
