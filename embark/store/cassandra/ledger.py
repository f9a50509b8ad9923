"""The ledger in Cassandra: one row a value, in buckets that can be listed one by one.

A value too large for a row is kept as a claim whose id follows from the value's name, so that
writing it again replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from embark.errors import ArchiveUnavailable
from embark.store.cassandra.claims import ID_BYTES, PART_BYTES, Claims
from embark.store.cassandra.driver import DRIVER_ERRORS, describe
from embark.store.cassandra.session import (
    DELETE_LEDGER,
    INSERT_LEDGER,
    SELECT_LEDGER,
    SELECT_LEDGER_IDS,
    Connection,
)
from embark.store.ledger import Kind

_BUCKETS: Final = 1024
_BUCKETS_AT_ONCE = 64
_AT_ONCE = 64
_TROUBLE = "the ledger: Cassandra failed"


class CassandraLedger:
    """A ledger in a cluster.

    Args:
        connection: not closed with it.
        claims: keeps large values.
    """

    def __init__(self, connection: Connection, claims: Claims) -> None:
        self._connection = connection
        self._claims = claims

    def put(
        self, model: str, kind: Kind, values: Mapping[bytes, bytes], ttl_s: int | None = None
    ) -> None:
        """See `Ledger.put`."""
        lasts_s = ttl_s or 0
        rows = []
        for name, value in values.items():
            inline: bytes | None = value
            if len(value) > PART_BYTES:
                inline = None
                self._claims.put(value, _claim(model, kind, name), lasts_s)
            rows.append((model, kind.value, _bucket(name), name, inline, len(value), lasts_s))
        self._run(INSERT_LEDGER, rows)

    def get(self, model: str, kind: Kind, ids: Sequence[bytes]) -> list[bytes | None]:
        """See `Ledger.get`."""
        rows = [(model, kind.value, _bucket(name), name) for name in ids]
        found: list[bytes | None] = []
        for name, result in zip(ids, self._run(SELECT_LEDGER, rows), strict=True):
            row = result.one()
            if row is None:
                found.append(None)
                continue
            value, size = row
            if value is None and size:
                value = self._claims.get(_claim(model, kind, name), size)
            found.append(value)
        return found

    def delete(self, model: str, kind: Kind, ids: Sequence[bytes]) -> None:
        """See `Ledger.delete`. Large values that are not found end with their own time."""
        rows = [(model, kind.value, _bucket(name), name) for name in ids]
        large = [
            (_claim(model, kind, name), row[1])
            for name, result in zip(ids, self._run(SELECT_LEDGER, rows), strict=True)
            if (row := result.one()) is not None and row[0] is None
        ]
        self._claims.delete(large)
        self._run(DELETE_LEDGER, rows)

    def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
        """See `Ledger.ids`."""
        for first in range(0, _BUCKETS, _BUCKETS_AT_ONCE):
            rows = [
                (model, kind.value, bucket) for bucket in range(first, first + _BUCKETS_AT_ONCE)
            ]
            for page in self._ids(rows):
                if page:
                    yield page

    def ids_ending(self, model: str, kind: Kind, ending: bytes) -> list[bytes]:
        """See `Ledger.ids_ending`. They are in one bucket, perhaps with others."""
        (page,) = self._ids([(model, kind.value, _bucket(ending))])
        return [name for name in page if name.endswith(ending)]

    def _ids(self, rows: Sequence[tuple[object, ...]]) -> Iterator[list[bytes]]:
        for result in self._run(SELECT_LEDGER_IDS, rows):
            try:
                yield [name for (name,) in result]  # further pages are read here
            except DRIVER_ERRORS as error:
                why = describe(error, self._connection.settings)
                raise ArchiveUnavailable(f"{_TROUBLE}: {why}") from error

    def _run(self, text: str, rows: Sequence[tuple[object, ...]]) -> list[Any]:
        return self._connection.run_many(text, rows, at_once=_AT_ONCE, trouble=_TROUBLE)


def _bucket(name: bytes) -> int:
    # The end of an id: that of a digest is random, and so is that of what has a time in front.
    return int.from_bytes(name[-2:], "big") % _BUCKETS


def _claim(model: str, kind: Kind, name: bytes) -> bytes:
    whole = f"{model}:{kind.value}:".encode() + name
    return hashlib.blake2b(whole, digest_size=ID_BYTES).digest()
