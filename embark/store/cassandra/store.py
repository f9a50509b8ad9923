"""The store in Cassandra: one row a record, read in small queries, several in flight.

Keys are grouped by their first replica, cut into chunks, and each chunk is one query sent to that
replica. A chunk that is late leaves its records `LATE`; the others are answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cassandra.cluster import ResponseFuture
from cassandra.query import BoundStatement

from embark.errors import ArchiveUnavailable
from embark.store.base import LATE, MISSING, Found
from embark.store.cassandra.driver import DRIVER_ERRORS, ONE, describe
from embark.store.cassandra.neighbours import NeighbourTables
from embark.store.cassandra.ring import Ring, partition_key
from embark.store.cassandra.session import (
    DELETE_RECORD,
    INSERT_RECORD,
    SELECT_KEYS,
    SELECT_RECORDS,
    Connection,
    Prepared,
)

_PAGE = 500


class CassandraStore:
    """A store in a cluster.

    Args:
        connection: closed with the store.
        neighbours: told of every vector, before the archive is: whoever finds a record in the
            archive takes it as done. None keeps no neighbours.
    """

    def __init__(self, connection: Connection, neighbours: NeighbourTables | None = None) -> None:
        self._connection = connection
        self.neighbours: Final = neighbours
        self._settings = connection.settings
        self._ring: tuple[Prepared, Ring] | None = None

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        """See `Store.get_many`."""
        if not digests:
            return []
        deadline = time.monotonic() + timeout_s
        prepared = self._connection.use()
        chunks = list(self._chunks(prepared, model, generation, digests))
        gather = _Gather(len(chunks))
        statement = prepared.statements[SELECT_RECORDS]
        try:
            for number, chunk in enumerate(chunks):
                asked = [digests[position] for position in chunk]
                query = _Routed(statement, partition_key(model, generation, asked[0]))
                query.bind((model, generation, asked))
                future = prepared.session.execute_async(
                    query, execution_profile=ONE, timeout=timeout_s
                )
                gather.watch(future, number)
        except DRIVER_ERRORS as error:
            for number in range(len(chunks)):
                gather.failed(error, number)
        gather.wait(deadline)
        return self._answer(digests, chunks, gather)

    def put_many(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> None:
        """See `Store.put_many`."""
        if self.neighbours is not None:
            self.neighbours.put(model, generation, records)
        rows = [(model, generation, digest, record) for digest, record in records.items()]
        self._write(INSERT_RECORD, rows)

    def delete_many(self, model: str, generation: str, digests: Sequence[bytes]) -> None:
        """See `Store.delete_many`."""
        if self.neighbours is not None:
            self.neighbours.delete(model, generation, digests)
        self._write(DELETE_RECORD, [(model, generation, digest) for digest in digests])

    def digests(self, model: str, generation: str) -> Iterator[list[bytes]]:
        """See `Store.digests`. Reads the keys of the whole table, which has no order by model."""
        prepared = self._connection.use()
        page: list[bytes] = []
        try:
            for row in prepared.session.execute(prepared.statements[SELECT_KEYS]):
                if row[0] == model and row[1] == generation:
                    page.append(row[2])
                if len(page) == _PAGE:
                    yield page
                    page = []
        except DRIVER_ERRORS as error:
            raise ArchiveUnavailable(
                f"Cassandra cannot be listed: {describe(error, self._settings)}"
            ) from error
        if page:
            yield page

    def check(self) -> None:
        """See `Store.check`; tells what the connection's own probe has seen."""
        self._connection.use()

    def close(self) -> None:
        """See `Store.close`."""
        self._connection.close()

    def _write(self, text: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._connection.run_many(
            text,
            rows,
            at_once=self._settings.writes,
            trouble=f"Cassandra did not take {len(rows)} records",
        )

    def _chunks(
        self, prepared: Prepared, model: str, generation: str, digests: Sequence[bytes]
    ) -> Iterator[list[int]]:
        size = self._settings.read_chunk
        for group in self._ring_of(prepared).group(model, generation, digests):
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _ring_of(self, prepared: Prepared) -> Ring:
        if self._ring is None or self._ring[0] is not prepared:
            metadata = prepared.session.cluster.metadata
            self._ring = (prepared, Ring(metadata, self._settings.keyspace))
        return self._ring[1]

    def _answer(
        self, digests: Sequence[bytes], chunks: Sequence[Sequence[int]], gather: _Gather
    ) -> list[Found]:
        found: list[Found] = [LATE] * len(digests)
        answered = False
        for chunk, rows in zip(chunks, gather.rows, strict=True):
            if rows is None:
                continue
            answered = True
            records = dict(rows)
            for position in chunk:
                found[position] = records.get(digests[position], MISSING)
        if answered:
            self._connection.breaker.succeeded()
            return found
        self._connection.breaker.failed()
        if gather.error is None:
            raise ArchiveUnavailable("Cassandra did not answer before the deadline")
        raise ArchiveUnavailable(
            f"Cassandra cannot be read: {describe(gather.error, self._settings)}"
        ) from gather.error


class _Routed(BoundStatement):  # type: ignore[misc]
    """A bound query that says itself which replica it is for; the driver does not see into INs."""

    def __init__(self, statement: Any, routing_key: bytes) -> None:
        super().__init__(statement)
        self._replica_key = routing_key

    @property
    def routing_key(self) -> bytes:
        return self._replica_key


class _Gather:
    """The answers of queries in flight; those that come after the deadline are let go.

    Attributes:
        rows: for each query its rows, None while there are none.
        error: why the last query that failed did.
    """

    def __init__(self, count: int) -> None:
        self.rows: list[Sequence[tuple[bytes, bytes]] | None] = [None] * count
        self.error: Exception | None = None
        self._missing = set(range(count))
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def watch(self, future: ResponseFuture, number: int) -> None:
        future.add_callbacks(
            callback=self._answered,
            callback_args=(number,),
            errback=self.failed,
            errback_args=(number,),
        )

    def wait(self, deadline: float) -> None:
        self._ended.wait(max(0.0, deadline - time.monotonic()))

    def failed(self, error: Exception, number: int) -> None:
        self.error = error
        self._end(number)

    def _answered(self, rows: Sequence[tuple[bytes, bytes]], number: int) -> None:
        self.rows[number] = rows
        self._end(number)

    def _end(self, number: int) -> None:
        with self._lock:
            # A query sent to two replicas may be answered by both.
            self._missing.discard(number)
            if not self._missing:
                self._ended.set()
