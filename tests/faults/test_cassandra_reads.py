"""Reads while nodes are stopped: partial answers in time, and almost no time when all are gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embark.cluster.local import LocalCluster
from embark.errors import ArchiveUnavailable
from embark.settings import CassandraSettings
from embark.store.base import LATE
from embark.store.cassandra import CassandraStore, Connection
from tests.support.cluster import applied, configuration, frozen, put_on_every_node, unique
from tests.support.stack import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

GENERATION = "0" * 16
RECORDS = {number.to_bytes(16, "big"): os.urandom(800) for number in range(600)}
ENOUGH_S = 5.0


@pytest.fixture(scope="module")
def settings(three_cassandras: LocalCluster) -> CassandraSettings:
    keyspace = unique("r")
    config = configuration(
        three_cassandras.start(), copies=3, archive__cassandra__keyspace=keyspace
    )
    return applied(config).settings.archive.cassandra


@contextmanager
def store(settings: CassandraSettings, **changes: int) -> Iterator[CassandraStore]:
    connection = Connection(settings.model_copy(update=changes))
    opened = CassandraStore(connection)
    try:
        put_on_every_node(connection, "m", GENERATION, RECORDS)
        yield opened
    finally:
        opened.close()


def test_a_late_chunk_leaves_its_records_late_and_the_others_are_answered(
    three_cassandras: LocalCluster, settings: CassandraSettings
) -> None:
    with store(settings, speculative_attempts=0) as opened:
        with frozen(three_cassandras, 2):
            found = opened.get_many("m", GENERATION, list(RECORDS), 2)
        late = sum(one is LATE for one in found)
        assert 0 < late < len(RECORDS)
        for record, one in zip(RECORDS.values(), found, strict=True):
            assert one is LATE or one == record


def test_a_replica_that_does_not_answer_is_passed_over(
    three_cassandras: LocalCluster, settings: CassandraSettings
) -> None:
    with store(settings) as opened, frozen(three_cassandras, 2):
        for _ in range(3):
            found = opened.get_many("m", GENERATION, list(RECORDS), ENOUGH_S)
            assert found == list(RECORDS.values())


def test_a_dead_cluster_costs_no_time_and_heals_by_itself(
    three_cassandras: LocalCluster, settings: CassandraSettings
) -> None:
    one = [next(iter(RECORDS))]
    with store(settings) as opened:
        with frozen(three_cassandras, 1, 2, 3):
            for _ in range(settings.breaker_failures):
                with pytest.raises(ArchiveUnavailable):
                    opened.get_many("m", GENERATION, one, 0.05)
            started = time.perf_counter()
            for _ in range(1000):
                with pytest.raises(ArchiveUnavailable):
                    opened.get_many("m", GENERATION, one, 0.05)
            each_s = (time.perf_counter() - started) / 1000
            print(f"a read of a dead cluster: {each_s * 1e6:.0f} microseconds")
            with pytest.raises(ArchiveUnavailable):
                opened.check()
        assert each_s < 0.05 / 5, "the deadline was waited for"

        def heals() -> bool:
            try:
                return opened.get_many("m", GENERATION, one, ENOUGH_S) == [RECORDS[one[0]]]
            except ArchiveUnavailable:
                return False

        wait_until(heals, 60, "it reads again")


def test_opening_does_not_wait_for_a_cluster_that_is_down(settings: CassandraSettings) -> None:
    started = time.monotonic()
    opened = CassandraStore(Connection(settings.model_copy(update={"port": 1})))
    assert time.monotonic() - started < 1
    with pytest.raises(ArchiveUnavailable, match=r"not been connected|no node answers"):
        opened.check()
    opened.close()
