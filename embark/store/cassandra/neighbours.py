"""Neighbours in Cassandra: a table with a vector index (SAI) for each generation.

A table of its own, since an index that holds several generations must be filtered: SAI then
collects every key that matches before it looks at one vector, which takes longer the more there
are. Vectors are written as directions, big-endian float32, by their bytes: the driver's own
encoding goes number by number. What the index finds is compared anew with what the archive holds.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from cassandra import InvalidRequest
from cassandra.query import BoundStatement, PreparedStatement

from embark.archive import Archive
from embark.codec import HEADER, Embedding, decode
from embark.errors import ArchiveUnavailable, CorruptRecord, Unavailable
from embark.keys import Key
from embark.log import Seldom, logger
from embark.metrics import NEIGHBOURS_UNWRITTEN
from embark.models import Model
from embark.neighbours.base import Matrix, Near, directions
from embark.neighbours.vectors import rank
from embark.store.base import Store
from embark.store.cassandra.driver import DRIVER_ERRORS, ONE, QUORUM, describe
from embark.store.cassandra.session import Connection, Prepared

MOST_CANDIDATES: Final = 1000
"""Most rows that Cassandra gives in the order of nearness."""

TABLE = """
    CREATE TABLE IF NOT EXISTS {0}.{1} (
        digest blob PRIMARY KEY,
        vector vector<float, {2}>
    ) WITH comment = 'Neighbours of {3}, generation {4}; docs/neighbours.md.'
    AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}}
    AND compression = {{'enabled': false}}
"""
INDEX = """
    CREATE CUSTOM INDEX IF NOT EXISTS {1}_nearest ON {0}.{1} (vector)
    USING 'StorageAttachedIndex' WITH OPTIONS = {{'similarity_function': 'cosine'}}
"""

_INSERT = "INSERT INTO {0}.{1} (digest, vector) VALUES (?, ?)"
_DELETE = "DELETE FROM {0}.{1} WHERE digest = ?"
_NEAREST = "SELECT digest FROM {0}.{1} ORDER BY vector ANN OF ? LIMIT ?"

_FACTOR, _AT_LEAST = 4, 40
_WRITES_AT_ONCE = 8
_SEARCHES_AT_ONCE = 4
_LOOKED_AGAIN_SECONDS = 10.0

_log = logger(__name__)


def table_name(model: str, generation: str) -> str:
    """Return the name of a generation's table; a model's name may be too long for one."""
    whole = hashlib.blake2b(f"{model}:{generation}".encode(), digest_size=12)
    return f"neighbours_{whole.hexdigest()}"


class NeighbourTables:
    """The tables of one cluster. Safe for many threads.

    Args:
        connection: not closed with it.
        keeps: whether neighbours of a model are kept.
    """

    def __init__(self, connection: Connection, keeps: Callable[[str], bool]) -> None:
        self.connection: Final = connection
        self.keeps: Final = keeps
        # By table: the statements, or until when to believe that there is none.
        self._found: dict[str, tuple[PreparedStatement, ...] | float] = {}
        self._session: object = None
        self._lock = threading.Lock()
        self._seldom = Seldom()

    def put(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> int:
        """Write the rows of those records that hold a vector; returns how many. Idempotent.

        Without a table it writes nothing, and counts that.

        Raises:
            ArchiveUnavailable: not all could be written.
        """
        if not self.keeps(model):
            return 0
        rows = [
            [digest, vector]
            for digest, record in records.items()
            if (vector := _direction(Key(model, generation, digest), record)) is not None
        ]
        statements = self.statements(model, generation) if rows else None
        if statements is None:
            NEIGHBOURS_UNWRITTEN.labels(model=model).inc(len(rows))
            return 0
        self._run([_bound(statements[0], row) for row in rows], QUORUM, _WRITES_AT_ONCE)
        return len(rows)

    def delete(self, model: str, generation: str, digests: Sequence[bytes]) -> None:
        """Forget rows. Idempotent.

        Raises:
            ArchiveUnavailable: not all could be forgotten.
        """
        statements = self.statements(model, generation)
        if statements is not None:
            rows = [_bound(statements[1], [digest]) for digest in digests]
            self._run(rows, QUORUM, _WRITES_AT_ONCE)

    def candidates(
        self, model: Model, queries: Matrix, count: int, timeout_s: float
    ) -> list[list[bytes]]:
        """Return up to `count` digests for each query, shape (queries, dimension), of length 1.

        Raises:
            Unavailable: the table is not made, or Cassandra does not answer in time.
        """
        statements = self.statements(model.name, model.generation)
        if statements is None:
            raise Unavailable(
                f"the table of {model.name}'s neighbours, generation {model.generation}, is not"
                " made; run `embark schema apply`, then `embark duplicates --rebuild`",
                code="neighbours_table_missing",
            )
        limit = count.to_bytes(4, "big")
        asked = [_bound(statements[2], [query.astype(">f4").tobytes(), limit]) for query in queries]
        results = self._run(asked, ONE, _SEARCHES_AT_ONCE, timeout_s)
        return [[digest for (digest,) in rows] for rows in results]

    def statements(self, model: str, generation: str) -> tuple[PreparedStatement, ...] | None:
        """Return the statements that write, delete and search, None if the table is not made.

        Raises:
            ArchiveUnavailable: Cassandra cannot be asked.
        """
        prepared = self.connection.use()
        table = table_name(model, generation)
        with self._lock:
            if self._session is not prepared.session:
                self._session = prepared.session
                self._found.clear()
            found = self._found.get(table)
            if isinstance(found, tuple):
                return found
            if found is not None and time.monotonic() < found:
                return None
        made = self._prepare(prepared, table)
        with self._lock:
            self._found[table] = made or time.monotonic() + _LOOKED_AGAIN_SECONDS
        if made is None and self._seldom.due():
            _log.warning(
                "neighbours_table_missing",
                model=model,
                generation=generation,
                reason="run `embark schema apply`, then `embark duplicates --rebuild`",
            )
        return made

    def _prepare(self, prepared: Prepared, table: str) -> tuple[PreparedStatement, ...] | None:
        settings = self.connection.settings
        try:
            insert, delete, nearest = (
                prepared.session.prepare(text.format(settings.keyspace, table))
                for text in (_INSERT, _DELETE, _NEAREST)
            )
        except InvalidRequest:
            return None
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        # A search is dear: it is not sent to a second replica because the first takes its time.
        insert.is_idempotent = delete.is_idempotent = True
        return insert, delete, nearest

    def _run(
        self,
        statements: Sequence[BoundStatement],
        profile: object,
        at_once: int,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Run statements, some at once, each within the time that is left; returns the rows."""
        session = self.connection.use().session
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        results: list[Any] = []
        try:
            for first in range(0, len(statements), at_once):
                futures = []
                for statement in statements[first : first + at_once]:
                    limits = {}
                    if deadline is not None:
                        limits["timeout"] = max(0.001, deadline - time.monotonic())
                    futures.append(
                        session.execute_async(statement, execution_profile=profile, **limits)
                    )
                results += [future.result() for future in futures]
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        return results

    def _failed(self, error: Exception) -> ArchiveUnavailable:
        why = describe(error, self.connection.settings)
        return ArchiveUnavailable(f"the table of neighbours: Cassandra failed: {why}")


