"""The embedded queue: a table in SQLite's write-ahead-log mode, shared by several processes.

A request is one row until it is finished. A lease is the row's `due_at` moved into the future
under a fresh receipt: when its consumer dies it falls due again by itself, and a consumer that
comes too late finds its receipt replaced and changes nothing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embark.errors import QueueUnavailable
from embark.inputs import Input, InputKind
from embark.keys import Key
from embark.queue.base import DeadLetter, Delivery, Lane, LaneStatus, Request
from embark.queue.sqlite_schema import ADD_TRACE, SCHEMA

_BUSY_SECONDS = 5.0
_WAL_BYTES = 64 * 2**20
_RECEIPT_BYTES = 12
_LANES = {Lane.INTERACTIVE: 0, Lane.BULK: 1}
_LANE_OF = {number: lane for lane, number in _LANES.items()}

_PUT = """
INSERT INTO request
    (lane, due_at, queued_at, model, generation, digest, kind, size, payload, trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (model, generation, digest) DO UPDATE SET
    lane = min(lane, excluded.lane),
    queued_at = iif(excluded.lane < lane, excluded.queued_at, queued_at),
    trace = iif(trace = '', excluded.trace, trace)
"""
# A row that was queued after now, by a clock that has stepped back since, is due as well.
_DUE = """
SELECT * FROM (
    SELECT id, size FROM request WHERE lane = :lane AND due_at <= :now
    ORDER BY due_at, id LIMIT :most
)
UNION ALL SELECT * FROM (
    SELECT id, size FROM request
    WHERE lane = :lane AND queued_at > :now AND due_at > :now AND receipt IS NULL
    ORDER BY queued_at LIMIT :most
)
LIMIT :most
"""
_ROW = """
SELECT attempt, queued_at, model, generation, digest, kind, payload, trace FROM request
WHERE id = ?
"""
_BURY = """
INSERT INTO dead_letter
    (died_at, lane, attempt, code, message, model, generation, digest, kind, payload)
SELECT ?, lane, attempt, ?, ?, model, generation, digest, kind, payload
FROM request WHERE id = ? AND receipt = ?
"""
_REPLAY = """
INSERT INTO request (lane, due_at, queued_at, model, generation, digest, kind, size, payload)
SELECT lane, ?, ?, model, generation, digest, kind, length(payload), payload
FROM dead_letter WHERE id = ?
ON CONFLICT (model, generation, digest) DO UPDATE SET lane = min(lane, excluded.lane)
"""


class SqliteQueue:
    """A queue in one file.

    Args:
        path: the database file; its folder is made if missing.
        lease_s: how long a delivery stays with a consumer that does not renew it.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, lease_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._lease_s = lease_s
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection: sqlite3.Connection | None = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            self._connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            self._add_trace()
        except (sqlite3.Error, OSError) as error:
            raise QueueUnavailable(f"queue in {path} cannot be opened: {error}") from error

    def put(self, requests: Sequence[Request]) -> None:
        """See `Queue.put`."""
        now = self._clock()
        rows = [
            (
                _LANES[request.lane],
                now,
                now,
                request.key.model,
                request.key.generation,
                request.key.digest,
                request.item.kind.value,
                len(request.item.payload),
                request.item.payload,
                request.trace,
            )
            for request in requests
        ]
        with self._transaction() as connection:
            connection.executemany(_PUT, rows)

    def take(self, lane: Lane, most: int, most_bytes: int) -> list[Delivery]:
        """See `Queue.take`."""
        now = self._clock()
        due = {"lane": _LANES[lane], "now": now}
        with self._reading() as connection:
            # An idle poll must not take the write lock.
            if not connection.execute(_DUE, {**due, "most": 1}).fetchone():
                return []
        with self._transaction() as connection:
            rows = connection.execute(_DUE, {**due, "most": most})
            chosen = list(_within(rows, most_bytes))
            return [self._lease(connection, lane, row_id, now) for row_id in chosen]

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.extend`."""
        due_at = self._clock() + self._lease_s
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE request SET due_at = ? WHERE id = ? AND receipt = ?",
                ((due_at, *_named(delivery)) for delivery in deliveries),
            )

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Queue.ack`."""
        with self._transaction() as connection:
            _delete(connection, deliveries)

    def retry(self, delivery: Delivery, delay_s: float) -> bool:
        """See `Queue.retry`."""
        return self._requeue([delivery], delay_s, attempts=1) == 1

    def defer(self, deliveries: Sequence[Delivery], delay_s: float) -> None:
        """See `Queue.defer`."""
        self._requeue(deliveries, delay_s, attempts=0)

    def bury(self, delivery: Delivery, code: str, message: str) -> bool:
        """See `Queue.bury`."""
        with self._transaction() as connection:
            named = _named(delivery)
            buried = connection.execute(_BURY, (self._clock(), code, message, *named)).rowcount
            _delete(connection, [delivery])
        return buried == 1

    def dead(self, most: int) -> list[DeadLetter]:
        """See `Queue.dead`."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, lane, attempt, code, message, died_at, model, generation, digest"
                " FROM dead_letter ORDER BY id DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [
            DeadLetter(
                str(row_id), str(Key(*named)), _LANE_OF[lane], attempt, code, message, died_at
            )
            for row_id, lane, attempt, code, message, died_at, *named in rows
        ]

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.replay`."""
        now = self._clock()
        with self._transaction() as connection:
            connection.executemany(_REPLAY, ((now, now, letter.name) for letter in letters))
            return _forget(connection, letters)

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """See `Queue.purge`."""
        with self._transaction() as connection:
            return _forget(connection, letters)

    def status(self) -> dict[Lane, LaneStatus]:
        """See `Queue.status`."""
        now = self._clock()
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT lane, count(*), min(queued_at),"
                " sum(due_at <= :now OR (queued_at > :now AND receipt IS NULL)),"
                " sum(receipt IS NOT NULL AND due_at > :now) FROM request GROUP BY lane",
                {"now": now},
            ).fetchall()
        found = {
            lane: LaneStatus(
                depth,
                max(0.0, now - oldest),
                {"due": due, "leased": leased, "waiting": depth - due - leased},
            )
            for lane, depth, oldest, due, leased in rows
        }
        return {lane: found.get(number, LaneStatus(0, 0.0)) for lane, number in _LANES.items()}

    def close(self) -> None:
        """See `Queue.close`."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _add_trace(self) -> None:
        """Bring a file of before there were traces up to date."""
        with self._transaction() as connection:
            columns = connection.execute("SELECT name FROM pragma_table_info('request')")
            if ("trace",) not in columns.fetchall():
                connection.execute(ADD_TRACE)

    def _lease(
        self, connection: sqlite3.Connection, lane: Lane, row_id: int, now: float
    ) -> Delivery:
        receipt = os.urandom(_RECEIPT_BYTES)
        connection.execute(
            "UPDATE request SET due_at = ?, receipt = ? WHERE id = ?",
            (now + self._lease_s, receipt, row_id),
        )
        attempt, queued_at, *named = connection.execute(_ROW, (row_id,)).fetchone()
        return Delivery(
            _request(lane, named), attempt, queued_at, row_id.to_bytes(8, "big") + receipt
        )

    def _requeue(self, deliveries: Sequence[Delivery], delay_s: float, *, attempts: int) -> int:
        now = self._clock()
        with self._transaction() as connection:
            return connection.executemany(
                "UPDATE request SET due_at = ?, queued_at = min(queued_at, ?), receipt = NULL,"
                " attempt = attempt + ? WHERE id = ? AND receipt = ?",
                ((now + delay_s, now, attempts, *_named(delivery)) for delivery in deliveries),
            ).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise QueueUnavailable(f"queue in {self._path} is closed")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise QueueUnavailable(f"queue in {self._path} failed: {error}") from error


def _request(lane: Lane, columns: Sequence[Any]) -> Request:
    model, generation, digest, kind, payload, trace = columns
    return Request(Key(model, generation, digest), Input(InputKind(kind), payload), lane, trace)


def _named(delivery: Delivery) -> tuple[int, bytes]:
    split = len(delivery.receipt) - _RECEIPT_BYTES
    return int.from_bytes(delivery.receipt[:split], "big"), delivery.receipt[split:]


def _delete(connection: sqlite3.Connection, deliveries: Iterable[Delivery]) -> None:
    connection.executemany(
        "DELETE FROM request WHERE id = ? AND receipt = ?",
        (_named(delivery) for delivery in deliveries),
    )


def _forget(connection: sqlite3.Connection, letters: Sequence[DeadLetter]) -> int:
    names = [(letter.name,) for letter in letters]
    return connection.executemany("DELETE FROM dead_letter WHERE id = ?", names).rowcount


def _within(rows: Iterable[tuple[int, int]], most_bytes: int) -> Iterator[int]:
    total = 0
    for row_id, size in rows:
        total += size
        if total > most_bytes and total > size:
            return
        yield row_id