class CassandraNeighbours:
    """See `embark.neighbours.base.Neighbours`.

    Args:
        store: the archive; not closed with it.
        tables: of the same cluster.
    """

    def __init__(self, store: Store, tables: NeighbourTables) -> None:
        self._archive: Final = Archive(store)
        self._tables: Final = tables

    def nearest(self, model: Model, queries: Matrix, k: int, timeout_s: float) -> list[list[Near]]:
        """See `Neighbours.nearest`; `k` beyond 1000 is not reached."""
        deadline = time.monotonic() + timeout_s
        asked = directions(queries)
        known = [bool(query.any()) for query in asked]
        count = min(max(_FACTOR * k, _AT_LEAST), MOST_CANDIDATES)
        found = iter(self._tables.candidates(model, asked[known], count, timeout_s))
        candidates = [next(found) if there else [] for there in known]
        remaining = max(0.001, deadline - time.monotonic())
        return rank(self._archive, model, asked, candidates, k=k, timeout_s=remaining)

    def close(self) -> None:
        """See `Neighbours.close`; there is nothing to release."""


def _direction(key: Key, record: bytes) -> bytes | None:
    """Return a record's direction as Cassandra stores it, None if it has none."""
    try:
        dimension = HEADER.unpack_from(record)[2]
        decoded = decode(key, record, dimension)
    except (CorruptRecord, ValueError):
        return None
    if not isinstance(decoded, Embedding) or not decoded.vector.any():
        return None
    (direction,) = directions(decoded.vector.astype(np.float32)[None])
    return bytes(direction.astype(">f4").tobytes())


def _bound(statement: PreparedStatement, values: list[bytes]) -> BoundStatement:
    """Bind values that are serialised already."""
    bound = BoundStatement(statement)
    bound.values = values
    return bound
